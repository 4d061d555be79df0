"""Weights of the graph engine: the model's matrices in one dtype, fused where inputs are shared."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from simba_music.models.config import EXPAND, LMConfig
from simba_music.models.lm import MusicLM


@dataclass(frozen=True)
class MixerWeights:
    """Of Mamba-2: both projections `[out, in]`, and float32 vectors of its step.

    taps: `[C, 4]`, the oldest input first; tap_bias `[C]`; dt_bias, rate (-exp(A_log)), skip `[H]`;
    norm: of the gated norm `[H P]`.
    """

    inward: Tensor
    outward: Tensor
    taps: Tensor
    tap_bias: Tensor
    dt_bias: Tensor
    rate: Tensor
    skip: Tensor
    norm: Tensor


@dataclass(frozen=True)
class MlpWeights:
    """Both matrices of an MLP."""

    up: Tensor
    down: Tensor


@dataclass(frozen=True)
class CrossWeights:
    """Of attention over the text: its norm, queries and output; keys and values are read once."""

    norm: Tensor
    queries: Tensor
    outward: Tensor


@dataclass(frozen=True)
class Block:
    """One layer; `mixer` or `qkv` with `outward`, and the rest where the model has it.

    `einfft` is the model's own module, which computes in float32 whatever the dtype.
    """

    norm: Tensor
    mixer: MixerWeights | None
    qkv: Tensor | None
    outward: Tensor | None
    cross: CrossWeights | None
    channel_norm: Tensor | None
    mlp: MlpWeights | None
    einfft: nn.Module | None


@dataclass(frozen=True)
class Weights:
    """All that a step reads; matrices in the engine's dtype, norms and vectors in float32."""

    blocks: tuple[Block, ...]
    embedding: Tensor
    norm: Tensor
    head: Tensor

    @classmethod
    def of(cls, lm: MusicLM, dtype: torch.dtype) -> "Weights":
        """Those of a model; the copy shares memory with it where nothing changes."""
        return cls(
            tuple(_block(block, lm.config, dtype) for block in lm.backbone.blocks),
            lm.wide_embedding().to(dtype),
            lm.norm.weight.detach().float(),
            lm.head.weight.detach().to(dtype),
        )


def _block(block: nn.Module, config: LMConfig, dtype: torch.dtype) -> Block:
    own = {name: weight.detach() for name, weight in block.named_parameters()}

    def matrix(name: str) -> Tensor:
        return own[name].to(dtype)

    def vector(name: str) -> Tensor:
        return own[name].float()

    recurrent = config.backbone != "transformer"
    mixer = cross = mlp = einfft = None
    if recurrent:
        mixer = MixerWeights(
            matrix("mixer.in_proj.weight"),
            matrix("mixer.out_proj.weight"),
            vector("mixer.conv1d.weight")[:, 0].contiguous(),
            vector("mixer.conv1d.bias"),
            vector("mixer.dt_bias"),
            -vector("mixer.A_log").exp(),
            vector("mixer.D"),
            vector("mixer.norm.weight"),
        )
    if config.conditioning == "cross":
        cross = CrossWeights(
            vector("cross_norm.weight"), matrix("cross.queries.weight"), matrix("cross.out.weight")
        )
    if config.channel_mixer == "mlp":
        mlp = MlpWeights(matrix("channel_mixer.0.weight"), matrix("channel_mixer.2.weight"))
    elif config.channel_mixer == "einfft":
        einfft = block.get_submodule("channel_mixer")
    return Block(
        vector("mixer_norm.weight" if recurrent else "attention_norm.weight"),
        mixer,
        None if recurrent else matrix("qkv.weight"),
        None if recurrent else matrix("out.weight"),
        cross,
        None if config.channel_mixer == "none" else vector("channel_norm.weight"),
        mlp,
        einfft,
    )


def projected_width(config: LMConfig) -> int:
    """Width of what Mamba-2 projects inward: z, x, B, C and dt."""
    inner = EXPAND * config.d_model
    return 2 * inner + 2 * (config.d_state or 0) + config.n_heads
