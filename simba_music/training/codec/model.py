"""Codec to train: its shape, its initialisation, and its export as a stock EncodecModel."""

import math
from collections.abc import Sequence
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
from simba_music.models.fast_decoder.codec_config import may_be_missing
from simba_music.training.codec.deepening import deepened, moved

INPUT_GAIN = 8.0  # brings -20 LUFS audio to about unit RMS
DILATION_GROWTH = 3  # of residual blocks in a row, as their kernels have three taps
# Where the codes would stand that a book lacks: too far from anything to be the nearest, squared
# still a float32 of full precision, and times a latent still a float16.
_FAR = 1000.0

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
    first, in samples (EncodecConfig has one field for both). `residuals` is the number of residual
    blocks after each change of rate; in the encoder all but the first are the identity. Of several
    `books`, the first has `codes` codes and each other one `book_codes`.
    """

    sample_rate: int = 24_000
    frame_rate: int = 75
    codes: int = 2048
    filters: int = 16
    context: int = 7
    lstm: bool = False  # False exports a zero LSTM, which is the identity as it is residual
    residuals: int = 1
    books: int = 1
    book_codes: int = 1024

    @property
    def hop(self) -> int:
        """Samples a frame."""
        return self.sample_rate // self.frame_rate

    @property
    def codes_per_book(self) -> list[int]:
        """Codes in use of every book."""
        return [self.codes, *[self.book_codes] * (self.books - 1)]

    def config(self) -> EncodecConfig:
        """The stock configuration: mono, not causal, a bandwidth for every number of books."""
        a_book = self.frame_rate * math.log2(self.codes) / 1000  # kbit/s
        config = EncodecConfig(
            sampling_rate=self.sample_rate,
            upsampling_ratios=list(RATIOS[self.sample_rate, self.frame_rate]),
            codebook_size=self.codes,
            # EncodecModel has no projection between encoder and codes, so both have one width.
            codebook_dim=128,
            hidden_size=128,
            num_filters=self.filters,
            kernel_size=self.context,
            num_residual_layers=self.residuals,
            dilation_growth_rate=DILATION_GROWTH if self.residuals > 1 else 2,
            target_bandwidths=[round(k * a_book, 6) for k in range(1, self.books + 1)],
            # A frame may use what comes next; a stream waits for that look-ahead.
            use_causal_conv=False,
            use_conv_shortcut=False,
            # Zeros: a stream knows those in advance, and a reflection only when sound has come.
            pad_mode="constant",
            num_lstm_layers=1,
        )
        if self.books > 1:
            config.codes_per_book = self.codes_per_book
        # The class derives the number of books from the bandwidth, by rounding.
        assert config.num_quantizers == self.books
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


def book_codes(folder: Path) -> list[torch.Tensor]:
    """Code vectors `[V, D]` of every book of an exported codec, without those that it lacks."""
    tensors, config = load_file(folder / WEIGHTS), EncodecConfig.from_pretrained(folder)
    name = "quantizer.layers.{}.codebook.embed"
    books = [tensors[name.format(i)].float() for i in range(config.num_quantizers)]
    sizes = getattr(config, "codes_per_book", None) or [len(book) for book in books]
    return [book[:size] for book, size in zip(books, sizes, strict=True)]


def reopen(folder: Path, shape: CodecShape) -> tuple[EncodecModel, torch.Tensor]:
    """The network and code vectors `[V, D]` of the first book that `export` wrote, to be trained.

    The codec may have fewer residual blocks than `shape`.

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
    if stock.config.num_residual_layers > shape.residuals:
        raise RequestError(
            f"{folder} has {stock.config.num_residual_layers} residual blocks in a row, the preset "
            f"{shape.residuals}. Start from a codec that has no more."
        )
    model = deepened(_plain(stock), _plain(EncodecModel(wanted)))
    with torch.no_grad():
        # The trainer scales its audio itself; what `export` folded in would count twice.
        model.encoder.layers[0].conv.weight.div_(INPUT_GAIN)
        model.decoder.layers[-1].conv.weight.mul_(INPUT_GAIN)
        model.decoder.layers[-1].conv.bias.mul_(INPUT_GAIN)
    codes = stock.quantizer.layers[0].codebook.embed.clone()
    if not shape.lstm:
        _without_lstm(model)
    return model, codes


def export(
    trained: EncodecModel,
    codes: torch.Tensor,
    shape: CodecShape,
    residual: Sequence[torch.Tensor] = (),
) -> EncodecModel:
    """The same network as a stock EncodecModel; gain folded in.

    Args:
        trained: the network, without weight norm.
        codes: code vectors `[V, D]` of the first book.
        shape: its shape.
        residual: code vectors `[V', D]` of the other books.
    """
    stock = _plain(EncodecModel(shape.config()))
    result = stock.load_state_dict(trained.state_dict(), strict=False)
    assert not result.unexpected_keys
    for name in result.missing_keys:  # the LSTM that is none, and blocks that add nothing
        assert "lstm" in name or name.startswith("encoder.")
        nn.init.zeros_(stock.get_parameter(name))
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
    for layer, vectors in zip(stock.quantizer.layers, (codes, *residual), strict=True):
        book: Any = layer
        book.codebook.embed.zero_()[len(vectors) :, 0] = _FAR
        book.codebook.embed[: len(vectors)] = vectors
        book.codebook.embed_avg.copy_(book.codebook.embed)
        book.codebook.cluster_size.fill_(1)
        book.codebook.inited.fill_(1)
    found: EncodecModel = stock.eval()
    return _without_zero_norms(found)


@torch.no_grad()
def _without_zero_norms(stock: EncodecModel) -> EncodecModel:
    """The model, in which a filter of zeros is 0 times ones: its weight norm would be 0 / 0."""
    for module in stock.modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            norms: Any = module.parametrizations
            size, direction = norms.weight.original0, norms.weight.original1
            silent = direction.flatten(1).count_nonzero(1) == 0
            size[silent], direction[silent] = 0, 1
    return stock


def write_codec(stock: EncodecModel, folder: Path, start: Path | None = None) -> None:
    """Write a codec as float16, its encoder and first book bit for bit those of `start`, if any.

    Of several books the averages that only training needs are left out: 500 kB each.
    """
    stock.half()
    if start:
        before: Any = EncodecModel(EncodecConfig.from_pretrained(start))
        for name, value in load_file(start / WEIGHTS).items():
            if name.startswith("encoder.") or name == "quantizer.layers.0.codebook.embed":
                stock.state_dict()[moved(name, before, stock)].copy_(value)
    tensors = _without_zero_norms(stock).state_dict()
    if len(stock.quantizer.layers) > 1:
        tensors = {name: value for name, value in tensors.items() if not may_be_missing(name)}
    stock.save_pretrained(folder, state_dict=tensors)
