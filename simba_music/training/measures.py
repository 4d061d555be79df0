"""Measures of clips, and report rows with their 95 % intervals."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import librosa
import numpy as np
from scipy import stats

from simba_music.training.corpus.build import SAMPLE_RATE

BOOTSTRAP_SEED = 0
Row = dict[str, Any]


def mean_row(metric: str, model: str, values: Sequence[float]) -> Row:
    """A mean with its 95 % bootstrap interval."""
    data = np.asarray(values, dtype=float)
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


def longest_run(tokens: np.ndarray) -> int:
    """Length of the longest run of one repeated token."""
    return max(sum(1 for _ in group) for _, group in groupby(tokens.tolist()))


def flatness(samples: np.ndarray) -> float:
    """Spectral flatness in [0, 1], power-weighted over frames: 1 is white noise."""
    spectrum = np.abs(librosa.stft(samples, n_fft=2048)) ** 2
    per_frame = librosa.feature.spectral_flatness(S=spectrum, power=1.0)[0]
    return float(np.average(per_frame, weights=spectrum.sum(0) + 1e-12))


def onsets_per_s(samples: np.ndarray) -> float:
    """Detected onsets a second."""
    found = librosa.onset.onset_detect(y=samples, sr=SAMPLE_RATE, units="time")
    return len(found) / (len(samples) / SAMPLE_RATE)


def onset_f1(samples: np.ndarray, other: np.ndarray, tolerance_s: float = 0.05) -> float:
    """F1 of detected onsets of two `[T]` signals, matched within `tolerance_s`."""
    a, b = (librosa.onset.onset_detect(y=x, sr=SAMPLE_RATE, units="time") for x in (samples, other))
    if not len(a) or not len(b):
        return float(len(a) == len(b))
    near = np.abs(a[:, None] - b[None]) <= tolerance_s
    precision, recall = near.any(0).mean(), near.any(1).mean()
    return float(2 * precision * recall / max(precision + recall, 1e-9))


def chroma_cosine(samples: np.ndarray, other: np.ndarray) -> float:
    """Mean cosine of the chroma frames of two `[T]` signals."""
    a, b = (librosa.feature.chroma_stft(y=x, sr=SAMPLE_RATE, n_fft=4096) for x in (samples, other))
    product = (a * b).sum(0)
    norms = np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0)
    return float(np.mean(product[norms > 0] / norms[norms > 0])) if (norms > 0).any() else 1.0
