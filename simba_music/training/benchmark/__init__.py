"""Benchmark: how fast both models decode, beside what else there is and beside the memory."""
