"""Compiled engine: n steps in one native call on the CPU; float32, bfloat16 or int8 weights."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from simba_music.conditioning.types import Conditioning
from simba_music.errors import EngineError
from simba_music.generation.engines.compiled_slots import CompiledSlots
from simba_music.generation.engines.kernels.decode import decode
from simba_music.generation.engines.kernels.layout import (
    STORED,
    Floats,
    Integers,
    Memory,
    Room,
    Seats,
    copied,
    room_for,
)
from simba_music.generation.engines.packing import memory_of, pack, seats_of, shape_of
from simba_music.generation.engines.types import DAMAGED
from simba_music.generation.request import SIDES
from simba_music.generation.sampling import Sampling
from simba_music.generation.streaming.threads import usable_cores
from simba_music.models.lm import LMState, MusicLM, in_books

NOTHING: Floats = np.zeros((0, 0, 0), np.float32)


@dataclass(frozen=True)
class CompiledState:
    """The state of G rows and the room that their steps work in; changed in place."""

    memory: Memory
    room: Room


class CompiledEngine:
    """See `Engine`; the state and all sums are float32, whatever the weights are stored in."""

    name = "compiled"

    def __init__(self, lm: MusicLM, dtype: str = "float32"):
        """Pack the weights of `lm`.

        Raises:
            EngineError: If the model is not on the CPU, or there is no such dtype.
        """
        self.device = lm.head.weight.device
        if self.device.type != "cpu" or dtype not in STORED:
            raise EngineError(
                f"The compiled engine runs on the CPU with {', '.join(STORED)}, not {dtype} on "
                f"{self.device}. Choose one of these, or the engine reference."
            )
        self.lm, self.dtype = lm, dtype
        self.shape, self.weights = shape_of(lm), pack(lm, dtype)

    def plane(self, given: Conditioning) -> Tensor:
        """See `Engine`."""
        return self.lm.plane(given)

    def memory(self, state: LMState, rows: int, steps: int) -> Memory:
        """A prefilled state of so many rows, with room for so many steps."""
        config = self.lm.config
        previous = torch.full((rows, config.n_codebooks), config.special_ids.bos)
        return memory_of(self.shape, state, steps, previous)

    @torch.inference_mode()
    def prefill(self, given: Conditioning, steps: int) -> CompiledState:
        """See `Engine`."""
        groups = len(given.null)
        memory = self.memory(self.lm.init_state(given, 0), groups, steps)
        longest = int(max(memory.lengths.max() + steps, memory.text_lengths.max()))
        return CompiledState(memory, room_for(self.shape, groups, longest))

    def slots(self, count: int) -> CompiledSlots:
        """See `SlottedEngine`; both sides of a comparison share the cores."""
        return CompiledSlots(self, count, max(1, usable_cores() // len(SIDES)))

    def decode_n(
        self,
        state: CompiledState,
        plane: Tensor,
        noise: Tensor,
        active: Tensor,
        sampling: Sampling,
    ) -> tuple[Tensor, CompiledState]:
        """See `Engine`.

        Raises:
            ValueError: If the state has no room for so many steps.
            FloatingPointError: If a logit is NaN.
        """
        batch = noise.shape[1]
        tokens = np.zeros((batch, noise.shape[2], len(noise)), np.int64)
        own = active[None].expand(batch, -1, -1)
        if not self._run(state, plane, tokens, noise, own, sampling):
            raise FloatingPointError(DAMAGED)
        return torch.from_numpy(tokens), state

    def logits(self, state: CompiledState, tokens: Tensor, plane: Tensor) -> Tensor:
        """See `Engine`; leaves the state as it is."""
        (batch, books, count), groups = tokens.shape, len(state.memory.previous)
        one = CompiledState(copied(state.memory), state.room)
        given = tokens.contiguous().numpy().astype(np.int64)
        nothing = torch.zeros(0, batch, books, self.shape.codes)
        kept = np.zeros((count, groups, sum(self.lm.sizes)), np.float32)
        everywhere = torch.ones(batch, books, count, dtype=torch.bool)
        self._run(one, plane, given, nothing, everywhere, Sampling(), kept)
        by_book = in_books(torch.from_numpy(kept), self.lm.sizes, self.shape.codes)
        return by_book.permute(1, 2, 0, 3)

    def _run(
        self,
        state: CompiledState,
        plane: Tensor,
        tokens: Integers,
        noise: Tensor,
        active: Tensor,
        sampling: Sampling,
        kept: Floats = NOTHING,
    ) -> bool:
        """Step all rows of a state; False if a logit was NaN.

        Raises:
            ValueError: If the cache is too short; kernels do not check their bounds.
        """
        needed = int(state.memory.lengths.max()) + tokens.shape[-1]
        if not self.shape.inner and needed > len(state.room.scores):
            raise ValueError(
                f"The KV cache holds {len(state.room.scores)} tokens and {needed} are needed; "
                "call prefill with more steps."
            )
        batch = len(tokens)
        guided = len(state.memory.previous) > batch
        pairs = [(b, batch + b if guided else -1) for b in range(batch)]
        seats = seats_of([sampling] * batch, pairs)
        sound = self.run(state.memory, seats, plane, noise, active, state.room, tokens, kept)
        return bool(sound.all())

    def run(
        self,
        memory: Memory,
        seats: Seats,
        plane: Tensor,
        noise: Tensor,
        active: Tensor,
        room: Room,
        tokens: Integers,
        kept: Floats = NOTHING,
    ) -> np.ndarray:
        """The native call, see `decode`; whether no logit of a request was NaN, `[B]`."""
        sound, native = np.ones(len(tokens), np.bool_), cast(Callable[..., None], decode)
        inputs = (t.detach().contiguous().numpy() for t in (plane.float(), noise, active))
        native(self.shape, self.weights, memory, seats, *inputs, room, tokens, sound, kept)
        return sound
