"""Scratch memory that the layers of a decode take turns with, and a layer's step over it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

# What a layer reads, what it reads after its ELU, and what it finds.
JOINED, ACTIVE, FOUND = range(3)
WIDE = 8  # rows that a bias is added to at a time: torch is slow to repeat a short row
Op = Callable[[], object]


class Rows(NamedTuple):
    """Where in `FOUND` the `n` rows of `c` channels are that a layer found."""

    offset: int
    n: int
    c: int


class Held(NamedTuple):
    """How many inputs a layer holds for its next outputs; `begun` once padding precedes them."""

    rows: int
    begun: bool


@dataclass(frozen=True)
class Step:
    """What a layer does with one length of chunk: `ops`, in order.

    The inputs it held are copied to `head` `[n, C]` before; those to hold are in `tail` after.
    """

    head: Tensor
    ops: list[Op]
    tail: Tensor
    held: Held
    found: Rows


class Scratch:
    """Memory used again for every layer and chunk, so that it stays in a CPU's cache.

    Views of it are made once for each length of chunk: on a CPU a view costs as much as the
    arithmetic of a short chunk.
    """

    def __init__(self, like: Tensor):
        self._memory = [like.new_empty(0) for _ in range(3)]
        self._minus_one = like.new_tensor(-1.0)

    @property
    def size(self) -> int:
        """How many numbers fit."""
        return sum(map(len, self._memory))

    def view(self, slot: int, offset: int, rows: int, columns: int, stride: int = 0) -> Tensor:
        """`[rows, columns]` of a slot from `offset` on; a slot that is too small is replaced."""
        stride = stride or columns
        needed = offset + max(0, rows - 1) * stride + columns
        if len(self._memory[slot]) < needed:
            self._memory[slot] = self._memory[slot].new_zeros(needed)
        return self._memory[slot].as_strided((rows, columns), (stride, 1), offset)

    def add(self, x: Rows, bias: Tensor, slot: int, offset: int) -> list[Op]:
        """Rows plus a bias `[WIDE * C]`, which stands `WIDE` times end to end, to a slot."""
        if not x.n:
            return []
        wide = x.n % WIDE == 0
        shape = (x.n // WIDE, x.c * WIDE) if wide else (x.n, x.c)
        y = self.view(slot, offset, *shape)
        found = self.view(FOUND, x.offset, *shape)
        return [partial(torch.add, found, bias if wide else bias[: x.c], out=y)]

    def elu(self, x: Tensor) -> list[Op]:
        """`elu(x)` of `[n, C]` to `ACTIVE`.

        These four take half as long as `F.elu`, whose `expm1` keeps the last digits of results
        near 0; here these are wrong by up to 6e-8.
        """
        y = self.view(ACTIVE, 0, *x.shape)
        return [
            partial(torch.clamp_max, x, 0.0, out=y),
            partial(torch.exp, y, out=y),
            partial(torch.add, y, self._minus_one, out=y),
            partial(torch.maximum, x, y, out=y),
        ]
