"""Experiments: the paper's comparison, and clips along a training."""
