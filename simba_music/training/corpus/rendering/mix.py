"""Mix: stems to one mono recording, with levels, reverb, EQ, saturation and, at times, wear."""

import functools

import numpy as np
from scipy import signal

from simba_music import audio
from simba_music.training.corpus.rendering.production import Production

LEVEL_LUFS = -20.0
# Low notes and kicks blur in a long reverb, so engineers send less of them.
SENDS = {"bass": 0.25, "drums": 0.5}  # to the reverb; others 1
_FRAME_S = 0.05
_FADE_S = 0.05
_KNEE, _CEILING = 0.5, 0.89


def active_rms(samples: np.ndarray, sample_rate: int) -> float:
    """RMS of `[T]` over the frames within 40 dB of its loudest; 0 for silence."""
    frame = round(_FRAME_S * sample_rate)
    frames = samples[: len(samples) // frame * frame].reshape(-1, frame)
    power = np.square(frames).mean(1, dtype=np.float64)
    # Rests do not count, or a part that plays a few notes would be brought up to the level of one
    # that plays all along.
    loud = power[power > power.max(initial=0.0) * 1e-4]
    return float(np.sqrt(loud.mean())) if len(loud) else 0.0


def balance(
    stems: list[tuple[str, np.ndarray]], production: Production, sample_rate: int
) -> list[np.ndarray]:
    """Stems `[T]`, each at the level of its role."""
    out = []
    for role, samples in stems:
        rms = active_rms(samples, sample_rate)
        level = 0.1 * 10 ** (production.levels_db[role] / 20)
        out.append(samples * np.float32(level / rms) if rms > 0 else samples)
    return out


@functools.lru_cache(maxsize=64)
def _room(decay_ms: int, sample_rate: int) -> np.ndarray:
    """Impulse response: noise that decays by 60 dB in `decay_ms`, highs sooner."""
    length = round(decay_ms / 1000 * sample_rate)
    t = np.arange(length) / length
    noise = np.random.default_rng(decay_ms).standard_normal(length)
    # Air and walls take highs first; 6.9 = ln 1000, which is 60 dB.
    high = noise * np.exp(-11 * t)
    low = signal.sosfilt(signal.butter(2, 2500, fs=sample_rate, output="sos"), noise)
    response = low * np.exp(-6.9 * t) + 0.4 * high
    response[: round(0.008 * sample_rate)] = 0  # before the first reflection
    found: np.ndarray = (response / np.sqrt(np.square(response).sum())).astype(np.float32)
    return found


def _tilt(samples: np.ndarray, tilt_db: float, sample_rate: int) -> np.ndarray:
    """Spectrum tilted around 1 kHz by `tilt_db` from one end to the other (first order)."""
    gain = 10 ** (tilt_db / 40)
    b, a = signal.bilinear([gain, 2 * np.pi * 1000], [1 / gain, 2 * np.pi * 1000], sample_rate)
    found: np.ndarray = signal.lfilter(b, a, samples).astype(np.float32)
    return found


def _wear(samples: np.ndarray, production: Production, rate: int) -> np.ndarray:
    """A worn record (dark, hiss and crackle) or one microphone in a room (boxy, hiss)."""
    rng = np.random.default_rng(production.seed)
    band = (60, 4200) if production.quality == "lofi" else (140, 6500)
    sos = signal.butter(2, band, "bandpass", fs=rate, output="sos")
    samples = signal.sosfilt(sos, samples)
    noise = rng.standard_normal(len(samples))
    if production.quality == "lofi":
        clicks = rng.random(len(samples)) < 12 / rate
        noise = 0.5 * noise + 25 * clicks * rng.standard_normal(len(samples))
        noise = signal.sosfilt(signal.butter(1, 5000, fs=rate, output="sos"), noise)
    level = np.sqrt(np.mean(samples**2)) * 10 ** (-production.noise_db / 20)
    found: np.ndarray = (samples + noise / np.sqrt(np.mean(noise**2)) * level).astype(np.float32)
    return found


def limit(samples: np.ndarray, gain_db: float) -> np.ndarray:
    """`samples` louder by `gain_db`; what passes the knee bends towards -1 dBFS."""
    out = samples * np.float32(10 ** (gain_db / 20))
    over = np.abs(out) > _KNEE
    room = _CEILING - _KNEE
    # Value and slope meet at the knee, so nothing kinks, and no sum of stems passes the ceiling.
    bent = _KNEE + room * np.tanh((np.abs(out[over]) - _KNEE) / room)
    out[over] = np.copysign(bent, out[over])
    return out


def mix(
    stems: list[tuple[str, np.ndarray]], production: Production, sample_rate: int
) -> np.ndarray:
    """Mix stems (role, samples `[T]`) to mono at about -20 LUFS; peaks bend below -1 dBFS.

    Returns:
        float32 samples `[T]`.
    """
    roles = [role for role, _ in stems]
    return master(roles, balance(stems, production, sample_rate), production, sample_rate)


def master(
    roles: list[str], balanced: list[np.ndarray], production: Production, sample_rate: int
) -> np.ndarray:
    """As `mix`, of stems `[T]` that `balance` has brought to the levels of their roles."""
    dry = np.asarray(np.sum(balanced, axis=0, dtype=np.float32))
    sends = [SENDS.get(role, 1.0) for role in roles]
    sent = np.sum([s * np.float32(g) for s, g in zip(balanced, sends, strict=True)], axis=0)
    room = _room(round(production.decay_s * 20) * 50, sample_rate)
    wet = signal.oaconvolve(sent, room)[: len(dry)]
    out = dry + np.float32(production.wet) * wet
    out = _tilt(out, production.tilt_db, sample_rate)
    if production.drive:
        peak = np.abs(out).max() + 1e-9
        amount = 1 + 3 * production.drive
        out = np.tanh(out / peak * amount).astype(np.float32) * peak
    if production.quality != "clean":
        out = _wear(out, production, sample_rate)
    fade = round(_FADE_S * sample_rate)
    out[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    return limit(out, LEVEL_LUFS - audio.loudness_lufs(out, sample_rate))
