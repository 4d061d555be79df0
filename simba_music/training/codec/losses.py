"""Codec losses: spectra, the multi-scale STFT discriminator, and the gradient balancer."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from simba_music.audio import mel_bank
from simba_music.training.codec.model import INPUT_GAIN
from simba_music.training.ranks import ALONE, Ranks

FLOOR = 1e-4  # inside every logarithm; a clamp would leave a silent decoder without gradient


def magnitude(x: Tensor, hann: Tensor) -> Tensor:
    """STFT magnitudes `[B, F, frames]` of `x` `[B, T]`, over the sum of the window."""
    size = len(hann)
    # Over the window's sum a sine is as high at every size, so that one floor fits all of them;
    # 1e-9, as the gradient of a square root at zero is infinite.
    spec = torch.stft(x, size, size // 4, window=hann, return_complex=True, center=True)
    return torch.view_as_real(spec).pow(2).sum(-1).add(1e-9).sqrt() / hann.sum()


class MelDistance(nn.Module):
    """Mean absolute difference of log-mel spectrograms; the measure that reports print."""

    # Apart from the training's scales, so that reports compare when the loss is changed.
    scales = ((512, 40), (1024, 64), (2048, 80))  # (window, bands)

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        for window, bands in self.scales:
            self.register_buffer(f"window{window}", torch.hann_window(window))
            self.register_buffer(f"mel{window}", mel_bank(sample_rate, window, bands))

    def log_mel(self, x: Tensor, window: int) -> Tensor:
        """Log-mel `[B, M, frames]` of `x` `[B, T]`."""
        spectrum = magnitude(x, self.get_buffer(f"window{window}"))
        return torch.log(self.get_buffer(f"mel{window}") @ spectrum + FLOOR)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Distance of `x` and `y` `[B, T]` in nepers."""
        losses = [F.l1_loss(self.log_mel(x, w), self.log_mel(y, w)) for w, _ in self.scales]
        return torch.stack(losses).mean()


class SpectralDistances(NamedTuple):
    """Mean distances of log magnitudes in nepers, each a scalar."""

    mel: Tensor  # in mel bands
    linear: Tensor  # in bins, all alike
    octave: Tensor  # in bins, those of every octave with about the same weight together


class SpectralLoss(nn.Module):
    """L1 of log magnitudes at several resolutions.

    Mel bands alone leave the upper harmonics to chance: above 3 kHz a band spans several. Bins
    that all weigh alike spend four fifths of the loss above 2 kHz, where no fundamental is.
    """

    scales = ((256, 20), (512, 40), (1024, 80), (2048, 128), (4096, 128))
    flat_below_hz = 200.0

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        for window, bands in self.scales:
            self.register_buffer(f"window{window}", torch.hann_window(window))
            self.register_buffer(f"mel{window}", mel_bank(sample_rate, window, bands))
            # An octave has twice the bins of the one below; 1 / f undoes that, and the constant
            # keeps the few bins under 200 Hz from outweighing all others.
            weights = 1 / (torch.fft.rfftfreq(window, 1 / sample_rate) + self.flat_below_hz)
            self.register_buffer(f"octave{window}", (weights / weights.mean())[:, None])

    def forward(self, x: Tensor, y: Tensor) -> SpectralDistances:
        """Distances of `x` and `y` `[B, T]`, means over resolutions."""
        found = []
        for window, _ in self.scales:
            hann, bank = self.get_buffer(f"window{window}"), self.get_buffer(f"mel{window}")
            a, b = magnitude(x, hann), magnitude(y, hann)
            mel = F.l1_loss((bank @ a + FLOOR).log(), (bank @ b + FLOOR).log())
            bins = ((a + FLOOR).log() - (b + FLOOR).log()).abs()
            octave = (bins * self.get_buffer(f"octave{window}")).mean()
            found.append(torch.stack([mel, bins.mean(), octave]))
        return SpectralDistances(*torch.stack(found).mean(0))


def overshoot(x: Tensor, y: Tensor, around: int) -> Tensor:
    """Mean square of what `|y|` rises above the largest `|x|` within `around` samples.

    Distances of magnitudes ignore phases: to them a click is as good as a snare drum.

    Args:
        x: originals `[B, T]`.
        y: round trips `[B, T]`.
        around: samples to either side.
    """
    # A peak may move a little, as phases are not kept; it may not grow.
    allowed = F.max_pool1d(x.abs()[:, None], 2 * around + 1, 1, around)[:, 0]
    return F.relu(y.abs() - allowed).pow(2).mean()


