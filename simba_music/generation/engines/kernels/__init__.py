"""Kernels that numba compiles: n decoding steps of a language model in one native call."""
