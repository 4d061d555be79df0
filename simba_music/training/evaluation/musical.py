"""Musical measures of clips: pulse clarity, key clarity, repetition, and which are empty."""

from collections.abc import Sequence

import librosa
import numpy as np
import torch

from simba_music.audio import SAMPLE_RATE, Waveform, mono, resample
from simba_music.models.codec import Codec
from simba_music.training.evaluation.health import quiet_share
from simba_music.training.evaluation.measures import Row, mean_row, share_row

HOP = 512
REAL_PIECES = 60  # of a reference set, whose measures stand beside the models'
SLOWEST_BPM, FASTEST_BPM = 40.0, 240.0
LAGS_S = (1.0, 4.0)
CHROMA_HZ = 10.0  # frames a second that repetition is looked for in
NEARLY_EMPTY = 0.5  # of a clip's frames, so many of which are quiet
# Krumhansl and Kessler (1982), as in Krumhansl (1990), Cognitive Foundations of Musical Pitch.
MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)


def pulse_clarity(samples: np.ndarray) -> float:
    """Best autocorrelation of the onset strength of `[T]` at 24 kHz, from 40 to 240 beats a minute.

    Of the strength about its mean, divided by that at lag 0; 0 for silence (Lartillot et al. 2008,
    ISMIR: the maximum of the autocorrelation).
    """
    strength = librosa.onset.onset_strength(y=samples, sr=SAMPLE_RATE, hop_length=HOP)
    centred = strength - strength.mean()
    power = float(np.sum(centred**2))
    if power < 1e-12:
        return 0.0
    rate = SAMPLE_RATE / HOP
    lags = range(round(60 / FASTEST_BPM * rate), round(60 / SLOWEST_BPM * rate) + 1)
    found = [float(np.sum(centred[lag:] * centred[:-lag])) for lag in lags if lag < len(centred)]
    return max(found, default=0.0) / power


def _chroma(samples: np.ndarray) -> np.ndarray:
    """Chroma `[12, frames]` of `[T]`, of frames as loud as they are."""
    found: np.ndarray = librosa.feature.chroma_stft(
        y=samples, sr=SAMPLE_RATE, n_fft=4096, hop_length=HOP, tuning=0.0, norm=None
    )
    return found


def key_clarity(samples: np.ndarray) -> float:
    """Best correlation of the mean chroma of `[T]` with the 24 key profiles, 0 for silence."""
    mean = _chroma(samples).mean(1)
    if np.ptp(mean) < 1e-12:
        return 0.0
    return max(
        float(np.corrcoef(mean, np.roll(profile, tonic))[0, 1])
        for profile in (MAJOR, MINOR)
        for tonic in range(12)
    )


def repetition(samples: np.ndarray) -> float:
    """How much more alike chroma of `[T]` is at its best lag of 1 to 4 s than over these lags.

    The mean cosine of frames a lag apart, the largest over the lags less their mean; 0 for silence.
    """
    chroma = _chroma(samples)
    group = max(1, round(SAMPLE_RATE / HOP / CHROMA_HZ))
    frames = chroma[:, : chroma.shape[1] // group * group].reshape(12, -1, group).mean(2)
    norm = np.linalg.norm(frames, axis=0)
    if not len(norm) or norm.max() < 1e-12:
        return 0.0
    unit = frames / np.maximum(norm, 1e-12)
    rate = SAMPLE_RATE / HOP / group
    lags = range(round(LAGS_S[0] * rate), round(LAGS_S[1] * rate) + 1)
    found = [
        float((unit[:, lag:] * unit[:, :-lag]).sum(0).mean()) for lag in lags if lag < unit.shape[1]
    ]
    return max(found) - float(np.mean(found)) if found else 0.0


def is_nearly_empty(samples: np.ndarray) -> bool:
    """Whether at least half of a clip `[T]` is silent, 40 dB below the whole."""
    return quiet_share(samples) >= NEARLY_EMPTY


def musical_rows(name: str, sounds: Sequence[np.ndarray]) -> list[Row]:
    """Rows of what is found in clips `[T]` at 24 kHz."""
    measures = {
        "pulse clarity": pulse_clarity,
        "key clarity": key_clarity,
        "repetition": repetition,
    }
    rows = [mean_row(metric, name, [of(s) for s in sounds]) for metric, of in measures.items()]
    empty = sum(is_nearly_empty(sound) for sound in sounds)
    return [*rows, share_row("nearly empty clips", name, empty, len(sounds))]


def real_rows(what: str, sounds: list[np.ndarray], duration_s: float, codec: Codec) -> list[Row]:
    """Musical measures of the middle of some real pieces, and of their codec round trips."""
    size, some = round(duration_s * SAMPLE_RATE), np.linspace(0, len(sounds) - 1, REAL_PIECES)
    chosen = [sounds[i] for i in dict.fromkeys(some.astype(int).tolist())]
    middles = [s[max(0, (len(s) - size) // 2) :][:size] for s in chosen]
    waves = (Waveform(torch.from_numpy(middle)[None], SAMPLE_RATE) for middle in middles)
    trips = (codec.decode(codec.encode(wave))[0] for wave in waves)
    through = [resample(mono(wave), SAMPLE_RATE).samples[0].numpy() for wave in trips]
    rows = musical_rows(f"real pieces of {what}", middles)
    return rows + musical_rows(f"codec round trips of {what}", through)
