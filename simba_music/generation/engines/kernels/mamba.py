"""One step of a Mamba-2 mixer for G rows; the state lies `[N, H P]`."""

import math

import numpy as np

from simba_music.generation.engines.kernels.jit import exp, kernel, silu

_ZERO, _ONE = np.float32(0), np.float32(1)
_LINEAR = np.float32(20)  # above it softplus is the identity, as in PyTorch


@kernel
def convolve(x, past, taps, bias, channels, y):
    """Causal depthwise convolution and SiLU of one input; moves `past` `[3, C]` on.

    `x` `[C]` is the input, taps are `[4, C]`, oldest first.
    """
    for c in range(channels):
        found = past[0, c] * taps[c] + past[1, c] * taps[channels + c]
        found += past[2, c] * taps[2 * channels + c] + x[c] * taps[3 * channels + c]
        y[c] = silu(found + bias[c])
    for c in range(channels):
        past[0, c] = past[1, c]
        past[1, c] = past[2, c]
        past[2, c] = x[c]


@kernel
def decay_and_drive(dt, dt_bias, rate, u, inner, heads, decay, drive):
    """exp(dt a) and dt u of every channel (Dao and Gu 2024, eq. 1, a scalar a head)."""
    size = inner // heads
    for h in range(heads):
        step = dt[h] + dt_bias[h]
        if step <= _LINEAR:
            step = np.float32(math.log1p(exp(step)))
        kept = exp(step * rate[h])
        for i in range(h * size, (h + 1) * size):
            decay[i] = kept
            drive[i] = step * u[i]


@kernel
def advance(state, decay, drive, b, c, inner, y):
    """The recurrence h = decay h + b drive, y = c h; `state` `[N, H P]` in place, y `[H P]`.

    The H P channels lie side by side, so that no sum runs inside a vector; the order
    `[H P, N]` of the parallel form would need one for every channel.
    """
    for i in range(inner):
        y[i] = _ZERO
    for n in range(state.shape[0]):
        row, enter, leave = state[n], b[n], c[n]
        for i in range(inner):
            new = row[i] * decay[i] + enter * drive[i]
            row[i] = new
            y[i] += leave * new


@kernel
def gate(y, skip, u, z, inner, heads):
    """(y + D u) silu(z), in place in y `[H P]`."""
    size = inner // heads
    for h in range(heads):
        direct = skip[h]
        for i in range(h * size, (h + 1) * size):
            y[i] = (y[i] + direct * u[i]) * silu(z[i])
