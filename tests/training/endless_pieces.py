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


def coded(seed, sample_rate):
    """A composed piece with random codes and text states in place of those of its sound."""
    from simba_music.training.corpus.build import captions_of, compose_piece

    row, rng = compose_piece(seed), np.random.default_rng(seed)
    said = captions_of(row)
    lengths = [round(75 * (crop["end_s"] - crop["start_s"])) for crop in row["crops"]]
    states = [[rng.standard_normal((3, 384)).astype(np.float16) for _ in crop] for crop in said]
    codes = rng.integers(0, 2048, (1, sum(lengths))).astype(np.uint16)
    return row | {"captions": said, "states": states, "lengths": lengths}, codes
