"""Attention of one query a row, over keys and values that lie in panels.

Keys of a head are a matrix of T rows, positions, in panels of 32: its product with the query is the
scores. Values are a matrix of d rows, channels: its product with the weights is the output.
"""

import math

import numpy as np

from simba_music.generation.engines.kernels.jit import exp, kernel
from simba_music.generation.engines.kernels.panel import LANES, padded, panel_of_one

_ZERO, _ONE = np.float32(0), np.float32(1)


@kernel
def attend(queries, keys, values, lengths, places, new, heads, size, scores, y):
    """Softmax attention (Vaswani et al. 2017, 3.2.1) of queries `[G, H d]` into y `[G, H d]`.

    Keys are `[R, H, T d]` and values `[R, H, d T]`, d in whole panels; row g has those at
    `places[g]`, with `lengths` `[R]` and `new` positions. y has room for 32 more.
    """
    scale = np.float32(1 / math.sqrt(size))
    for g in range(queries.shape[0]):
        place = places[g]
        length = lengths[place] + new
        for h in range(heads):
            query, out = queries[g, h * size :], y[g, h * size :]
            own, read = keys[place, h], values[place, h]
            for t in range(0, length, LANES):
                panel_of_one(own, t * size, size, query, scores, t)
            most = scores[0]
            for t in range(length):
                most = scores[t] if scores[t] > most else most
            total = _ZERO
            for t in range(length):
                scores[t] = exp((scores[t] - most) * scale)
                total += scores[t]
            longest = read.size // padded(size)
            for c in range(0, size, LANES):
                panel_of_one(read, c * longest, length, scores, out, c)
            share = _ONE / total
            for c in range(size):
                out[c] *= share


@kernel
def rotate(x, start, heads, size, position, frequencies):
    """Turn H heads of `size` channels of x, from `start` on, in place (Su et al. 2021)."""
    half = size // 2
    for i in range(half):
        angle = np.float32(position) * frequencies[i]
        cosine, sine = np.float32(math.cos(angle)), np.float32(math.sin(angle))
        for h in range(heads):
            at = start + h * size + i
            first, second = x[at], x[at + half]
            x[at] = first * cosine - second * sine
            x[at + half] = first * sine + second * cosine


@kernel
def remember(keys, values, heads, size, place, own, read):
    """Put keys and values `[H d]` of one position at its place in the panels of a row."""
    longest = read.shape[1] // padded(size)
    for h in range(heads):
        row, column = own[h], read[h]
        key_at = place // LANES * LANES * size + place % LANES
        for c in range(size):
            row[key_at + c * LANES] = keys[h * size + c]
            column[c // LANES * LANES * longest + place * LANES + c % LANES] = values[h * size + c]
