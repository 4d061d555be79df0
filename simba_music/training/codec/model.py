"""Codec to train: its shape, its initialisation, and its export as a stock EncodecModel."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm
from transformers import EncodecConfig, EncodecModel

from simba_music.errors import RequestError
from simba_music.hub.places import WEIGHTS

INPUT_GAIN = 8.0  # brings -20 LUFS audio to about unit RMS

# Strides of the decoder by (sample rate in Hz, frame rate in Hz).
RATIOS = {
    (24_000, 50): (8, 5, 4, 3),
    (24_000, 75): (8, 5, 4, 2),
    (32_000, 50): (8, 5, 4, 4),
}


@dataclass(frozen=True)
class CodecShape:
    """What defines the network: rates in Hz, number of codes, filters of the outermost layer.

    `context` is the kernel of the decoder's first convolution, in frames, and of the encoder's
    first, in samples (EncodecConfig has one field for both).
    """

    sample_rate: int = 24_000
    frame_rate: int = 75
    codes: int = 2048
    filters: int = 16
    context: int = 7
    lstm: bool = False  # False exports a zero LSTM, which is the identity as it is residual

    @property
    def hop(self) -> int:
        """Samples a frame."""
        return self.sample_rate // self.frame_rate

    def config(self) -> EncodecConfig:
        """The stock configuration: one codebook, mono, not causal."""
        config = EncodecConfig(
            sampling_rate=self.sample_rate,
            upsampling_ratios=list(RATIOS[self.sample_rate, self.frame_rate]),
            codebook_size=self.codes,
            # EncodecModel has no projection between encoder and codes, so both have one width.
            codebook_dim=128,
            hidden_size=128,
            num_filters=self.filters,
            kernel_size=self.context,
            target_bandwidths=[self.frame_rate * math.log2(self.codes) / 1000],
            # A frame may use what comes next; a stream waits for that look-ahead.
            use_causal_conv=False,
            use_conv_shortcut=False,
            # Zeros: a stream knows those in advance, and a reflection only when sound has come.
            pad_mode="constant",
            num_lstm_layers=1,
        )
        # The class derives the number of books from the bandwidth, by rounding.
        assert config.num_quantizers == 1
        return config


def build_autoencoder(shape: CodecShape) -> EncodecModel:
    """An EncodecModel to train: no weight norm, variance-preserving initialisation."""
    model = _plain(EncodecModel(shape.config()))
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            # No weight norm while training, so initial scales matter: variance is kept, layer by
            # layer.
            fan_in = module.in_channels * module.kernel_size[0]
            if isinstance(module, nn.ConvTranspose1d):
                # Each output sample sees one tap in `stride` of them.
                fan_in //= module.stride[0]
            nn.init.normal_(module.weight, std=fan_in**-0.5)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    if not shape.lstm:
        _without_lstm(model)
    found: EncodecModel = model
    return found


def _plain(model: Any) -> Any:
    """The model with its weight norms folded into plain weights."""
    for module in model.modules():
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight")
    return model


def _without_lstm(model: Any) -> None:
    for half in (model.encoder, model.decoder):
        for index, layer in enumerate(half.layers):
            if type(layer).__name__ == "EncodecLSTM":
                # A zero LSTM would be the same, and cost time in every step.
                half.layers[index] = nn.Identity()


def reopen(folder: Path, shape: CodecShape) -> tuple[EncodecModel, torch.Tensor]:
    """The network and code vectors `[V, D]` that `export` wrote, to be trained on.

    Raises:
        RequestError: If the folder holds a codec of another shape.
    """
    stock: Any = EncodecModel.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    wanted = shape.config()
    fields = ("sampling_rate", "upsampling_ratios", "codebook_size", "num_filters", "kernel_size")
    for name in fields:
        if getattr(stock.config, name) != getattr(wanted, name):
            raise RequestError(
                f"{folder} has {name} {getattr(stock.config, name)}, the preset "
                f"{getattr(wanted, name)}. Start from a codec of the same shape."
            )
    model = _plain(stock)
    with torch.no_grad():
        # The trainer scales its audio itself; what `export` folded in would count twice.
        model.encoder.layers[0].conv.weight.div_(INPUT_GAIN)
        model.decoder.layers[-1].conv.weight.mul_(INPUT_GAIN)
        model.decoder.layers[-1].conv.bias.mul_(INPUT_GAIN)
    codes = model.quantizer.layers[0].codebook.embed.clone()
    if not shape.lstm:
        _without_lstm(model)
    return model, codes


def export(trained: EncodecModel, codes: torch.Tensor, shape: CodecShape) -> EncodecModel:
    """The same network, with code vectors `[V, D]`, as a stock EncodecModel; gain folded in."""
    stock = _plain(EncodecModel(shape.config()))
    for name, parameter in stock.named_parameters():
        # The stock class has one in any case; zero and residual it changes nothing.
        if "lstm" in name:
            nn.init.zeros_(parameter)
    result = stock.load_state_dict(trained.state_dict(), strict=False)
    assert not result.unexpected_keys and all("lstm" in key for key in result.missing_keys)
    encoder: Any = stock.encoder.layers
    decoder: Any = stock.decoder.layers
    with torch.no_grad():
        encoder[0].conv.weight.mul_(INPUT_GAIN)
        decoder[-1].conv.weight.div_(INPUT_GAIN)
        decoder[-1].conv.bias.div_(INPUT_GAIN)
    for module in stock.modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            # The stock class stores g and v; |w| and w are those.
            weight_norm(module)
    quantizers: Any = stock.quantizer.layers
    book = quantizers[0].codebook
    book.embed.copy_(codes)
    # Averages of the class' own training: unused here, but part of a stock file, which is read
    # strictly.
    book.embed_avg.copy_(codes)
    book.cluster_size.fill_(1)
    book.inited.fill_(1)
    found: EncodecModel = stock.eval()
    return found


def keep_tokens(stock: EncodecModel, folder: Path) -> None:
    """Give back to a float16 codec the encoder and codes of `folder`, bit for bit."""
    # Not from the network in float32: weight norm, taken apart and put together, may round
    # otherwise and turn a token.
    found = load_file(folder / WEIGHTS)
    kept = {name: value for name, value in found.items() if not name.startswith("decoder.")}
    assert not stock.load_state_dict(kept, strict=False).unexpected_keys
