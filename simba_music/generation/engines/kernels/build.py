"""Compile the kernels and keep them on disk: `python -m …kernels.build FOLDER DTYPE …`."""

import logging
import sys
import time

import numba
import numpy as np

logger = logging.getLogger(__name__)


def build(dtype: str) -> float:
    """Compile, or load what is kept, for weights stored in `dtype`; seconds that it took.

    A model without a layer is enough: kernels are compiled for kinds of arrays, not for sizes.
    """
    from simba_music.generation.engines.kernels.decode import decode
    from simba_music.generation.engines.kernels.layout import (
        MATRICES,
        STORED,
        VECTORS,
        Draw,
        Memory,
        Shape,
        Weights,
        room_for,
    )

    started = time.monotonic()
    shape = Shape(0, 4, 1, 0, 0, 4, 0, 0, False, 1, 4)
    where = np.zeros((1, MATRICES, 4), np.int64)
    where[0, 0] = 0, 0, 4, 4
    weights = Weights(
        matrices=np.zeros(4 * 32, STORED[dtype]),
        scales=np.ones(32, np.float32),
        where=where,
        vectors=np.ones(4, np.float32),
        begins=np.zeros((1, VECTORS), np.int64),
        embedding=np.ones((5, 4), np.float32),
        books=np.array([0, 4], np.int64),
    )
    cache, count = np.zeros((0, 0, 0, 0), np.float32), np.zeros(1, np.int64)
    previous = np.zeros((1, 1), np.int64)
    memory = Memory(cache, cache, count, cache, cache, cache, cache, count.copy(), previous)
    one = np.float32(1)
    decode(
        shape,
        weights,
        memory,
        np.zeros((1, 1, 4), np.float32),
        np.ones((1, 1, 1, 4), np.float32),
        np.ones((1, 1), np.bool_),
        Draw(False, one, one, 0, one),
        room_for(shape, 1, 1),
        np.zeros((1, 1, 1), np.int64),
        np.zeros((0, 0, 0), np.float32),
    )
    return time.monotonic() - started


def keep_in(folder: str) -> None:
    """Say where compiled kernels are kept; before any of them is imported."""
    numba.config.CACHE_DIR = folder  # type: ignore[attr-defined]


if __name__ == "__main__":
    keep_in(sys.argv[1])
    for name in sys.argv[2:]:
        logger.info("%s: %.1f s", name, build(name))
