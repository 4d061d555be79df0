"""Layers of the fast decoder that work on samples: each plans its step for a length of chunk."""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from simba_music.models.fast_decoder.scratch import (
    ACTIVE,
    FOUND,
    JOINED,
    WIDE,
    Held,
    Rows,
    Scratch,
    Step,
)
from simba_music.models.fast_decoder.taps import Taps, upsampling_taps

PADDINGS = ("constant", "reflect")


class UnsupportedCodecError(Exception):
    """The codec has something that the fast decoder does not compute."""


def check_norm(layer: nn.Module) -> None:
    """Refuse a norm over the whole clip, which no chunk knows.

    Raises:
        UnsupportedCodecError: If the layer has one.
    """
    if layer.norm_type != "weight_norm":
        raise UnsupportedCodecError(f"its norm is {layer.norm_type}")


def _mirror(x: Tensor, y: Tensor) -> None:
    y.copy_(x.flip(0))


class Conv(nn.Module):
    """The ELU, if any, and an `EncodecConv1d` of stride 1."""

    bias: Tensor

    def __init__(self, conv: nn.Module, elu: bool = True):
        super().__init__()
        layer: Any = conv
        check_norm(layer)
        if layer.pad_mode not in PADDINGS:
            raise UnsupportedCodecError(f"its padding is {layer.pad_mode}")
        plain = layer.conv
        if plain.stride[0] != 1:
            raise UnsupportedCodecError(f"a convolution's stride is {plain.stride[0]}")
        self.taps = Taps(plain.weight.detach().permute(2, 1, 0), plain.dilation[0])
        self.register_buffer("bias", plain.bias.detach().repeat(WIDE), persistent=False)
        self.elu, self.reflect = elu, layer.pad_mode == "reflect"
        self.right = 0 if layer.causal else self.taps.span // 2
        self.left = self.taps.span - self.right
        self.channels = self.taps.c_out

    def start(self) -> tuple[Held, Tensor]:
        """What it holds before the first chunk; mirrored padding waits for what it mirrors."""
        waits = self.reflect and self.left > 0
        rows = 0 if waits else self.left
        return Held(rows, not waits), self.bias.new_zeros(rows, self.taps.c_in)

    def join(
        self, scratch: Scratch, x: Rows, bias: Tensor, held: Held, last: bool
    ) -> tuple[Step, int]:
        """A step that puts all inputs and padding into `JOINED`, and how many outputs they give."""
        m, n, c = held.rows, x.n, x.c
        waits = not held.begun and m + n <= self.left and not last
        before = 0 if held.begun or waits else self.left
        end = before + m + n
        length = end + (self.right if last else 0)
        count = 0 if waits else max(0, length - self.taps.span)
        # EncodecConv1d puts zeros after an input too short to mirror, and cuts them off again.
        missing = max(0, before + 1 - m - n) if before else 0
        total = max(length + missing, self.taps.read(count) if count else 0)
        joined = scratch.view(JOINED, 0, total, c)
        ops = scratch.add(x, bias, JOINED, (before + m) * c)
        if total > end:
            ops.append(joined[end:].zero_)
        if before:
            ops.append(partial(_mirror, joined[before + 1 : 2 * before + 1], joined[:before]))
        if length > end and self.reflect:
            end, right = end + missing, self.right
            ops.append(partial(_mirror, joined[end - 1 - right : end - 1], joined[end:][:right]))
        tail = joined[0 if waits else max(0, length - self.taps.span) : length]
        after = Held(len(tail), not waits)
        return Step(joined[before : before + m], ops, tail, after, x), count

    def plan(self, scratch: Scratch, x: Rows, bias: Tensor, held: Held, last: bool) -> Step:
        """Its step for rows `x` that still lack their `bias`; `last` if no others follow."""
        step, n = self.join(scratch, x, bias, held, last)
        if n:
            self.convolve(scratch, step, n)
        return Step(step.head, step.ops, step.tail, step.held, Rows(0, n, self.channels))

    def convolve(self, scratch: Scratch, step: Step, n: int) -> None:
        """Add to a step what turns `JOINED` into `n` outputs, which lack their bias."""
        if self.elu:
            step.ops.extend(scratch.elu(scratch.view(JOINED, 0, self.taps.read(n), self.taps.c_in)))
        step.ops.extend(self.taps.plan(scratch, ACTIVE if self.elu else JOINED, n))


