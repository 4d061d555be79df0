"""Guidance, temperature, top-k, top-p and the draw, as `generation.sampling` has them."""

import numpy as np

from simba_music.generation.engines.kernels.jit import exp, kernel

_ZERO, _ONE, _OUT = np.float32(0), np.float32(1), np.float32(-np.inf)


@kernel
def guide(logits, row, unconditional, scale, guided, y):
    """Logits `[V]` of one request and book into y; False if one is NaN."""
    sound = True
    for v in range(y.size):
        found = logits[row, v]
        if guided:
            base = logits[unconditional, v]
            found = base + scale * (found - base)
        sound = sound and found == found
        y[v] = found
    return sound


@kernel
def threshold(logits, weights, target, keys):
    """Key of the largest logit such that it and all above it weigh at least `target`.

    The bits of a float32, with those of negative ones turned round, are ordered as the numbers
    are; so 32 halvings find it without sorting. `keys` `[V]` gets these integers.
    """
    bits = logits.view(np.int32)
    for v in range(keys.size):
        keys[v] = bits[v] ^ ((bits[v] >> np.int32(31)) & np.int32(0x7FFFFFFF))
    low, high = np.int64(-(2**31)), np.int64(2**31 - 1)
    while low < high:
        middle = np.int32((low + high + 1) >> 1)
        total = _ZERO
        for v in range(keys.size):
            total += weights[v] if keys[v] >= middle else _ZERO
        if total >= target:
            low = np.int64(middle)
        else:
            high = np.int64(middle) - 1
    return np.int32(low)


@kernel
def keep_top_k(logits, k, weights, keys):
    """Mask all but the k largest, and what equals the smallest of these."""
    if k <= 0 or k >= logits.size:
        return
    weights[:] = _ONE
    least = threshold(logits, weights, np.float32(k), keys)
    for v in range(logits.size):
        if keys[v] < least:
            logits[v] = _OUT


@kernel
def keep_top_p(logits, p, weights, keys):
    """The fewest of the largest whose probability reaches p, at least one; mask the rest."""
    if p >= 1:
        return
    most, total = _OUT, _ZERO
    for v in range(logits.size):
        most = logits[v] if logits[v] > most else most
    for v in range(logits.size):
        weights[v] = exp(logits[v] - most) if logits[v] > _OUT else _ZERO
        total += weights[v]
    # Something of every draw is kept, however small p is.
    target = max(p, np.float32(1e-30)) * total
    least = threshold(logits, weights, target, keys)
    above = _ZERO
    for v in range(logits.size):
        above += weights[v] if keys[v] > least else _ZERO
    for v in range(logits.size):
        if keys[v] < least or (keys[v] == least and above >= target):
            logits[v] = _OUT
        elif keys[v] == least:  # of equal ones, as many as are needed
            above += weights[v]


@kernel
def draw(logits, noise, temperature, top_k, top_p, weights, keys):
    """One code from logits `[V]` by the exponential race argmax(p / E); `noise` `[V]`."""
    best, where = _OUT, 0
    if temperature == _ZERO:
        for v in range(logits.size):
            if logits[v] > best:
                best, where = logits[v], v
        return where
    for v in range(logits.size):
        logits[v] /= temperature
    keep_top_k(logits, top_k, weights, keys)
    keep_top_p(logits, top_p, weights, keys)
    most = _OUT
    for v in range(logits.size):
        most = logits[v] if logits[v] > most else most
    for v in range(logits.size):
        weights[v] = exp(logits[v] - most) / noise[v] if logits[v] > _OUT else _OUT
    for v in range(logits.size):
        if weights[v] > best:
            best, where = weights[v], v
    return where
