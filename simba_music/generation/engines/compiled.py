"""Compiled engine: n steps in one native call on the CPU; float32, bfloat16 or int8 weights."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from simba_music.conditioning.types import Conditioning
from simba_music.errors import EngineError
from simba_music.generation.engines.kernels.decode import decode
from simba_music.generation.engines.kernels.layout import (
    STORED,
    Draw,
    Floats,
    Integers,
    Memory,
    Room,
    copied,
    room_for,
)
from simba_music.generation.engines.packing import memory_of, pack, shape_of
from simba_music.generation.engines.types import DAMAGED
from simba_music.generation.sampling import Sampling
from simba_music.models.lm import MusicLM, in_books

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

    @torch.inference_mode()
    def prefill(self, given: Conditioning, steps: int) -> CompiledState:
        """See `Engine`."""
        config = self.lm.config
        groups = len(given.null)
        previous = torch.full((groups, config.n_codebooks), config.special_ids.bos)
        memory = memory_of(self.shape, self.lm.init_state(given, 0), steps, previous)
        longest = int(max(memory.lengths.max() + steps, memory.text_lengths.max()))
        return CompiledState(memory, room_for(self.shape, groups, longest))

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
        tokens = np.zeros((noise.shape[1], noise.shape[2], len(noise)), np.int64)
        sound = self._run(state.memory, state.room, plane, tokens, noise, active, sampling)
        if not sound:
            raise FloatingPointError(DAMAGED)
        return torch.from_numpy(tokens), state

    def logits(self, state: CompiledState, tokens: Tensor, plane: Tensor) -> Tensor:
        """See `Engine`; leaves the state as it is."""
        (batch, books, count), groups = tokens.shape, len(state.memory.previous)
        memory = copied(state.memory)
        given = tokens.contiguous().numpy().astype(np.int64)
        nothing = torch.zeros(0, batch, books, self.shape.codes)
        kept = np.zeros((count, groups, sum(self.lm.sizes)), np.float32)
        everywhere = torch.ones(books, count, dtype=torch.bool)
        self._run(memory, state.room, plane, given, nothing, everywhere, Sampling(), kept)
        by_book = in_books(torch.from_numpy(kept), self.lm.sizes, self.shape.codes)
        return by_book.permute(1, 2, 0, 3)

    def _run(
        self,
        memory: Memory,
        room: Room,
        plane: Tensor,
        tokens: Integers,
        noise: Tensor,
        active: Tensor,
        sampling: Sampling,
        kept: Floats = NOTHING,
    ) -> bool:
        """The native call.

        Raises:
            ValueError: If the cache is too short; kernels do not check their bounds.
        """
        needed = int(memory.lengths.max()) + tokens.shape[-1]
        if not self.shape.inner and needed > len(room.scores):
            raise ValueError(
                f"The KV cache holds {len(room.scores)} tokens and {needed} are needed; "
                "call prefill with more steps."
            )
        draws = Draw(
            sampling.guided,
            np.float32(sampling.guidance),
            np.float32(sampling.temperature),
            sampling.top_k,
            np.float32(sampling.top_p),
        )
        inputs = (t.detach().contiguous().numpy() for t in (plane.float(), noise, active))
        run: Callable[..., bool] = decode
        return run(self.shape, self.weights, memory, *inputs, draws, room, tokens, kept)
