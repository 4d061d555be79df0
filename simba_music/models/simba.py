"""SiMBA decoder backbone: Mamba-2 mixer, then a channel mixer (MLP, EinFFT, or none)."""

from typing import Any

import torch
from torch import Tensor, nn

from simba_music.models.config import LMConfig
from simba_music.models.cross_attention import CrossBlock, TextContext, read_text
from simba_music.models.einfft import EinFFT
from simba_music.models.mamba2 import Mamba2, MixerState


def mlp(d_model: int, d_ff: int) -> nn.Sequential:
    """The channel mixer that both backbones share, `[B, S, D] -> [B, S, D]`."""
    return nn.Sequential(
        nn.Linear(d_model, d_ff, bias=False), nn.GELU(), nn.Linear(d_ff, d_model, bias=False)
    )


class SimbaBlock(CrossBlock):
    """Pre-norm residual block: Mamba-2, then (if so conditioned) the text, then the mixer."""

    def __init__(self, config: LMConfig):
        super().__init__(config)
        assert config.d_state is not None  # LMConfig checks it
        # Norms before the branches: residuals reach the output unscaled (as in GPT-2 and
        # mamba-ssm).
        self.mixer_norm = nn.RMSNorm(config.d_model, eps=1e-5)
        self.mixer = Mamba2(config.d_model, config.d_state, config.n_heads)
        self.channel_norm: nn.Module | None = None
        self.channel_mixer: nn.Module | None = None
        if config.channel_mixer != "none":
            self.channel_norm = nn.RMSNorm(config.d_model, eps=1e-5)
            self.channel_mixer = (
                EinFFT(config.d_model)
                if config.channel_mixer == "einfft"
                else mlp(config.d_model, config.d_ff)
            )

    def step(
        self,
        x: Tensor,
        state: MixerState,
        mask: Tensor | None,
        context: TextContext | None,
        layer: int,
    ) -> tuple[Tensor, MixerState]:
        """Advance by S tokens `[B, S, D]`."""
        y, state = self.mixer.step(self.mixer_norm(x), state, mask)
        # Text between the two mixers, where the Transformer has it, so that the comparison is fair.
        x = self.attend_text(x + y, context, layer)
        if self.channel_norm is not None and self.channel_mixer is not None:
            x = x + self.channel_mixer(self.channel_norm(x))
        return x, state


class Simba(nn.Module):
    """Backbone `[B, S, D] -> [B, S, D]` whose state does not grow with the length."""

    def __init__(self, config: LMConfig):
        super().__init__()
        self.blocks: Any = nn.ModuleList(SimbaBlock(config) for _ in range(config.n_layers))

    def init_state(
        self, batch: int, max_length: int, device: torch.device
    ) -> tuple[MixerState, ...]:
        """The state before any token, one a layer; `max_length` is not needed."""
        return tuple(block.mixer.init_state(batch, device) for block in self.blocks)

    def read(self, states: Tensor, mask: Tensor) -> TextContext:
        """The context that text states `[B, L, D]` give to cross-attention."""
        return read_text(self.blocks, states, mask)

    def step(
        self,
        x: Tensor,
        state: tuple[MixerState, ...],
        mask: Tensor | None = None,
        context: TextContext | None = None,
    ) -> tuple[Tensor, tuple[MixerState, ...]]:
        """Advance by S tokens `[B, S, D]`; `mask` `[B, S]` is False on padding."""
        after = []
        for layer, block in enumerate(self.blocks):
            x, layer_state = block.step(x, state[layer], mask, context, layer)
            after.append(layer_state)
        return x, tuple(after)

    def forward(self, x: Tensor, context: TextContext | None = None) -> Tensor:
        """All S positions at once `[B, S, D]`, from the empty state."""
        state = self.init_state(x.shape[0], x.shape[1], x.device)
        return self.step(x, state, None, context)[0]
