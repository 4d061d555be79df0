"""Packing: a language model's weights and prefilled state as the arrays that kernels read."""

import itertools
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from simba_music.generation.engines.kernels import layout
from simba_music.generation.engines.kernels.layout import Floats, Memory, Shape, Weights
from simba_music.generation.engines.kernels.panel import LANES, aligned, in_panels, padded
from simba_music.models.config import EXPAND
from simba_music.models.cross_attention import TextContext
from simba_music.models.einfft import EinFFT
from simba_music.models.lm import LMState, MusicLM
from simba_music.models.mamba2 import CONV_WIDTH, MixerState
from simba_music.models.transformer import AttentionState, rope_frequencies

_MOST = 127  # of int8; -128 is left out, so that a row's range is symmetric


def shape_of(lm: MusicLM) -> Shape:
    """Sizes of a language model."""
    config = lm.config
    recurrent = config.backbone != "transformer"
    mixers = {"none": layout.NO_MIXER, "mlp": layout.MLP, "einfft": layout.EINFFT_MIXER}
    return Shape(
        layers=config.n_layers,
        width=config.d_model,
        heads=config.n_heads,
        inner=EXPAND * config.d_model if recurrent else 0,
        state=(config.d_state or 0) if recurrent else 0,
        hidden=config.d_ff,
        mixer=mixers[config.channel_mixer],
        cross_heads=config.cross_heads if config.conditioning == "cross" else 0,
        rotary=config.positions == "rope",
        books=config.n_codebooks,
        codes=config.vocab,
    )


class _Packer:
    """Puts matrices and vectors end to end and keeps the tables of where they are."""

    def __init__(self, layers: int, stored: str):
        self.stored = stored
        self.where = np.zeros((layers + 1, layout.MATRICES, 4), np.int64)
        self.begins = np.zeros((layers + 1, layout.VECTORS), np.int64)
        self.matrices, self.scales, self.vectors = list[np.ndarray](), list[Floats](), [Tensor()]
        self.weights = self.rows = self.numbers = 0

    def matrix(self, layer: int, place: int, weight: Tensor, width: int) -> None:
        """Add one `[rows, width]`, or several `[n, rows, width]` that follow each other."""
        blocks = weight.detach().float().reshape(-1, weight.shape[-2], width)
        self.where[layer, place] = self.weights, self.rows, len(blocks) * blocks.shape[1], width
        for block in blocks:
            packed, scale = store(block, self.stored)
            panels = in_panels(packed)
            self.matrices.append(panels.reshape(-1))
            self.scales.append(np.pad(scale, (0, padded(len(scale)) - len(scale))))
            self.weights += panels.size
            self.rows += padded(len(scale))

    def vector(self, layer: int, place: int, values: Tensor) -> None:
        """Add one, flattened."""
        self.begins[layer, place] = self.numbers
        self.vectors.append(values.detach().float().reshape(-1))
        self.numbers += values.numel()


def store(rows: Tensor, stored: str) -> tuple[np.ndarray, Floats]:
    """Weights `[R, I]` as they are stored, and what each row is to be multiplied with.

    int8 is symmetric with one scale a row: the largest weight of a row is 127.
    """
    ones = np.ones(len(rows), np.float32)
    if stored == "bfloat16":
        return rows.bfloat16().view(torch.int16).numpy().view(np.uint16), ones
    if stored == "int8":
        scale = rows.abs().amax(1).clamp(min=1e-12) / _MOST
        return (rows / scale[:, None]).round().to(torch.int8).numpy(), scale.numpy()
    return rows.numpy(), ones