class STFTDiscriminator(nn.Module):
    """One resolution of EnCodec's discriminator (Defossez et al. 2022, section 3.4)."""

    def __init__(self, window: int, channels: int):
        super().__init__()
        self.register_buffer("hann", torch.hann_window(window))
        # Dilated along time, strided along frequency, as in EnCodec's fig. 2.
        sizes = [(2, (1, 1), 1), *((channels, (2, 1), 2**i) for i in range(3))]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(width, channels, (9, 3), stride, (4, dilation), (1, dilation)))
            for width, stride, dilation in sizes
        )
        self.head = weight_norm(nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits `[B, 1, F', frames]` and the feature maps below, of audio `x` `[B, T]`."""
        hann = self.get_buffer("hann")
        spec = torch.stft(x, len(hann), len(hann) // 4, window=hann, return_complex=True)
        # Audio at about unit RMS: at -20 dBFS the discriminator learns next to nothing.
        h = torch.view_as_real(spec).permute(0, 3, 1, 2) * (INPUT_GAIN / hann.pow(2).sum().sqrt())
        h = h.contiguous(memory_format=torch.channels_last)
        maps = []
        for layer in self.layers:
            h = F.leaky_relu(layer(h), 0.2)
            maps.append(h)
        return self.head(h), maps


class Discriminator(nn.Module):
    """Several STFT discriminators with hinge losses and feature matching (the same section)."""

    def __init__(self, channels: int, windows: Sequence[int] = (2048, 1024, 512)):
        super().__init__()
        self.scales = nn.ModuleList(STFTDiscriminator(w, channels) for w in windows)

    def own_loss(self, real: Tensor, fake: Tensor) -> tuple[Tensor, list[list[Tensor]]]:
        """Hinge loss of the discriminator on audio `[B, T]`, and its features of the real one.

        No gradient reaches `fake`.
        """
        losses, features = [], []
        for scale in self.scales:
            logits, maps = scale(torch.cat([real, fake.detach()]))
            of_real, of_fake = logits.chunk(2)
            # Hinge: what is separated by a margin already has no gradient left to be spent on.
            losses += [F.relu(1 - of_real).mean(), F.relu(1 + of_fake).mean()]
            features.append([h.detach().chunk(2)[0] for h in maps])
        return torch.stack(losses).mean(), features

    def codec_losses(
        self, fake: Tensor, wanted: list[list[Tensor]], share: float = 1.0, ranks: Ranks = ALONE
    ) -> tuple[Tensor, Tensor]:
        """(adversarial, feature matching) losses of the codec; features relative to the real.

        `share` is that of `fake` in the crops of all ranks.
        """
        adversarial, matching = [], []
        for scale, reals in zip(self.scales, wanted, strict=True):
            logits, maps = scale(fake)
            adversarial.append(F.relu(1 - logits).mean())
            # Over the real maps' mean (eq. 2): else the layer with the largest values decides
            # alone.
            for a, b in zip(maps, reals, strict=True):
                matching.append(F.l1_loss(a, b) / ranks.sum(share * b.abs().mean()))
        return torch.stack(adversarial).mean(), torch.stack(matching).mean()


class Balancer:
    """Weighs losses by the gradient they leave on the output (Defossez et al. 2022, eq. 5)."""

    def __init__(self, norm: float, decay: float = 0.99, ranks: Ranks = ALONE):
        self.norm, self.decay, self.ranks = norm, decay, ranks
        self.averages: dict[str, float] = {}

    def gradient(self, losses: dict[str, Tensor], weights: dict[str, float], y: Tensor) -> Tensor:
        """Gradient for `y` `[B, T]`, in which each loss has the share that its weight says.

        One that is not finite makes it so, and is not remembered.
        """
        total = sum(weights[name] for name in losses)
        gradient = torch.zeros_like(y)
        for name, loss in losses.items():
            (own,) = torch.autograd.grad(loss, y, retain_graph=True)
            # By a moving average of the norms, not this step's: a loss that is nearly met would
            # else be blown up to its full share, with a direction that is noise.
            size = self.ranks.norm(own)
            average = self.averages.get(name, size)
            average = self.decay * average + (1 - self.decay) * size
            if math.isfinite(average):
                self.averages[name] = average
            gradient += own * (self.norm * weights[name] / total / (average + 1e-12))
        return gradient
