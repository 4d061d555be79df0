"""Emptiness: how much of a sound sounds, and whether a clip is too empty to be played."""

import numpy as np

from simba_music.audio.waveform import Waveform, mono

FRAME_S = 0.1
QUIET_DB = -40.0  # beside the loudest frame
LEAST_ACTIVE = 1 / 3  # of a clip's frames
MOST_GAIN_DB = 24.0  # to playing level
# Decoded silence stays below -62 dBFS; the first 3 s of 144 decoded clips had a frame above -27,
# but for one clip that began with silence.
SILENT_DBFS = -60.0


def frame_levels_dbfs(wave: Waveform) -> np.ndarray:
    """RMS level of every 0.1 s `[F]` of a sound, in dB of full scale; the last frame is padded."""
    samples, size = mono(wave).samples[0].numpy(), round(FRAME_S * wave.sample_rate)
    whole = np.pad(samples, (0, -len(samples) % size)).reshape(-1, size)
    found: np.ndarray = 10 * np.log10(np.mean(whole.astype(np.float64) ** 2, axis=1) + 1e-20)
    return found


def active_share(wave: Waveform) -> float:
    """Share of frames within 40 dB of the loudest one; 0 if all is silent."""
    levels = frame_levels_dbfs(wave)
    if not len(levels) or levels.max() < SILENT_DBFS:
        return 0.0
    return float(np.mean(levels > levels.max() + QUIET_DB))


def is_silent(wave: Waveform) -> bool:
    """Whether no 0.1 s of a sound, as it was decoded, reaches -60 dBFS."""
    levels = frame_levels_dbfs(wave)
    return not len(levels) or bool(levels.max() < SILENT_DBFS)
