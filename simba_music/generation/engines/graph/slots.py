"""Slots of the graph engine: as many rows in every step, whoever is there."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from simba_music.generation.engines.graph.buffers import CHUNK, Size
from simba_music.generation.engines.graph.capture import Runner
from simba_music.generation.engines.types import Chunk
from simba_music.generation.sampling import Sampling
from simba_music.models.lm import LMState


class Runners(Protocol):
    """What the graph engine does for its slots."""

    device: torch.device

    def size_of(self, state: LMState, steps: int, batch: int, sampling: Sampling) -> Size:
        """See `GraphEngine`."""

    def runner(self, size: Size, steps: int) -> Runner:
        """See `GraphEngine`."""

    def give_back(self, runner: Runner) -> None:
        """See `GraphEngine`."""


class GraphSlots:
    """See `Slots`; a step of other sizes would sum in another order on a GPU."""

    def __init__(self, engine: Runners, count: int):
        self._engine, self._count = engine, count
        self._runner: Runner | None = None

    def join(self, slot: int, state: LMState, steps: int, sampling: Sampling) -> None:
        """See `Slots`; buffers grow if it needs a longer cache."""
        guided = replace(sampling, guidance=2.0)  # a room for both, whoever comes
        size = self._engine.size_of(state, steps, self._count, guided)
        before = self._runner
        if before is not None:
            old = before.buffers.size
            size = Size(
                self._count,
                True,
                max(size.cache, old.cache),
                max(size.text, old.text),
                size.nucleus or old.nucleus,
            )
        if before is None or size != before.buffers.size:
            self._runner = self._engine.runner(size, steps)
            if before is None:
                self._runner.buffers.clear(range(self._count))
            else:
                self._runner.buffers.take_over(before.buffers)
                self._engine.give_back(before)
        assert self._runner is not None
        self._runner.buffers.load(state, [slot])
        self._runner.buffers.set_sampling(sampling, [slot])

    def leave(self, slot: int) -> None:
        """See `Slots`."""
        if self._runner is not None:
            self._runner.buffers.clear([slot])
            self._runner.buffers.set_sampling(Sampling(), [slot])

    def run(self, chunks: Mapping[int, Chunk]) -> dict[int, Tensor | None]:
        """See `Slots`; `CHUNK` steps."""
        assert self._runner is not None
        buffers = self._runner.buffers
        buffers.at.zero_()
        for slot, chunk in chunks.items():
            plane = chunk.plane.transpose(0, 1)
            buffers.plane[:, buffers.rows_of(slot)[: plane.shape[1]]] = plane
            buffers.noise[:, slot].copy_(chunk.noise, non_blocking=True)
            buffers.active[:, slot] = chunk.active.to(self._engine.device)
        self._runner.run(CHUNK)
        codes = buffers.codes.to("cpu", copy=True)
        damaged = buffers.damaged.tolist()
        return {slot: None if damaged[slot] else codes[:, slot] for slot in chunks}

    def close(self) -> None:
        """See `Slots`."""
        if self._runner is not None:
            self._engine.give_back(self._runner)
        self._runner = None
