"""Slots of the compiled engine: the rows of many requests in one memory, some of them stepped."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from simba_music.generation.engines.kernels.layout import (
    Floats,
    Memory,
    Room,
    room_for,
)
from simba_music.generation.engines.kernels.panel import LANES, aligned, padded
from simba_music.generation.engines.packing import seats_of
from simba_music.generation.engines.types import Chunk
from simba_music.generation.sampling import Sampling
from simba_music.models.lm import LMState

if TYPE_CHECKING:  # it makes these slots
    from simba_music.generation.engines.compiled import CompiledEngine

CACHE_STEP = 256  # positions; a cache is that long, or so many times as long
_CACHES = ("keys", "values", "text_keys", "text_values")


@dataclass(frozen=True)
class _Seat:
    """A request: how it draws, and its rows of the memory; the second is -1 without guidance."""

    sampling: Sampling
    rows: tuple[int, int]


class CompiledSlots:
    """See `Slots`; only who is there is stepped, so that one alone is as fast as without slots.

    With several workers every one steps a part of the requests, each row as if it were alone.
    """

    def __init__(self, engine: "CompiledEngine", count: int, workers: int = 1):
        self._engine, self._count = engine, count
        self._memory: Memory | None = None
        self._seats = dict[int, _Seat]()
        self._rooms = dict[tuple[int, int], Room]()
        self._workers = workers
        self._pool = ThreadPoolExecutor(workers, "slots") if workers > 1 else None

    def join(self, slot: int, state: LMState, steps: int, sampling: Sampling) -> None:
        """See `Slots`."""
        own = self._engine.memory(state, 1 + sampling.guided, steps)
        self._make_room(own)
        assert self._memory is not None
        rows = (2 * slot, 2 * slot + 1 if sampling.guided else -1)
        places = list(rows[: 1 + sampling.guided])
        for name in _CACHES:
            self._copy(name, getattr(self._memory, name), places, getattr(own, name))
        for name in ("conv", "ssm"):
            if getattr(own, name).size:
                getattr(self._memory, name)[:, places] = getattr(own, name)
        for name in ("lengths", "text_lengths", "previous"):
            getattr(self._memory, name)[places] = getattr(own, name)
        self._seats[slot] = _Seat(sampling, rows)

    def _make_room(self, own: Memory) -> None:
        """Memory for all slots, with caches at least as long as those of who comes."""
        before, made = self._memory, dict[str, np.ndarray]()
        for name in Memory._fields:
            wanted, kept = getattr(own, name), None if before is None else getattr(before, name)
            if name not in _CACHES:
                made[name] = self._rows_like(name, wanted) if kept is None else kept
            elif kept is not None and kept.shape[3] >= wanted.shape[3]:
                made[name] = kept
            else:
                made[name] = self._cache(name, wanted)
                if kept is not None:
                    self._copy(name, made[name], slice(None), kept)
                self._rooms.clear()
        self._memory = Memory(**made)

    def _rows_like(self, name: str, own: np.ndarray) -> np.ndarray:
        """Zeros like an array of one request's state, but for all slots."""
        axis = 1 if name in ("conv", "ssm") else 0
        if not own.size:
            return own
        rows = (2 * self._count,)
        return aligned((*own.shape[:axis], *rows, *own.shape[axis + 1 :]), own.dtype)

    def _positions(self, name: str, cache: Floats) -> int:
        """How many positions a cache holds, in whole panels."""
        size = self._size(name)
        return int(cache.shape[3]) // (size if "keys" in name else padded(size))

    def _size(self, name: str) -> int:
        """Channels of a head."""
        shape = self._engine.shape
        return shape.width // (shape.cross_heads if name.startswith("text") else shape.heads)

    def _cache(self, name: str, own: Floats) -> Floats:
        """An empty cache for all slots, some longer than that of one request."""
        if not own.size:
            return own
        layers, _, heads, numbers = own.shape
        held = self._positions(name, own)
        longer = -(-held // CACHE_STEP) * CACHE_STEP
        return aligned((layers, 2 * self._count, heads, numbers // held * longer), np.float32)

    def _copy(self, name: str, to: Floats, places: list[int] | slice, own: Floats) -> None:
        """Put caches, as long as they are, at the beginning of longer ones."""
        if not own.size:
            return
        # Panels of keys follow each other by position, those of values by channel.
        panels = 1 if "keys" in name else padded(self._size(name)) // LANES
        target, source = (c.reshape(*c.shape[:3], panels, -1) for c in (to, own))
        target[:, places, ..., : source.shape[-1]] = source

    def leave(self, slot: int) -> None:
        """See `Slots`; what its rows hold is written over by who comes next."""
        self._seats.pop(slot, None)

    def run(self, chunks: Mapping[int, Chunk]) -> dict[int, Tensor | None]:
        """See `Slots`."""
        slots = sorted(chunks)
        share = -(-len(slots) // self._workers)
        parts = [slots[start : start + share] for start in range(0, len(slots), share)]
        found: Iterable[dict[int, Tensor | None]]
        if self._pool is None:
            found = [self._part(number, part, chunks) for number, part in enumerate(parts)]
        else:
            found = self._pool.map(self._part, range(len(parts)), parts, [chunks] * len(parts))
        return {slot: tokens for part in found for slot, tokens in part.items()}

    def close(self) -> None:
        """See `Slots`."""
        self._memory = None
        self._rooms.clear()
        if self._pool is not None:
            self._pool.shutdown()

    def _part(
        self, number: int, slots: Sequence[int], chunks: Mapping[int, Chunk]
    ) -> dict[int, Tensor | None]:
        """Step some of the requests."""
        assert self._memory is not None
        own, guided = [chunks[slot] for slot in slots], list[Tensor]()
        for slot, chunk in zip(slots, own, strict=True):
            guided += [chunk.plane[1]] if self._seats[slot].sampling.guided else []
        plane = torch.stack([chunk.plane[0] for chunk in own] + guided)
        noise = torch.stack([chunk.noise for chunk in own], 1)
        active = torch.stack([chunk.active.t() for chunk in own])
        tokens = np.zeros(tuple(active.shape), np.int64)
        seats = seats_of(
            [self._seats[slot].sampling for slot in slots],
            [self._seats[slot].rows for slot in slots],
        )
        room = self._room(number, len(plane))
        sound = self._engine.run(self._memory, seats, plane, noise, active, room, tokens)
        by_slot = zip(slots, torch.from_numpy(tokens), sound, strict=True)
        return {slot: row.t() if well else None for slot, row, well in by_slot}

    def _room(self, number: int, rows: int) -> Room:
        """Where a worker steps so many rows."""
        assert self._memory is not None
        if (number, rows) not in self._rooms:
            longest = [
                self._positions(name, getattr(self._memory, name))
                for name in ("keys", "text_keys")
                if getattr(self._memory, name).size
            ]
            self._rooms[number, rows] = room_for(self._engine.shape, rows, max(longest, default=1))
        return self._rooms[number, rows]
