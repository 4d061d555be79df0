"""Transformer decoder backbone: causal attention, MLP, and a KV cache."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simba_music.models.config import LMConfig
from simba_music.models.cross_attention import CrossBlock, TextContext, read_text
from simba_music.models.simba import mlp

# As published: the slowest pair turns once in some 50,000 positions, and 30 s are 2,250 frames.
_ROPE_BASE = 10_000.0


class AttentionState(NamedTuple):
    """KV cache of a whole backbone.

    keys, values: one `[B, H, T, d]` a layer, filled up to `length` of T;
    mask: `[B, T]`, False on padding; position: tokens seen so far `[B]`, padding not counted.
    length has no axis: the cache's own place, alike for all rows.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    mask: Tensor
    position: Tensor
    length: Tensor


def rope_frequencies(size: int, device: torch.device | None = None) -> Tensor:
    """Radians a position of the `size / 2` pairs of channels of a head (Su et al. 2021)."""
    half = size // 2
    steps = torch.arange(half, device=device, dtype=torch.float32)
    frequencies: Tensor = _ROPE_BASE ** (-steps / half)
    return frequencies


def rotate(x: Tensor, position: Tensor) -> Tensor:
    """Rotary position embedding (Su et al. 2021) of `[B, H, S, d]` at `position` `[B, S]`."""
    half = x.shape[-1] // 2
    # Float32: bfloat16 cannot tell frame 2,001 from 2,002.
    angle = position[:, None, :, None].float() * rope_frequencies(x.shape[-1], x.device)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    # Halves, not neighbours, turn together (as in GPT-NeoX): two slices instead of a gather. It is
    # a permutation of channels, which the projections learn.
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


class TransformerBlock(CrossBlock):
    """Pre-norm residual block: attention, then (if so conditioned) the text, then the MLP."""

    def __init__(self, config: LMConfig):
        super().__init__(config)
        self.n_heads = config.n_heads
        self.rotary = config.positions == "rope"
        self.attention_norm = nn.RMSNorm(config.d_model, eps=1e-5)
        self.qkv = nn.Linear(config.d_model, 3 * config.d_model, bias=False)
        self.out = nn.Linear(config.d_model, config.d_model, bias=False)
        self.channel_norm = nn.RMSNorm(config.d_model, eps=1e-5)
        self.channel_mixer = mlp(config.d_model, config.d_ff)

    def project(self, x: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each `[B, H, S, d]`; the first two rotated if so wanted."""
        q, k, v = (
            t.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
            for t in self.qkv(self.attention_norm(x)).chunk(3, dim=-1)
        )
        return (rotate(q, position), rotate(k, position), v) if self.rotary else (q, k, v)

    def finish(
        self, x: Tensor, attended: Tensor, context: TextContext | None, layer: int
    ) -> Tensor:
        """Residuals of attention `[B, H, S, d]`, of the text, and of the channel mixer."""
        x = x + self.out(attended.transpose(1, 2).flatten(-2))
        x = self.attend_text(x, context, layer)
        found: Tensor = x + self.channel_mixer(self.channel_norm(x))
        return found


class Transformer(nn.Module):
    """Backbone `[B, S, D] -> [B, S, D]` whose state grows with the length."""

    def __init__(self, config: LMConfig):
        super().__init__()
        self.head = config.d_model // config.n_heads
        self.n_heads = config.n_heads
        self.blocks: Any = nn.ModuleList(TransformerBlock(config) for _ in range(config.n_layers))

    def init_state(self, batch: int, max_length: int, device: torch.device) -> AttentionState:
        """An empty cache for at most `max_length` tokens, padding included."""
        shape = (batch, self.n_heads, max_length, self.head)
        cache = [tuple(torch.zeros(shape, device=device) for _ in self.blocks) for _ in range(2)]
        # Padding is known by the mask alone, so the cache needs no value that means empty.
        mask = torch.zeros(batch, max_length, dtype=torch.bool, device=device)
        position = torch.zeros(batch, dtype=torch.long, device=device)
        length = torch.zeros((), dtype=torch.long, device=device)
        return AttentionState(cache[0], cache[1], mask, position, length)

    def read(self, states: Tensor, mask: Tensor) -> TextContext:
        """The context that text states `[B, L, D]` give to cross-attention."""
        return read_text(self.blocks, states, mask)

    def step(
        self,
        x: Tensor,
        state: AttentionState,
        mask: Tensor | None = None,
        context: TextContext | None = None,
    ) -> tuple[Tensor, AttentionState]:
        """Advance by S tokens `[B, S, D]`; writes into the cache that `state` holds.

        Raises:
            ValueError: If the cache is too short for them.
        """
        batch, length = x.shape[:2]
        start = int(state.length)
        end = start + length
        if end > state.mask.shape[1]:
            raise ValueError(
                f"The KV cache holds {state.mask.shape[1]} tokens and {end} are needed; "
                "call init_state with a larger max_length."
            )
        if mask is None:
            mask = x.new_ones(batch, length, dtype=torch.bool)
        state.mask[:, start:end] = mask
        # Counted without padding, so that rows padded to a longer text are at the same positions.
        position = state.position[:, None] + mask.long().cumsum(1) - 1
        allowed = self._allowed(state.mask[:, :end], start, length)
        for i, block in enumerate(self.blocks):
            q, k, v = block.project(x, position)
            keys, values = state.keys[i], state.values[i]
            keys[:, :, start:end], values[:, :, start:end] = k.to(keys.dtype), v.to(values.dtype)
            attended = F.scaled_dot_product_attention(
                q, keys[:, :, :end].to(q.dtype), values[:, :, :end].to(q.dtype), attn_mask=allowed
            )
            x = block.finish(x, attended, context, i)
        after = state._replace(
            position=state.position + mask.long().sum(1), length=state.length + length
        )
        return x, after

    @staticmethod
    def _allowed(mask: Tensor, start: int, length: int) -> Tensor:
        """Which keys `[T]` each of the last `length` queries sees: `[B, 1, S, T]`.

        A padded query sees itself, so that no softmax is over nothing.
        """
        # Causal, and no padding; the diagonal besides, as a softmax over nothing is NaN.
        rows = torch.arange(start, start + length, device=mask.device)[:, None]
        columns = torch.arange(start + length, device=mask.device)[None]
        return ((columns <= rows) & mask[:, None, None]) | (columns == rows)

    def forward(self, x: Tensor, context: TextContext | None = None) -> Tensor:
        """All S positions at once `[B, S, D]`, with no cache to write to."""
        position = torch.arange(x.shape[1], device=x.device)[None]
        for i, block in enumerate(self.blocks):
            q, k, v = block.project(x, position)
            # No mask: padding was moved behind the frames, see MusicLM, and `is_causal` makes none.
            attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = block.finish(x, attended, context, i)
        return x
