"""Reference engine: the PyTorch model itself, a step a frame; others are compared with it."""

from typing import NamedTuple

import torch
from torch import Tensor

from simba_music.conditioning.types import Conditioning
from simba_music.generation.engines.types import DAMAGED
from simba_music.generation.sampling import Sampling, guide, sample
from simba_music.models.lm import LMState, MusicLM


class ReferenceState(NamedTuple):
    """The model's state, and the tokens before the next step `[G, K]`."""

    lm: LMState
    previous: Tensor


class ReferenceEngine:
    """See `Engine`; plain PyTorch in the dtype of the weights."""

    name = "reference"

    def __init__(self, lm: MusicLM):
        self.lm, self.device = lm, lm.head.weight.device
        self.dtype = str(lm.head.weight.dtype).removeprefix("torch.")

    def plane(self, given: Conditioning) -> Tensor:
        """See `Engine`."""
        return self.lm.plane(given)

    def prefill(self, given: Conditioning, steps: int) -> ReferenceState:
        """See `Engine`."""
        config = self.lm.config
        first = torch.full(
            (len(given.null), config.n_codebooks), config.special_ids.bos, device=given.null.device
        )
        return ReferenceState(self.lm.init_state(given, steps), first)

    def decode_n(
        self,
        state: ReferenceState,
        plane: Tensor,
        noise: Tensor,
        active: Tensor,
        sampling: Sampling,
    ) -> tuple[Tensor, ReferenceState]:
        """See `Engine`."""
        (lm, previous), bos = state, self.lm.config.special_ids.bos
        active = active.to(plane.device)
        chosen = list[Tensor]()
        damaged = torch.zeros((), dtype=torch.bool, device=plane.device)
        for i in range(len(noise)):
            logits, lm = self.lm.step(previous[..., None], plane[:, i : i + 1], lm)
            one = logits[:, :, 0].float()
            if sampling.guided:
                conditional, unconditional = one.chunk(2)
                one = guide(conditional, unconditional, sampling.guidance)
            damaged |= torch.isnan(one).any()
            tokens = sample(one, noise[i], sampling).where(active[:, i], bos)
            previous = tokens.repeat(2, 1) if sampling.guided else tokens
            chosen.append(tokens)
        if damaged:
            raise FloatingPointError(DAMAGED)
        return torch.stack(chosen, dim=-1), ReferenceState(lm, previous)

    def logits(self, state: ReferenceState, tokens: Tensor, plane: Tensor) -> Tensor:
        """See `Engine`."""
        rows = tokens.repeat(len(state.previous) // len(tokens), 1, 1)
        before = torch.cat([state.previous[..., None], rows[..., :-1]], dim=-1)
        return self.lm.step(before, plane, state.lm)[0]
