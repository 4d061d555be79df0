"""Attention of the packed engine: one query a row is two products with what is kept of the keys."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from simba_music.generation.engines.packed_layers import Norm, numbers, scale
from simba_music.models.config import LMConfig
from simba_music.models.cross_attention import TextContext
from simba_music.models.transformer import AttentionState, rope_frequencies


def penalty(mask: Tensor, heads: int) -> Tensor | None:
    """What padding adds to scores `[G H, 1, T]`; None where `mask` `[G, T]` has none."""
    if mask.all():
        return None
    found = torch.zeros(mask.shape).masked_fill(~mask, float("-inf"))
    return found.repeat_interleave(heads, 0)[:, None]


def interleaved(x: Tensor) -> Tensor:
    """Channels i and i + d / 2 of `[.., d]`, which turn together, as neighbours."""
    found: Tensor = x.unflatten(-1, (2, -1)).transpose(-1, -2).flatten(-2)
    return found


def pairs(x: Tensor) -> Tensor:
    """Neighbours of `[.., d]` as complex numbers `[.., d / 2]`, in the same memory."""
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)))


class Now(NamedTuple):
    """Views of one step, of all layers."""

    new_keys: tuple[Tensor, ...]  # [G, H, d]
    new_values: tuple[Tensor, ...]
    keys: tuple[Tensor, ...]  # [G H, d, T], this step's included
    values: tuple[Tensor, ...]  # [G H, T, d]
    scores: Tensor  # [G H, 1, T]
    of_text: Tensor  # those of the prefix, where padding is
    turn: Tensor  # [G, 1, d / 2]


class Cache:
    """Keys and values of all layers, and the room that one of them works in.

    Keys lie as `[d, T]`, so that the scores of one query are read along rows.
    """

    def __init__(self, state: AttentionState, steps: int, rotary: bool):
        rows, heads, filled, size = state.keys[0].shape
        layers, width = len(state.keys), heads * size
        self.length, self.text, self.room = filled, filled, filled + steps
        self.keys = torch.zeros(layers, rows, heads, size, self.room)
        self.values = torch.zeros(layers, rows, heads, self.room, size)
        for layer, (keys, values) in enumerate(zip(state.keys, state.values, strict=True)):
            keys = interleaved(keys) if rotary else keys
            self.keys[layer, ..., :filled] = keys.transpose(-1, -2)
            self.values[layer, :, :, :filled] = values
        self.penalty = penalty(state.mask, heads)
        self.norm, self.normed = Norm(rows, width), torch.empty(rows, width)
        self.projected = torch.empty(rows, 3 * width)
        self.q, self.k, self.v = self.projected.view(rows, 3, heads, size).unbind(1)
        self.query, self.attended = torch.empty(2, rows * heads, 1, size).unbind(0)
        self.query_by_row = self.query.view(rows, heads, size)
        self.attended_rows = self.attended.view(rows, width)
        self.scores = torch.empty(rows * heads * self.room)
        place = (state.position + torch.arange(steps)[:, None])[..., None, None]
        angle = place * rope_frequencies(size)
        self.turns = torch.polar(torch.ones_like(angle), angle)  # [steps, G, 1, d / 2]

    def advance(self) -> Now:
        """Make room for a token.

        Raises:
            ValueError: If there is none.
        """
        place, self.length = self.length, self.length + 1
        if self.length > self.room:
            raise ValueError(
                f"The KV cache holds {self.room} tokens and {self.length} are needed; "
                "call prefill with more steps."
            )
        groups = len(self.query)
        scores = self.scores[: groups * self.length].view(groups, 1, self.length)
        return Now(
            self.keys[..., place].unbind(0),
            self.values[..., place, :].unbind(0),
            self.keys[..., : self.length].flatten(1, 2).unbind(0),
            self.values[..., : self.length, :].flatten(1, 2).unbind(0),
            scores,
            scores[..., : self.text],
            self.turns[place - self.text],
        )


class Attention:
    """Weights of causal attention behind its norm."""

    def __init__(self, block: nn.Module, config: LMConfig):
        w = {name: numbers(weight) for name, weight in block.named_parameters()}
        heads, self.rotary = config.n_heads, config.positions == "rope"
        q, k, v = (w["qkv.weight"] * scale(w["attention_norm.weight"])).chunk(3)
        if self.rotary:
            q, k = (interleaved(t.t().unflatten(-1, (heads, -1))).flatten(-2).t() for t in (q, k))
        self.inward = torch.cat([q * (config.d_model // heads) ** -0.5, k, v]).t()
        self.outward = w["out.weight"].t()

    def step(self, x: Tensor, cache: Cache, now: Now, layer: int) -> None:
        """Advance layer number `layer` by one token."""
        cache.norm(x, cache.normed)
        torch.mm(cache.normed, self.inward, out=cache.projected)
        if self.rotary:
            torch.mul(pairs(cache.q), now.turn, out=pairs(cache.query_by_row))
            pairs(cache.k).mul_(now.turn)
        else:
            cache.query_by_row.copy_(cache.q)
        now.new_keys[layer].copy_(cache.k)
        now.new_values[layer].copy_(cache.v)
        torch.bmm(cache.query, now.keys[layer], out=now.scores)
        if cache.penalty is not None:
            now.of_text.add_(cache.penalty)
        torch.bmm(now.scores.softmax(-1), now.values[layer], out=cache.attended)
        x.addmm_(cache.attended_rows, self.outward)


class TextMemory:
    """What all layers read of the text, and the room that one of them works in."""

    def __init__(self, context: TextContext):
        rows, heads, _, size = context.keys[0].shape
        self.keys = [k.float().flatten(0, 1).transpose(1, 2).contiguous() for k in context.keys]
        self.values = [v.float().flatten(0, 1).contiguous() for v in context.values]
        self.penalty = penalty(context.mask, heads)
        width = heads * size
        self.norm, self.normed = Norm(rows, width), torch.empty(rows, width)
        self.query, self.attended = torch.empty(2, rows, width).unbind(0)
        self.query_by_head, self.attended_by_head = (
            t.view(rows * heads, 1, size) for t in (self.query, self.attended)
        )


class CrossText:
    """Weights of attention over the text behind its norm."""

    def __init__(self, block: nn.Module, config: LMConfig):
        w = {name: numbers(weight) for name, weight in block.named_parameters()}
        size = config.d_model // config.cross_heads
        queries = w["cross.queries.weight"] * scale(w["cross_norm.weight"])
        self.queries, self.out = (queries * size**-0.5).t(), w["cross.out.weight"].t()

    def step(self, x: Tensor, text: TextMemory, layer: int) -> None:
        """Add what layer number `layer` attends to."""
        text.norm(x, text.normed)
        torch.mm(text.normed, self.queries, out=text.query)
        scores = torch.bmm(text.query_by_head, text.keys[layer])
        if text.penalty is not None:
            scores.add_(text.penalty)
        torch.bmm(scores.softmax(-1), text.values[layer], out=text.attended_by_head)
        x.addmm_(text.attended, self.out)
