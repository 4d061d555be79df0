"""Level: loudness (BS.1770), true peak and limiter; both clips of a pair at one loudness."""

import math
import warnings

import numpy as np
import pyloudnorm
import soxr
import torch
from scipy.ndimage import minimum_filter1d, uniform_filter1d

from simba_music.audio.waveform import Waveform, fit, mono, resample

# About what streaming services play at: beside other music a clip needs no knob.
TARGET_LUFS = -16.0
PEAK_DBTP = -1.0
LIMIT_DB = 12.0  # the most that a limiter takes off a peak
_LOOKAHEAD_S = 0.005
_ROUNDS = 8  # of making louder what the limiter made quieter, until it makes no difference
_CLOSE_DB = 0.01
_MIN_LOUDNESS_S = 0.4  # one BS.1770 gating block


def loudness_lufs(samples: np.ndarray, sample_rate: int) -> float:
    """Integrated loudness of `[T]` or `[T, C]` in LUFS (ITU-R BS.1770-4); -inf for silence."""
    # The measure needs one block: a shorter sound is repeated, which keeps its level.
    if samples.shape[0] < _MIN_LOUDNESS_S * sample_rate:
        samples = np.resize(samples, (int(_MIN_LOUDNESS_S * sample_rate) + 1, *samples.shape[1:]))
    with warnings.catch_warnings(), np.errstate(divide="ignore"):
        # Silence leaves no block above the gate, and numpy warns of a mean of nothing.
        warnings.simplefilter("ignore")
        return float(pyloudnorm.Meter(sample_rate).integrated_loudness(samples.astype(np.float64)))


def _peaks(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """True peak around every sample of `[T]` or `[T, C]`, of all channels, `[T]`.

    By four-fold oversampling (BS.1770-4, annex 2).
    """
    over = np.abs(soxr.resample(samples, sample_rate, 4 * sample_rate))
    # Near the ends the filter may fall short of a sample's own peak, so that counts too.
    around = over.reshape(len(samples), -1).max(1)
    found: np.ndarray = np.maximum(around, np.abs(samples).reshape(len(samples), -1).max(1))
    return found


def _dbtp(peaks: np.ndarray) -> float:
    peak = float(peaks.max())
    return 20 * float(np.log10(peak)) if peak > 0 else float("-inf")


def true_peak_dbtp(samples: np.ndarray, sample_rate: int) -> float:
    """True peak of `[T]` or `[T, C]` in dBTP; -inf for silence."""
    return _dbtp(_peaks(samples, sample_rate)) if samples.size else float("-inf")


def _limiting(peaks: np.ndarray, sample_rate: int) -> np.ndarray:
    """Gain `[T]` that turns peaks `[T]` above -1 dBTP down, 5 ms before and after them.

    A look-ahead limiter (Zölzer, DAFX, 2nd ed., 4.2.1): the gain that each sample needs by its
    true peak, the least of it around every sample, and the mean of those, which is never more
    than is needed. What lies more than 5 ms from a peak is left as it is.
    """
    needed = np.minimum(1.0, 10 ** (PEAK_DBTP / 20) / np.maximum(peaks, 1e-9))
    width = 2 * round(_LOOKAHEAD_S * sample_rate / 2) + 1
    gain: np.ndarray = uniform_filter1d(minimum_filter1d(needed, width), width)
    return gain


def normalise(wave: Waveform) -> tuple[Waveform, float, float]:
    """Bring a waveform to -16 LUFS without passing -1 dBTP.

    Where peaks are in the way a limiter takes up to `LIMIT_DB` off them; the waveform stays
    quieter where that is not enough.

    Returns:
        The waveform, its loudness in LUFS afterwards, and the gain in dB before the limiter.
    """
    frames, rate = wave.samples.T.numpy(), wave.sample_rate
    loudness = loudness_lufs(frames, rate)
    if not np.isfinite(loudness):
        return wave, loudness, 0.0
    peaks = _peaks(frames, rate)
    free = PEAK_DBTP - _dbtp(peaks)  # the gain that needs no limiter
    gain_db, louder = 0.0, frames
    # Loudness after the limiter has no formula in the gain before it: approached from below.
    for _ in range(_ROUNDS):
        gain_db, before = min(gain_db + TARGET_LUFS - loudness, free + LIMIT_DB), gain_db
        gain = 10 ** (gain_db / 20)
        louder = frames * np.float32(gain)
        if gain_db > free:
            louder = (louder * _limiting(peaks * gain, rate)[:, None]).astype(np.float32)
        loudness = loudness_lufs(louder, rate)
        if abs(gain_db - before) < _CLOSE_DB or gain_db == free + LIMIT_DB:
            break
    return Waveform(torch.from_numpy(louder.T.copy()), rate), loudness, gain_db


def match_pair(left: Waveform, right: Waveform) -> tuple[Waveform, Waveform]:
    """Both clips mono, at one rate, of one length and one loudness.

    The loudness is -16 LUFS, or what both reach at a true peak of -1 dBTP if that is less: clips
    are limited when they are made, and not again for the other's sake.
    """
    rate = max(left.sample_rate, right.sample_rate)
    waves = [resample(mono(wave), rate) for wave in (left, right)]
    length_s = min(wave.duration_s for wave in waves)
    waves = [fit(wave, length_s) for wave in waves]
    frames = [wave.samples.T.numpy() for wave in waves]
    levels = [loudness_lufs(each, rate) for each in frames]
    reached = [
        level + PEAK_DBTP - true_peak_dbtp(each, rate)
        for each, level in zip(frames, levels, strict=True)
        if math.isfinite(level)
    ]
    target = min([TARGET_LUFS, *reached])
    first, second = (
        Waveform(wave.samples * 10 ** ((target - level) / 20), rate)
        if math.isfinite(level)
        else wave
        for wave, level in zip(waves, levels, strict=True)
    )
    return first, second
