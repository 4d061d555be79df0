"""Rendering: scores to audio."""
