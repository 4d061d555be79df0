"""Measures of clips, and report rows with their 95 % intervals."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import librosa
import mir_eval
import numpy as np
from scipy import signal, stats

from simba_music.audio import SAMPLE_RATE, loudness_lufs, true_peak_dbtp

BOOTSTRAP_SEED = 0
RESAMPLES = 100  # of a whole set, for statistics that take long
Row = dict[str, Any]


def mean_row(metric: str, model: str, values: Sequence[float]) -> Row:
    """A mean with its 95 % bootstrap interval."""
    data = np.asarray(values, dtype=float)
    # The bias-corrected bootstrap (BCa) of equal values is 0 / 0.
    if np.ptp(data) == 0:
        return row_of(metric, model, data[0], data[0], data[0], len(data))
    # Seeded, so that a report is the same when it is made again from the same clips.
    interval = stats.bootstrap(
        (data,), np.mean, rng=np.random.default_rng(BOOTSTRAP_SEED), n_resamples=2000
    )
    low, high = interval.confidence_interval
    return row_of(metric, model, float(data.mean()), float(low), float(high), len(data))


def share_row(metric: str, model: str, hits: int, count: int) -> Row:
    """A proportion with its 95 % Wilson interval."""
    interval = stats.binomtest(hits, count).proportion_ci(method="wilson")
    return row_of(metric, model, hits / count, interval.low, interval.high, count)


def row_of(metric: str, model: str, value: float, low: float, high: float, count: int) -> Row:
    """One row of a report table."""
    return {
        "metric": metric,
        "model": model,
        "value": round(value, 4),
        "lo": round(low, 4),
        "hi": round(high, 4),
        "n": count,
    }


def bootstrap_rows(
    metric: str, name: str, statistic: Callable[[np.ndarray], float], sounds: int, count: int
) -> list[Row]:
    """A row of a statistic of a set, or none if it is nan, with its 95 % bootstrap interval.

    The bootstrap's distribution is moved to the value: a resample has fewer different sounds, for
    which a Frechet distance is larger.

    Args:
        metric: of the row.
        name: of the system.
        statistic: of the sounds that are picked, `[N]` indices below `sounds`.
        sounds: how many there are.
        count: n of the row.
    """
    value = statistic(np.arange(sounds))
    if np.isnan(value):
        return []
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    drawn = np.array([statistic(rng.integers(sounds, size=sounds)) for _ in range(RESAMPLES)])
    low, high = np.nanpercentile(drawn, (2.5, 97.5)) - np.nanmean(drawn) + value
    return [row_of(metric, name, value, float(low), float(high), count)]


def share_below(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Share of `others` that each of `values` is above; ties count half."""
    above = values[:, None] > others[None]
    equal = values[:, None] == others[None]
    found: np.ndarray = (above + equal / 2).mean(1)
    return found


def in_order(rows: list[Row]) -> list[Row]:
    """The rows with those of a metric together, metrics in the order in which they came."""
    order = list(dict.fromkeys(row["metric"] for row in rows))
    return sorted(rows, key=lambda row: order.index(row["metric"]))


def flatness(samples: np.ndarray) -> float:
    """Spectral flatness in [0, 1], power-weighted over frames: 1 is white noise."""
    spectrum = np.abs(librosa.stft(samples, n_fft=2048)) ** 2
    # Weighted by power: in rests there is noise alone, which would decide the mean.
    per_frame = librosa.feature.spectral_flatness(S=spectrum, power=1.0)[0]
    return float(np.average(per_frame, weights=spectrum.sum(0) + 1e-12))


def onsets_per_s(samples: np.ndarray) -> float:
    """Detected onsets a second."""
    found = librosa.onset.onset_detect(y=samples, sr=SAMPLE_RATE, units="time")
    return len(found) / (len(samples) / SAMPLE_RATE)


