"""Projections, normalisation and the MLP, for G rows at a time."""

import numpy as np

from simba_music.generation.engines.kernels.jit import gelu, kernel
from simba_music.generation.engines.kernels.panel import project_block

_ZERO, _EPSILON, _ONE = np.float32(0), np.float32(1e-5), np.float32(1)


@kernel
def project(matrices, scales, where, x, y):
    """Y `[G, rows]` = x `[G, width]` times one matrix `[rows, width]` of all stored matrices.

    `where` is its first weight, its first row's scale, its rows and its width.
    """
    project_block(matrices, scales, where[0], where[1], where[2], where[3], x, y)


@kernel
def normalise(x, weight, width, y):
    """RMS norm of the first `width` of each row `[G, D]` into y (Zhang and Sennrich 2019)."""
    for g in range(x.shape[0]):
        row, out = x[g], y[g]
        total = _ZERO
        for i in range(width):
            total += row[i] * row[i]
        scale = _ONE / np.sqrt(total / np.float32(width) + _EPSILON)
        for i in range(width):
            out[i] = row[i] * scale * weight[i]


@kernel
def add(x, y, width):
    """Add the first `width` of y to x, `[G, D]` both: the residual connection."""
    for g in range(x.shape[0]):
        row, more = x[g], y[g]
        for i in range(width):
            row[i] += more[i]


@kernel
def mlp(matrices, scales, up, down, x, hidden, y):
    """Two matrices with GELU between them, `[G, D]` to `[G, D]`."""
    project(matrices, scales, up, x, hidden)
    for g in range(x.shape[0]):
        row = hidden[g]
        for i in range(up[2]):
            row[i] = gelu(row[i])
    project(matrices, scales, down, hidden, y)
