"""Codec layers for training: the same convolutions channels-last, almost twice as fast on a CPU."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simba_music.models.fast_decoder.taps import upsampling_taps


class _Conv(nn.Module):
    """A zero-padded, not causal `EncodecConv1d` over `[B, C, 1, T]`."""

    def __init__(self, conv: nn.Conv1d):
        super().__init__()
        self.conv = conv
        # EncodecConv1d pads the larger half at the left; the zero that this is too much at the
        # right completes no output.
        total = (conv.kernel_size[0] - 1) * conv.dilation[0] + 1 - conv.stride[0]
        self.padding = total - total // 2

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `x` `[B, C, 1, T]`; T must be a multiple of the stride."""
        conv = self.conv
        weight, stride, dilation = conv.weight[:, :, None], conv.stride[0], conv.dilation[0]
        return F.conv2d(x, weight, conv.bias, (1, stride), (0, self.padding), (1, dilation))


class _Upsampling(nn.Module):
    """An `EncodecConvTranspose1d`, whose kernel is twice its stride, over `[B, C, 1, T]`.

    It is a convolution with two taps that writes `stride` samples for every frame.
    """

    def __init__(self, conv: nn.ConvTranspose1d):
        super().__init__()
        self.conv, self.stride = conv, conv.stride[0]
        assert conv.kernel_size[0] == 2 * self.stride
        self.trimmed = self.stride - self.stride // 2

    def forward(self, x: Tensor) -> Tensor:
        """Upsample `x` `[B, C, 1, T]` to `[B, C', 1, T * stride]`."""
        stride, weight = self.stride, self.conv.weight
        assert self.conv.bias is not None
        taps = upsampling_taps(weight).permute(2, 1, 0)[:, :, None]  # [s C', C, 1, 2]
        y = F.conv2d(x, taps, self.conv.bias.repeat(stride), padding=(0, 1))  # [B, s C', 1, T+1]
        y = y.permute(0, 3, 2, 1).reshape(len(y), -1, 1, weight.shape[1])
        y = y[:, self.trimmed : self.trimmed + x.shape[-1] * stride].contiguous()
        return y.permute(0, 3, 2, 1)


class _Residual(nn.Module):
    def __init__(self, block: nn.Module, shortcut: nn.Module):
        super().__init__()
        self.block, self.shortcut = block, shortcut

    def forward(self, x: Tensor) -> Tensor:
        """`x` `[B, C, 1, T]` and what the block adds."""
        found: Tensor = self.shortcut(x) + self.block(x)
        return found


class _LSTM(nn.Module):
    def __init__(self, lstm: nn.LSTM):
        super().__init__()
        self.lstm = lstm

    def forward(self, x: Tensor) -> Tensor:
        """`x` `[B, C, 1, T]` and what the recurrence adds."""
        # Float32: the recurrence sums over all frames of a crop.
        steps = x[:, :, 0].permute(2, 0, 1).float()
        with torch.autocast(x.device.type, enabled=False):
            found: Tensor = x + self.lstm(steps)[0].permute(1, 2, 0)[:, :, None]
            return found


def _layer(layer: Any) -> nn.Module:
    name = type(layer).__name__
    if name == "EncodecConv1d":
        return _Conv(layer.conv)
    if name == "EncodecConvTranspose1d":
        return _Upsampling(layer.conv)
    if name == "EncodecResnetBlock":
        return _Residual(nn.Sequential(*map(_layer, layer.block)), _layer(layer.shortcut))
    if name == "EncodecLSTM":
        return _LSTM(layer.lstm)
    # Activations and the like work on any shape.
    found: nn.Module = layer
    return found


class ChannelsLast(nn.Module):
    """An EnCodec encoder or decoder that shares its parameters, computed channels-last.

    For networks as `codec_model` builds them: zero padding, not causal, no weight norm.
    """

    def __init__(self, half: Any):
        super().__init__()
        self.layers = nn.Sequential(*map(_layer, half.layers))

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, T]` to `[B, C', T']`; T of an encoder must be whole frames."""
        found: Tensor = self.layers(x[:, :, None].to(memory_format=torch.channels_last))[:, :, 0]
        return found