class Upsampling(nn.Module):
    """The ELU and an `EncodecConvTranspose1d` whose kernel is twice its stride."""

    bias: Tensor

    def __init__(self, transposed: nn.Module):
        super().__init__()
        layer: Any = transposed
        check_norm(layer)
        conv, stride = layer.conv, layer.conv.stride[0]
        if conv.kernel_size[0] != 2 * stride:
            raise UnsupportedCodecError(f"a kernel of {conv.kernel_size[0]} has stride {stride}")
        self.taps = Taps(upsampling_taps(conv.weight.detach()))
        self.register_buffer("bias", conv.bias.detach().repeat(WIDE), persistent=False)
        self.right = math.ceil(stride * layer.trim_right_ratio) if layer.causal else stride // 2
        self.stride, self.channels = stride, conv.out_channels

    def start(self) -> tuple[Held, Tensor]:
        """The input before the first is 0."""
        return Held(1, False), self.bias.new_zeros(1, self.taps.c_in)

    def plan(self, scratch: Scratch, x: Rows, bias: Tensor, held: Held, last: bool) -> Step:
        """Its step for rows `x` that still lack their `bias`; `last` if no others follow."""
        rows, c = x.n + last, x.c
        joined = scratch.view(JOINED, 0, max(1 + rows, self.taps.read(rows)), c)
        if not rows:
            return Step(joined[:1], [], joined[:1], held, Rows(0, 0, self.channels))
        ops = scratch.add(x, bias, JOINED, c)
        if len(joined) > 1 + x.n:
            ops.append(joined[1 + x.n :].zero_)
        ops += scratch.elu(joined)
        ops += self.taps.plan(scratch, ACTIVE, rows)
        skip = 0 if held.begun else self.stride - self.right
        n = rows * self.stride - skip - (self.right if last else 0)
        found = Rows(skip * self.channels, n, self.channels)
        return Step(joined[:1], ops, joined[rows : rows + 1], Held(1, True), found)


class Residual(nn.Module):
    """An `EncodecResnetBlock`: two convolutions, the second of one tap, and a shortcut."""

    bias: Tensor

    def __init__(self, block: nn.Module):
        super().__init__()
        layer: Any = block
        _, first, _, second = layer.block
        self.first, self.second = Conv(first), Conv(second)
        straight = isinstance(layer.shortcut, nn.Identity)
        self.shortcut = None if straight else Conv(layer.shortcut, elu=False)
        bias = self.second.bias if self.shortcut is None else self.second.bias + self.shortcut.bias
        self.register_buffer("bias", bias.clone(), persistent=False)
        self.channels = self.second.channels

    def start(self) -> tuple[Held, Tensor]:
        """What its first convolution holds."""
        return self.first.start()

    def plan(self, scratch: Scratch, x: Rows, bias: Tensor, held: Held, last: bool) -> Step:
        """Its step for rows `x` that still lack their `bias`; `last` if no others follow."""
        step, n = self.first.join(scratch, x, bias, held, last)
        found = Rows(0, n, self.channels)
        if n:
            self.first.convolve(scratch, step, n)
            hidden = Rows(0, n, self.first.channels)
            step.ops.extend(scratch.add(hidden, self.first.bias, FOUND, 0))
            step.ops.extend(scratch.elu(scratch.view(FOUND, *hidden)))
            active, weight = scratch.view(ACTIVE, *hidden), self.second.taps.only
            own = scratch.view(JOINED, self.first.left * x.c, n, x.c)
            y = scratch.view(FOUND, *found)
            if self.shortcut is None:
                step.ops.append(partial(torch.addmm, own, active, weight, out=y))
            else:
                step.ops.append(partial(torch.mm, own, self.shortcut.taps.only, out=y))
                step.ops.append(partial(y.addmm_, active, weight))
        return Step(step.head, step.ops, step.tail, step.held, found)


Layer = Conv | Upsampling | Residual


def layer_of(layer: nn.Module) -> Layer | None:
    """The layer that computes `layer` of an `EncodecDecoder`; None for an ELU, which they include.

    Raises:
        UnsupportedCodecError: If there is none.
    """
    name = type(layer).__name__
    if name == "ELU":
        return None
    if name == "EncodecConv1d":
        return Conv(layer)
    if name == "EncodecConvTranspose1d":
        return Upsampling(layer)
    if name == "EncodecResnetBlock":
        return Residual(layer)
    raise UnsupportedCodecError(f"its decoder has a {name}")
