"""Pieces of noise that a worker process makes, or fails to make; it imports this module alone."""

import os

import numpy as np

from simba_music.training.corpus.endless import train_seeds

SEED = 300_001


def noise(seed, sample_rate):
    """A second or two of noise in place of a piece."""
    rng = np.random.default_rng(seed)
    samples = rng.integers(-9000, 9000, sample_rate + seed % 5 * 4000).astype(np.int16)
    return {"seed": seed, "duration_s": len(samples) / sample_rate}, samples


def broken(seed, sample_rate):
    if seed == bad_seed():
        raise ValueError("no such chord")
    return noise(seed, sample_rate)


def dying(seed, sample_rate):
    if seed == bad_seed():
        os._exit(3)
    return noise(seed, sample_rate)


def bad_seed():
    return [s for s, _ in zip(train_seeds(SEED), range(3), strict=False)][-1]
