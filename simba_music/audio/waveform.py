"""Waveform: samples at a rate; cut, mixed to mono, resampled, and the filters of a mel spectrum."""

import math
from dataclasses import dataclass

import numpy as np
import soxr
import torch

SAMPLE_RATE = 24_000  # Hz, at which corpora are rendered and clips are measured
_INT16_SCALE = 32767
# Of the power that the channels have: what is left of a mean whose channels cancel.
_CANCELLED = 0.01


@dataclass(frozen=True)
class Waveform:
    """Sound: float32 samples `[C, T]` in [-1, 1] at `sample_rate` Hz."""

    samples: torch.Tensor
    sample_rate: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.samples.shape[-1] / self.sample_rate

    def int16(self) -> np.ndarray:
        """Samples as int16 `[T, C]`, the layout of a WAV file."""
        scaled = (self.samples.clamp(-1, 1) * _INT16_SCALE).round()
        return scaled.to(torch.int16).T.contiguous().numpy()


def fit(wave: Waveform, duration_s: float, fade_s: float = 0.05) -> Waveform:
    """Cut or pad with silence to exactly `duration_s` seconds, with a fade-out of `fade_s`."""
    length = round(duration_s * wave.sample_rate)
    samples = torch.nn.functional.pad(wave.samples, (0, max(0, length - wave.samples.shape[-1])))
    samples = samples[:, :length].clone()
    fade = min(round(fade_s * wave.sample_rate), length)
    samples[:, length - fade :] *= torch.linspace(1, 0, fade)
    return Waveform(samples, wave.sample_rate)


def cancels(wave: Waveform) -> bool:
    """Whether the channels are in antiphase, so that hardly anything is left of their mean."""
    if wave.samples.shape[0] < 2:
        return False
    power = float(wave.samples.square().mean())
    return float(wave.samples.mean(0).square().mean()) < _CANCELLED * power


def mono(wave: Waveform) -> Waveform:
    """The mean of the channels, `[1, T]`, or the loudest of them if they cancel in the mean."""
    if cancels(wave):
        loudest = int(wave.samples.square().mean(1).argmax())
        return Waveform(wave.samples[loudest : loudest + 1], wave.sample_rate)
    return Waveform(wave.samples.mean(0, keepdim=True), wave.sample_rate)


def resample(wave: Waveform, sample_rate: int) -> Waveform:
    """Resample to `sample_rate` Hz (soxr, high quality)."""
    if wave.sample_rate == sample_rate:
        return wave
    frames = soxr.resample(wave.samples.T.numpy(), wave.sample_rate, sample_rate)
    return Waveform(torch.from_numpy(np.ascontiguousarray(frames.T)).float(), sample_rate)


def mel_bank(sample_rate: int, fft: int, bands: int) -> torch.Tensor:
    """Triangular mel filters `[bands, fft // 2 + 1]` (HTK scale), each summing to one."""
    top = 2595 * math.log10(1 + sample_rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    freqs = np.linspace(0, sample_rate / 2, fft // 2 + 1)
    up = (freqs - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    down = (edges[2:, None] - freqs) / (edges[2:] - edges[1:-1])[:, None]
    bank = np.maximum(0, np.minimum(up, down))
    # A band narrower than a bin would be empty: give it its nearest bin.
    for band in np.flatnonzero(bank.sum(1) == 0):
        bank[band, int(np.abs(freqs - edges[band + 1]).argmin())] = 1
    return torch.from_numpy(bank / bank.sum(1, keepdims=True)).float()
