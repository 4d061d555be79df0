"""What kernels are given: shapes, weights end to end, the state, and room to work in."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from simba_music.generation.engines.kernels.panel import LANES, padded

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

# Places in the table of a layer's matrices; a mixer of EinFFT has four.
INWARD, OUTWARD, UP, DOWN, QUERIES, TEXT_OUT, EINFFT = 0, 1, 2, 3, 4, 5, 6
MATRICES = EINFFT + 4
# Places in the table of a layer's vectors.
MIXER_NORM, CHANNEL_NORM, CROSS_NORM = 0, 1, 2
TAPS, TAP_BIAS, DT_BIAS, RATE, SKIP, GATED_NORM, EINFFT_BIAS = 3, 4, 5, 6, 7, 8, 9
VECTORS = EINFFT_BIAS + 1
# The row after the last layer's: the head, the norm before it, the frequencies of RoPE.
HEAD, LAST_NORM, FREQUENCIES = INWARD, MIXER_NORM, CHANNEL_NORM

NO_MIXER, MLP, EINFFT_MIXER = 0, 1, 2
STORED = {"float32": np.float32, "int8": np.int8, "bfloat16": np.uint16}  # kinds of matrices


class Shape(NamedTuple):
    """Sizes of a language model; none is a constant of the kernels, so all models share them.

    `inner` is the width of the Mamba-2 stream, 0 in a Transformer; `state` its N; `hidden` the
    width inside the MLP; `mixer` one of the kinds above.
    """

    layers: int
    width: int
    heads: int
    inner: int
    state: int
    hidden: int
    mixer: int
    cross_heads: int
    rotary: bool
    books: int
    codes: int


class Weights(NamedTuple):
    """All weights of a language model.

    `matrices` holds them in panels (see `panel`), `scales` one number a row; `where`
    `[L + 1, matrices, 4]` says where each begins in both, its rows and its width. `vectors` holds
    norms, biases and the like, each from `begins` `[L + 1, vectors]` on; they and `embedding`
    `[K (V + 1), D]` are float32. `books` `[K + 1]` says where the logits of each book begin, and
    where those of the last end.
    """

    matrices: npt.NDArray[np.generic]
    scales: Floats
    where: Integers
    vectors: Floats
    begins: Integers
    embedding: Floats
    books: Integers


class Memory(NamedTuple):
    """The decoding state of G rows; kernels change it in place.

    keys, values: of a Transformer, `[L, G, H, T d]` and `[L, G, H, d T]` in panels, with
    `lengths` `[G]` of T filled; conv `[L, G, 3, C]` and ssm `[L, G, N, H P]`: of Mamba-2;
    text_keys, text_values, text_lengths: as keys, values and lengths, for cross-attention;
    previous `[G, K]`: tokens before the next step.
    """

    keys: Floats
    values: Floats
    lengths: Integers
    conv: Floats
    ssm: Floats
    text_keys: Floats
    text_values: Floats
    text_lengths: Integers
    previous: Integers


def copied(memory: Memory) -> Memory:
    """The same state in other arrays."""
    found: list[Any] = [np.copy(array) for array in memory]
    return Memory(*found)


class Room(NamedTuple):
    """Where a step keeps what is between its kernels; nothing is allocated while decoding."""

    x: Floats
    normed: Floats
    wide: Floats
    inner: Floats
    out: Floats
    spectrum: Floats
    scores: Floats
    logits: Floats
    drawn: Floats
    keys: npt.NDArray[np.int32]


class Draw(NamedTuple):
    """Settings of sampling; see `generation.sampling.Sampling`."""

    guided: bool
    guidance: np.float32
    temperature: np.float32
    top_k: int
    top_p: np.float32


def room_for(shape: Shape, groups: int, longest: int) -> Room:
    """Room for G rows whose attention spans at most `longest` positions, in whole panels."""
    projected = 2 * shape.inner + 2 * shape.state + shape.heads
    widest = max(3 * shape.width, shape.hidden, projected)
    mixed = max(shape.width, shape.inner + 2 * shape.state)
    sizes = {
        "x": (groups, shape.width),
        "normed": (groups, max(shape.width, shape.inner)),
        "wide": (groups, padded(widest)),
        "inner": (4, groups, padded(mixed) + LANES),
        "out": (groups, padded(shape.width)),
        "spectrum": (4, 2 * groups, padded(shape.width)),
        "scores": (padded(longest),),
        "logits": (groups, padded(shape.books * shape.codes)),
        "drawn": (2, shape.codes),
    }
    arrays = {name: np.zeros(size, np.float32) for name, size in sizes.items()}
    return Room(**arrays, keys=np.zeros(shape.codes, np.int32))