class Heard:
    """A sound `[T]` at `SAMPLE_RATE` with what is found in it, each worked out once."""

    def __init__(self, samples: np.ndarray):
        self.samples = samples

    @cached_property
    def onsets(self) -> np.ndarray:
        """Times of detected onsets in seconds."""
        found: np.ndarray = librosa.onset.onset_detect(y=self.samples, sr=SAMPLE_RATE, units="time")
        return found

    @cached_property
    def chroma(self) -> np.ndarray:
        """Chroma `[12, frames]`, each frame's maximum 1."""
        # One tuning for all: an estimate might differ between a sound and its round trip.
        found: np.ndarray = librosa.feature.chroma_stft(
            y=self.samples, sr=SAMPLE_RATE, n_fft=4096, tuning=0.0
        )
        return found

    @cached_property
    def pitch_hz(self) -> np.ndarray:
        """Pitch of every frame by pYIN (Mauch and Dixon 2014), nan where it is not voiced."""
        found, voiced, _ = librosa.pyin(
            self.samples, fmin=50, fmax=2500, sr=SAMPLE_RATE, frame_length=2048, hop_length=512
        )
        return np.where(voiced, found, np.nan)


def onset_f1(sound: Heard, other: Heard, tolerance_s: float = 0.05) -> float:
    """F1 of the detected onsets of two sounds, matched within `tolerance_s` (mir_eval)."""
    a, b = sound.onsets, other.onsets
    if not len(a) or not len(b):
        return float(len(a) == len(b))
    return float(mir_eval.onset.f_measure(a, b, window=tolerance_s)[0])


def si_sdr(samples: np.ndarray, other: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio of `other` in dB (Le Roux et al. 2019)."""
    # A louder copy is no worse a copy.
    scale = np.dot(samples, other) / (np.dot(samples, samples) + 1e-12)
    target = scale * samples
    error = np.sum((target - other) ** 2) + 1e-12
    return float(10 * np.log10(np.sum(target**2) / error + 1e-12))


def pitch_agreement(sound: Heard, other: Heard) -> float:
    """Share of the frames in which `sound` is voiced whose pitch `other` keeps within 50 cents.

    nan where nothing is voiced.
    """
    voiced = ~np.isnan(sound.pitch_hz)
    if not voiced.any():
        return float("nan")
    cents = 1200 * np.abs(np.log2(other.pitch_hz[voiced] / sound.pitch_hz[voiced]))
    return float(np.mean(cents <= 50))  # nan, unvoiced in `other`, counts as wrong


def comb_db(samples: np.ndarray, frame_rate: int) -> float:
    """How far the long-term spectrum of `[T]` rises at multiples of the frame rate, in dB.

    The mean over the multiples from 200 Hz to 8 kHz of the power within 1 Hz of each over the
    median power within 10 Hz around it; about 0 for music that knows nothing of the frames.
    """
    freqs, power = signal.welch(samples, SAMPLE_RATE, nperseg=SAMPLE_RATE)
    rises = []
    for line in range(200 // frame_rate + 1, 8000 // frame_rate):
        distance = np.abs(freqs - line * frame_rate)
        # A median, so that a partial of the music beside the line does not raise what it is held
        # against.
        around = np.median(power[(distance > 2) & (distance <= 10)])
        rises.append(10 * np.log10(power[distance <= 1].mean() / (around + 1e-20) + 1e-12))
    return float(np.mean(rises))


def peakiness_db(samples: np.ndarray) -> float:
    """True peak of `[T]` at 24 kHz over its loudness in dB: what clicks add to; NaN for silence."""
    loudness = loudness_lufs(samples, SAMPLE_RATE)
    if not np.isfinite(loudness):
        return float("nan")
    return true_peak_dbtp(samples, SAMPLE_RATE) - loudness


def chroma_cosine(sound: Heard, other: Heard) -> float:
    """Mean cosine of the chroma frames of two sounds."""
    a, b = sound.chroma, other.chroma
    product = (a * b).sum(0)
    norms = np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0)
    return float(np.mean(product[norms > 0] / norms[norms > 0])) if (norms > 0).any() else 1.0
