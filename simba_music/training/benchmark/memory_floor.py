"""Floor of decoding: bytes that a step must move, and how fast one core reads so many."""

import time
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from simba_music.models.codebook_pattern import pattern
from simba_music.models.config import EXPAND, LMConfig
from simba_music.models.lm import MusicLM
from simba_music.models.mamba2 import CONV_WIDTH

MB = 1e6
ITEM_BYTES = {"float32": 4, "bfloat16": 2, "int8": 1}
ROWS = 2  # of a request with guidance
_ROUNDS = 2
_READ_BYTES = 1e8  # in a round, or once all there is
_COLUMNS = 4096
_BEYOND_CACHES = 1e8


def decoded_parameters(lm: MusicLM) -> Iterable[Tensor]:
    """Weights of which a step reads all; of an embedding it reads one row."""
    for part in (lm.backbone, lm.norm, lm.head):
        yield from part.parameters()


def weight_bytes(parameters: Iterable[Tensor], dtype: str) -> int:
    """Bytes of weights whose matrices are stored in `dtype`, the rest in float32."""
    item = ITEM_BYTES[dtype]
    return sum(p.numel() * (item if p.ndim == 2 else ITEM_BYTES["float32"]) for p in parameters)


def held_bytes(config: LMConfig, position: int) -> int:
    """Bytes of state or cache, float32, after so many steps, prefix included, of both rows."""
    if config.backbone == "transformer":
        numbers = 2 * config.d_model * position
    else:
        inner, state = EXPAND * config.d_model, config.d_state or 0
        numbers = inner * state + (CONV_WIDTH - 1) * (inner + 2 * state)
    return ROWS * config.n_layers * numbers * ITEM_BYTES["float32"]


def clip_state_bytes(config: LMConfig, duration_s: float) -> int:
    """Bytes of state or cache, float32, at the end of a clip, of both rows; prefix left out.

    An SSM's state is one for any number of books: it has to hold what K staggered ones have said.
    """
    steps = pattern(config.codebook_pattern).steps(
        config.codec.frames(duration_s), config.n_codebooks
    )
    return held_bytes(config, steps)


def moved_bytes(config: LMConfig, position: int) -> int:
    """Bytes of state or cache that the step at `position` moves.

    An SSM reads and writes its state; attention reads all that came before, and writes one more.
    """
    if config.backbone == "transformer":
        return held_bytes(config, position + 1)
    return 2 * held_bytes(config, position)


def _readers(array: Tensor) -> list[Callable[[], object]]:
    """Ways to read an array `[N]`, of which one may be the fastest here and another there."""
    rows = array[: len(array) // _COLUMNS * _COLUMNS].view(-1, _COLUMNS)
    ones = torch.ones(_COLUMNS)
    found: list[Callable[[], object]] = [array.sum, lambda: torch.dot(array, array)]
    return [*found, lambda: torch.mv(rows, ones)] if len(rows) else found


def read_bandwidth(size: int) -> float:
    """Bytes a second with which one core reads an array of `size` bytes again and again.

    It is float32 and summed, the best of several rounds and of several ways: what fits in a cache
    is read from there, as weights are.
    """
    array = torch.ones(max(1, size // ITEM_BYTES["float32"]))
    again, best = max(1, round(_READ_BYTES / array.nbytes)), 0.0
    readers = _readers(array)
    for _ in range(_ROUNDS):
        for read in readers:
            started = time.process_time()
            for _ in range(again):
                read()
            taken = time.process_time() - started
            best = max(best, again * array.nbytes / max(taken, 1e-9))
    return best


class Bandwidth:
    """`read_bandwidth` by size, alike for sizes that are nearly the same; the best so far."""

    def __init__(self) -> None:
        self._best = dict[str, float]()

    @staticmethod
    def _name(size: float) -> str:
        return f"{size:.1g}" if size > _BEYOND_CACHES else f"{size:.2g}"

    def measure(self, sizes: Iterable[float]) -> None:
        """Read so many bytes once more."""
        for name, size in {self._name(size): size for size in sizes}.items():
            self._best[name] = max(self._best.get(name, 0.0), read_bandwidth(int(size)) / 1e9)

    def gb_s(self, size: float) -> float:
        """GB a second, as measured before."""
        return self._best[self._name(size)]


def parameters_of(module: nn.Module, leave_out: tuple[str, ...]) -> list[Tensor]:
    """A module's weights, but for those with one of these in their names."""
    named = module.named_parameters()
    return [p for name, p in named if not any(part in name for part in leave_out)]
