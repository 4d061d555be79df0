"""Cross-attention over the text's states: the other way to condition, shared by both backbones."""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from simba_music.models.config import LMConfig


class TextContext(NamedTuple):
    """What every block reads of the text: keys and values `[B, H, L, d]`, mask `[B, L]`."""

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    mask: Tensor


class CrossAttention(nn.Module):
    """Attention of frames `[B, S, D]` over text states `[B, L, D]` (Vaswani et al. 2017, 3.2.3)."""

    def __init__(self, d_model: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        # No positions: the encoder's states know their order, and frames have no place in the text.
        self.queries = nn.Linear(d_model, d_model, bias=False)
        self.keys_values = nn.Linear(d_model, 2 * d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def read(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values `[B, H, L, d]` of text states `[B, L, D]`, to be computed once."""
        keys, values = (
            t.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
            for t in self.keys_values(states).chunk(2, dim=-1)
        )
        return keys, values

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """`[B, S, D]` from `x` `[B, S, D]`; `mask` `[B, L]` is False on padding."""
        queries = self.queries(x).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
        # No row is all padding: a null row has the learned vector.
        attended = F.scaled_dot_product_attention(
            queries,
            keys.to(queries.dtype),
            values.to(queries.dtype),
            attn_mask=mask[:, None, None],
        )
        found: Tensor = self.out(attended.transpose(1, 2).flatten(-2))
        return found


def read_text(blocks: nn.ModuleList, states: Tensor, mask: Tensor) -> TextContext:
    """What all blocks of a backbone, each with a `cross`, read of the text."""
    read = [block.cross.read(states) for block in blocks]  # type: ignore[operator, union-attr]
    return TextContext(tuple(k for k, _ in read), tuple(v for _, v in read), mask)


class CrossBlock(nn.Module):
    """Pre-norm residual branch of cross-attention; absent when the text is a prefix."""

    def __init__(self, config: LMConfig):
        super().__init__()
        self.cross_norm: nn.Module | None = None
        self.cross: CrossAttention | None = None
        if config.conditioning == "cross":
            self.cross_norm = nn.RMSNorm(config.d_model, eps=1e-5)
            self.cross = CrossAttention(config.d_model, config.cross_heads)

    def attend_text(self, x: Tensor, context: TextContext | None, layer: int) -> Tensor:
        """X plus what layer number `layer` attends to; x where there is no context."""
        if self.cross is None or self.cross_norm is None or context is None:
            return x
        keys, values = context.keys[layer], context.values[layer]
        found: Tensor = x + self.cross(self.cross_norm(x), keys, values, context.mask)
        return found
