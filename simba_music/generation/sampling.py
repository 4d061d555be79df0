"""Sampling: logits to token by guidance, temperature, top-k and top-p; pure functions."""

from collections.abc import Sequence

import torch
from torch import Tensor


def guide(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance on logits `[B, V]` (Ho and Salimans 2022, eq. 6); 1 is none."""
    return unconditional + scale * (conditional - unconditional)


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Mask all but the k largest logits `[B, V]`; 0, or k of V and more, keeps everything."""
    if k <= 0 or k >= logits.shape[-1]:
        return logits
    threshold = logits.topk(k, dim=-1).values[..., -1:]
    return logits.masked_fill(logits < threshold, float("-inf"))


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Nucleus filter (Holtzman et al. 2020): the fewest tokens whose probability reaches p.

    At least one token is kept, however small p is; p of 1 keeps everything.
    """
    if p >= 1:
        return logits
    ordered, order = logits.sort(dim=-1, descending=True)
    probabilities = ordered.softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities
    drop = before >= p
    drop[..., 0] = False
    return logits.masked_fill(torch.zeros_like(drop).scatter(-1, order, drop), float("-inf"))


def sample(
    logits: Tensor,
    generators: Sequence[torch.Generator],
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> Tensor:
    """Draw one token a row; each row has a generator, so neighbours in a batch change nothing.

    Args:
        logits: `[B, V]`.
        generators: B CPU generators.
        temperature: 0 is greedy.
        top_k: tokens kept, 0 for all.
        top_p: probability kept, in (0, 1].

    Returns:
        Token ids `[B]`.

    Raises:
        FloatingPointError: If a logit is NaN (argmax would pick it silently).
    """
    if torch.isnan(logits).any():
        raise FloatingPointError("The model produced NaN logits; its checkpoint is damaged.")
    if temperature == 0:
        return logits.argmax(dim=-1)
    kept = keep_top_p(keep_top_k(logits / temperature, top_k), top_p)
    # Exponential races: argmax(p / E) with E ~ Exp(1) is a draw from p.
    noise = torch.stack(
        [torch.empty(logits.shape[-1]).exponential_(generator=g) for g in generators]
    )
    return (kept.softmax(dim=-1) / noise.to(logits.device)).argmax(dim=-1)
