"""Benchmark on a GPU: one run that is worth something whenever it is cut."""
