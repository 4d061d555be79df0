"""Drawing codes on buffers: guidance, top-k, top-p and the race, with settings of every row."""

import torch
from torch import Tensor

from simba_music.generation.engines.graph.buffers import Buffers


def guided(logits: Tensor, scale: Tensor) -> Tensor:
    """Classifier-free guidance of logits `[2 B, K, V]` with a scale `[B, 1, 1]` each; 1 is none."""
    conditional, unconditional = logits.chunk(2)
    mixed = unconditional + scale * (conditional - unconditional)
    return torch.where(scale == 1, conditional, mixed)


def drawn(logits: Tensor, noise: Tensor, buffers: Buffers) -> Tensor:
    """One code a request and book `[B, K]` from logits `[B, K, V]`; see `sampling.sample`.

    The same arithmetic, with settings as tensors `[B, 1, 1]`, so that requests that are decoded
    together may differ in them and a captured graph serves all.
    """
    greedy = buffers.temperature == 0
    scaled = logits / torch.where(greedy, 1.0, buffers.temperature)
    ordered, order = scaled.sort(dim=-1, descending=True)
    least = ordered.gather(-1, (buffers.top_k - 1).expand(*logits.shape[:2], 1))
    kept = scaled.masked_fill(scaled < least, float("-inf"))
    if buffers.size.nucleus:
        kept = _nucleus(kept, ordered.masked_fill(ordered < least, float("-inf")), order, buffers)
    raced = (kept.softmax(dim=-1) / noise).argmax(dim=-1)
    return torch.where(greedy[..., 0], logits.argmax(dim=-1), raced)


def _nucleus(kept: Tensor, ordered: Tensor, order: Tensor, buffers: Buffers) -> Tensor:
    """The fewest codes whose probability reaches `top_p`, at least one; all where it is 1."""
    probabilities = ordered.softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities
    drop = (before >= buffers.top_p) & (buffers.top_p < 1)
    drop[..., 0] = False
    dropped = torch.zeros_like(drop).scatter(-1, order, drop)
    return kept.masked_fill(dropped, float("-inf"))
