"""Codec presets: budget, schedule and loss weights of a codec's training."""

from dataclasses import dataclass, field, replace
from typing import Any

from simba_music.training.codec.model import CodecShape


@dataclass(frozen=True)
class CodecPreset:
    """Budget and schedule; fractions are of `minutes`, loss weights are shares of the gradient."""

    shape: CodecShape = field(default_factory=CodecShape)
    minutes: float = 45.0
    batch: int = 12
    crop_s: float = 0.8
    learning_rate: float = 1e-3
    ramp_fraction: float = 0.0  # over which the learning rate rises, for weights that are good
    warmup_fraction: float = 0.16  # plain autoencoder before the codebook
    waveform_weight: float = 0.3  # 1 during the warm-up
    spectral_weight: float = 2.0
    peak_weight: float = 0.0  # of what rises above the original's peaks
    octave_bins: bool = True  # whether the bins of an octave weigh alike, or every bin
    judge_fraction: float = 1.0  # when the discriminator starts to learn; 1 is never
    adversarial_fraction: float = 1.0  # when the codec starts to learn from it
    adversarial_weight: float = 0.5
    matching_weight: float = 1.0
    adversarial_batch: int = 6  # crops of a batch that the discriminator judges
    channels: int = 8  # of the discriminator
    gradient_norm: float = 0.1  # on the output, before Adam; sets the weight of the commitment
    commitment: float = 0.5
    ema_decay: float = 0.99
    dead_below: float = 0.2  # of the mean use of a code
    balance: float = 0.0  # see EMAQuantizer
    settle_fraction: float = 0.85  # from here on codes are chosen as the codec will choose them
    latents: int = 40_000  # for the k-means of the first book
    decoder_only: bool = False  # encoder and codes stay, and with them every token
    # Of several books: the share of the crops that are decoded from 1, 2 ... of them (quantiser
    # dropout), until when those after the first learn, and latents for their k-means.
    book_shares: tuple[float, ...] = ()
    books_fraction: float = 0.6
    book_vectors: int = 200_000
    average_decay: float = 0.999  # of the decoder's weights, which is what is exported
    seed: int = 0


# What the search and the long run have shown to serve, whatever the machine.
_FOUND = CodecPreset(
    shape=CodecShape(context=31, lstm=True), crop_s=1.0, waveform_weight=0.5, balance=0.3
)
# After a whole training, on a GPU: what plays better needs no new tokens.
_DECODER = replace(
    _FOUND,
    minutes=8.0,
    batch=48,
    learning_rate=5e-4,
    peak_weight=0.2,
    judge_fraction=0.0,
    adversarial_fraction=0.06,
    adversarial_batch=32,
    channels=32,
    decoder_only=True,
)
# The same with three residual books beside the first, and a deeper decoder that plays 1 to 4.
_BOOKS = replace(
    _DECODER,
    shape=CodecShape(context=31, lstm=True, residuals=2, books=4),
    minutes=6.0,
    batch=64,
    ramp_fraction=0.05,
    warmup_fraction=0.0,
    balance=0.0,
    book_shares=(0.5, 0.15, 0.1, 0.25),
)
PRESETS = {
    "cpu": replace(
        _FOUND,
        minutes=144.0,
        batch=10,
        judge_fraction=0.6,
        adversarial_fraction=0.65,
        adversarial_batch=4,
    ),
    "decoder": _DECODER,
    "books": _BOOKS,
    # The same on two cores, where a step has fewer crops, and the discriminator fewer still.
    "books-cpu": replace(
        _BOOKS,
        minutes=150.0,
        batch=10,
        learning_rate=3e-4,
        adversarial_fraction=0.04,
        adversarial_batch=2,
    ),
    "gpu": replace(
        _FOUND,
        minutes=8.0,
        batch=96,
        judge_fraction=0.35,
        adversarial_fraction=0.4,
        adversarial_batch=96,
        channels=32,
    ),
}


def preset_with(name: str, **changes: Any) -> CodecPreset:
    """A named preset with some fields changed (None means unchanged)."""
    return replace(PRESETS[name], **{k: v for k, v in changes.items() if v is not None})
