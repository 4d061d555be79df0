"""Sampling: logits to codes by guidance, temperature, top-k and top-p; pure functions."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from simba_music.conditioning.request import Request


@dataclass(frozen=True)
class Sampling:
    """How codes are drawn; see `Request`. All requests of a batch share it."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    guidance: float = 1.0

    @classmethod
    def of(cls, requests: Sequence[Request]) -> "Sampling":
        """What all of these requests say.

        Raises:
            ValueError: If they do not say the same.
        """
        found = {cls(r.temperature, r.top_k, r.top_p, r.guidance) for r in requests}
        if len(found) != 1:
            raise ValueError(
                "Requests of one batch must share temperature, top_k, top_p, guidance."
            )
        return found.pop()

    @property
    def guided(self) -> bool:
        """Whether there is an unconditional branch."""
        return self.guidance != 1


def guide(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance on logits `[..., V]` (Ho and Salimans 2022, eq. 6); 1 is none."""
    # On logits, for tokens: p_c^scale * p_u^(1 - scale), normalised by the softmax that follows
    # (Sanchez et al. 2023, arXiv 2306.17806). Over 1 it goes past the prompt, away from no prompt.
    return unconditional + scale * (conditional - unconditional)


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Mask all but the k largest logits `[..., V]`; 0, or k of V and more, keeps everything."""
    if k <= 0 or k >= logits.shape[-1]:
        return logits
    threshold = logits.topk(k, dim=-1).values[..., -1:]
    # What ties with the k-th stays, so that no order of equals decides what may be drawn.
    return logits.masked_fill(logits < threshold, float("-inf"))


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Nucleus filter (Holtzman et al. 2020): the fewest codes whose probability reaches p.

    At least one code is kept, however small p is; p of 1 keeps everything.
    """
    if p >= 1:
        return logits
    ordered, order = logits.sort(dim=-1, descending=True)
    probabilities = ordered.softmax(dim=-1)
    # What comes before a code, not what it completes: the one that reaches p is kept.
    before = probabilities.cumsum(dim=-1) - probabilities
    drop = before >= p
    drop[..., 0] = False
    return logits.masked_fill(torch.zeros_like(drop).scatter(-1, order, drop), float("-inf"))


def generator_of(request: Request) -> torch.Generator:
    """What a request's noise is drawn with: its seed, and which draw of that seed it is."""
    seed = request.seed
    if request.subseed:
        # Hashed, as torch's generator on the CPU takes 32 bits, which are all seeds of requests.
        digest = hashlib.sha256(f"{seed}, draw {request.subseed}".encode()).digest()
        seed = int.from_bytes(digest[:4], "little")
    return torch.Generator().manual_seed(seed)


def draw_noise(generators: Sequence[torch.Generator], count: int, shape: tuple[int, int]) -> Tensor:
    """Exponential noise `[n, B, K, V]` for n steps, a generator a row.

    A row is drawn step by step, so that it is the same however steps are cut into blocks and
    whatever is in the other rows.
    """
    # On the CPU and in float32, wherever and however the model computes: a seed means the same
    # noise on every device, and bfloat16 noise would tie.
    rows = [
        torch.stack([torch.empty(shape).exponential_(generator=g) for _ in range(count)])
        for g in generators
    ]
    return torch.stack(rows, dim=1)


def sample(logits: Tensor, noise: Tensor, sampling: Sampling) -> Tensor:
    """Draw one code a row and book from logits `[B, K, V]`, guidance done; `[B, K]`.

    An exponential race: argmax(p / E) with E ~ Exp(1), `noise` `[B, K, V]`, is a draw from p.
    """
    # The limit of the race as the temperature falls: noise no longer decides.
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    # Temperature first, so that the nucleus is cut from the distribution that is drawn from; k
    # first, so that p is of what k has left.
    kept = keep_top_k(logits / sampling.temperature, sampling.top_k)
    kept = keep_top_p(kept, sampling.top_p)
    # Not `multinomial`: E_i / p_i is exponential with rate p_i, and of such clocks i rings first
    # with chance p_i. So noise can be drawn outside the loop, a row of a batch at a time, and a
    # step has no draw of its own, which a CUDA graph could not hold.
    return (kept.softmax(dim=-1) / noise.to(logits.device)).argmax(dim=-1)