def pack(lm: MusicLM, stored: str) -> Weights:
    """All weights of a language model that decoding reads, matrices in one of `layout.STORED`."""
    shape, packer = shape_of(lm), _Packer(lm.config.n_layers, stored)
    for layer, block in enumerate(lm.backbone.blocks):
        (_pack_mamba if shape.inner else _pack_attention)(packer, layer, block, shape)
        if block.cross is not None:
            packer.matrix(layer, layout.QUERIES, block.cross.queries.weight, shape.width)
            packer.matrix(layer, layout.TEXT_OUT, block.cross.out.weight, shape.width)
            packer.vector(layer, layout.CROSS_NORM, block.cross_norm.weight)
        if block.channel_mixer is not None:
            packer.vector(layer, layout.CHANNEL_NORM, block.channel_norm.weight)
            _pack_channel_mixer(packer, layer, block.channel_mixer, shape)
    packer.matrix(shape.layers, layout.HEAD, lm.head.weight, shape.width)
    packer.vector(shape.layers, layout.LAST_NORM, lm.norm.weight)
    frequencies = rope_frequencies(shape.width // shape.heads)
    packer.vector(shape.layers, layout.FREQUENCIES, frequencies)
    return Weights(
        matrices=_joined(packer.matrices),
        scales=np.concatenate(packer.scales),
        where=packer.where,
        vectors=torch.cat(packer.vectors).numpy(),
        begins=packer.begins,
        embedding=lm.wide_embedding().float().numpy(),
        books=np.cumsum([0, *lm.sizes], dtype=np.int64),
    )


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """All of them end to end, at the beginning of a line of the cache."""
    found = aligned((sum(part.size for part in parts),), parts[0].dtype)
    np.concatenate(parts, out=found)
    return found


def _pack_attention(packer: _Packer, layer: int, block: torch.nn.Module, shape: Shape) -> None:
    weights = dict(block.named_parameters())
    packer.vector(layer, layout.MIXER_NORM, weights["attention_norm.weight"])
    packer.matrix(layer, layout.INWARD, weights["qkv.weight"], shape.width)
    packer.matrix(layer, layout.OUTWARD, weights["out.weight"], shape.width)


def _pack_mamba(packer: _Packer, layer: int, block: torch.nn.Module, shape: Shape) -> None:
    weights = dict(block.named_parameters())
    packer.vector(layer, layout.MIXER_NORM, weights["mixer_norm.weight"])
    packer.matrix(layer, layout.INWARD, weights["mixer.in_proj.weight"], shape.width)
    packer.matrix(layer, layout.OUTWARD, weights["mixer.out_proj.weight"], shape.inner)
    packer.vector(layer, layout.TAPS, weights["mixer.conv1d.weight"][:, 0].t())
    packer.vector(layer, layout.TAP_BIAS, weights["mixer.conv1d.bias"])
    packer.vector(layer, layout.DT_BIAS, weights["mixer.dt_bias"])
    packer.vector(layer, layout.RATE, -weights["mixer.A_log"].float().exp())
    packer.vector(layer, layout.SKIP, weights["mixer.D"])
    packer.vector(layer, layout.GATED_NORM, weights["mixer.norm.weight"])


def _pack_channel_mixer(packer: _Packer, layer: int, mixer: torch.nn.Module, shape: Shape) -> None:
    weights = dict(mixer.named_parameters())
    if not isinstance(mixer, EinFFT):
        packer.matrix(layer, layout.UP, weights["0.weight"], shape.width)
        packer.matrix(layer, layout.DOWN, weights["2.weight"], shape.hidden)
        return
    parts = [f"{number}_{part}" for number in (1, 2) for part in ("real", "imag")]
    for place, part in enumerate(parts, layout.EINFFT):
        weight = weights[f"w{part}"]  # [4, in, out]
        packer.matrix(layer, place, weight.transpose(1, 2), weight.shape[1])
    packer.vector(layer, layout.EINFFT_BIAS, torch.stack([weights[f"b{part}"] for part in parts]))


def memory_of(shape: Shape, state: LMState, steps: int, previous: Tensor) -> Memory:
    """A prefilled state, with room for so many more steps, as kernels have it.

    Padding is left out: each row has its own length.
    """
    groups, nothing = len(previous), np.zeros((shape.layers, 0, 0, 0), np.float32)
    lengths = np.zeros(groups, np.int64)
    arrays = {"keys": nothing, "values": nothing, "conv": nothing, "ssm": nothing}
    backbone = state.backbone
    if isinstance(backbone, AttentionState):
        mask = backbone.mask[:, : int(backbone.length)]
        lengths = mask.sum(1).numpy().astype(np.int64)
        room = padded(int(lengths.max(initial=0)) + steps)
        arrays["keys"], arrays["values"] = _panels(backbone.keys, backbone.values, mask, room)
    else:
        arrays["conv"], arrays["ssm"] = _recurrent(backbone)
    text_lengths, texts = np.zeros(groups, np.int64), (nothing, nothing)
    if isinstance(state.context, TextContext):
        mask = state.context.mask
        text_lengths = mask.sum(1).numpy().astype(np.int64)
        room = padded(int(text_lengths.max(initial=0)))
        texts = _panels(state.context.keys, state.context.values, mask, room)
    return Memory(
        **arrays,
        lengths=lengths,
        text_keys=texts[0],
        text_values=texts[1],
        text_lengths=text_lengths,
        previous=previous.numpy().astype(np.int64),
    )


def _panels(
    keys: Iterable[Tensor], values: Iterable[Tensor], mask: Tensor, room: int
) -> tuple[Floats, Floats]:
    """Keys and values, one `[G, H, T, d]` a layer, where `mask` `[G, T]` is True; see `Memory`."""
    found = []
    for layers, by_position in ((keys, True), (values, False)):
        layered = [layer[:, :, : mask.shape[1]].float() for layer in layers]
        groups, heads, _, size = layered[0].shape
        rows, width = (room, size) if by_position else (padded(size), room)
        cache = aligned((len(layered), groups, heads, rows // LANES, width, LANES), np.float32)
        for number, layer in enumerate(layered):
            for g, h in itertools.product(range(groups), range(heads)):
                kept = layer[g, h][mask[g]].numpy()  # [T, d]
                panels = in_panels(kept if by_position else kept.T)
                cache[number, g, h, : len(panels), : panels.shape[1]] = panels
        found.append(cache.reshape(len(layered), groups, heads, rows * width))
    return found[0], found[1]


def _recurrent(backbone: object) -> tuple[Floats, Floats]:
    """Convolution `[L, G, 3, C]` and state `[L, G, N, H P]` of all mixers."""
    assert isinstance(backbone, tuple)
    states = [s for s in backbone if isinstance(s, MixerState)]
    assert len(states) == len(backbone), "a backbone is a Transformer or all Mamba-2"
    conv = torch.stack([s.conv.float().transpose(1, 2) for s in states])
    ssm = torch.stack([s.ssm.float().flatten(1, 2).transpose(1, 2) for s in states])
    assert conv.shape[2] == CONV_WIDTH - 1
    kept = [aligned(tuple(t.shape), np.float32) for t in (conv, ssm)]
    kept[0][:], kept[1][:] = conv.numpy(), ssm.numpy()
    return kept[0], kept[1]
