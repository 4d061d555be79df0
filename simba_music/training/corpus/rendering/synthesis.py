"""Synthesis: subtractive (wavetables with a filter envelope) and FM timbres, in numpy."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pretty_midi

TABLE = 8192


@dataclass(frozen=True)
class Patch:
    """One timbre; times in seconds, `filter` in harmonics that pass when the envelope is shut."""

    wave: str = "saw"  # saw, square, triangle or sine: the harmonics of the oscillator
    filter: float = 6.0
    filter_decay_s: float = 0.3
    filter_attack_s: float = 0.0
    attack_s: float = 0.005
    decay_s: float = 0.3
    sustain: float = 0.7
    release_s: float = 0.08
    detune_cents: float = 0.0  # between two oscillators
    vibrato_hz: float = 0.0
    vibrato_cents: float = 0.0
    glide_s: float = 0.0
    fm_ratio: float = 0.0  # 0: no frequency modulation (Chowning 1973)
    fm_index: float = 0.0
    fm_decay_s: float = 0.5


PATCHES = {
    "saw bass": Patch("saw", 4, 0.18, decay_s=0.5, sustain=0.6, detune_cents=6),
    "sub bass": Patch("sine", 2, decay_s=1.0, sustain=0.9, attack_s=0.01),
    "acid bass": Patch("saw", 2, 0.12, decay_s=0.25, sustain=0.5, release_s=0.04, glide_s=0.03),
    "square": Patch("square", 24, decay_s=0.5, sustain=0.8, release_s=0.03),
    "triangle": Patch("triangle", 24, decay_s=0.6, sustain=0.85, release_s=0.04),
    "saw lead": Patch("saw", 10, 0.5, vibrato_hz=5.5, vibrato_cents=12, detune_cents=9),
    "pluck": Patch("saw", 3, 0.12, decay_s=0.28, sustain=0.05, release_s=0.2, detune_cents=5),
    "synth brass": Patch("saw", 4, 0.8, 0.06, attack_s=0.04, sustain=0.8, detune_cents=10),
    "theremin": Patch(
        "triangle", 3, vibrato_hz=6.0, vibrato_cents=38, attack_s=0.09, release_s=0.15,
        sustain=0.95, glide_s=0.14,
    ),
    "warm pad": Patch(
        "saw", 3, 2.0, 0.6, attack_s=0.45, sustain=0.9, release_s=0.7, detune_cents=14
    ),
    "string synth": Patch(
        "saw", 9, 2.0, 0.2, attack_s=0.2, sustain=0.9, release_s=0.45, detune_cents=18
    ),
    "didgeridoo": Patch(
        "saw", 7, 0.5, 0.25, attack_s=0.1, sustain=0.9, release_s=0.2, vibrato_hz=2.2,
        vibrato_cents=14,
    ),
    "fm bell": Patch(
        "sine", attack_s=0.002, decay_s=1.6, sustain=0.0, release_s=0.8, fm_ratio=3.5,
        fm_index=2.4, fm_decay_s=0.7,
    ),
    "fm piano": Patch(
        "sine", attack_s=0.003, decay_s=1.3, sustain=0.1, release_s=0.25, fm_ratio=1.0,
        fm_index=1.6, fm_decay_s=0.35,
    ),
}  # fmt: skip


@functools.lru_cache(maxsize=2000)
def _tables(patch: Patch, harmonics: int) -> tuple[np.ndarray, np.ndarray]:
    """One period `[TABLE]` with the filter open and shut, of at most so many harmonics."""
    k = np.arange(1, harmonics + 1, dtype=np.float64)
    amplitude = {
        "saw": 1 / k,
        "square": (k % 2) / k,
        "triangle": (k % 2) / k**2 * np.where(k % 4 == 3, -1.0, 1.0),
        "sine": (k == 1).astype(float),
    }[patch.wave]
    angle = 2 * np.pi * np.outer(k, np.arange(TABLE) / TABLE)
    # Fourth-order low-pass magnitudes on the harmonics: a filter per note, without filtering.
    shut = amplitude / np.sqrt(1 + (k / patch.filter) ** 8)
    opened = amplitude / np.sqrt(1 + (k / (patch.filter * 5)) ** 8)
    waves = np.sin(angle)
    return (opened @ waves).astype(np.float32), (shut @ waves).astype(np.float32)


def _envelope(patch: Patch, held: int, total: int, rate: int) -> np.ndarray:
    """Attack, decay and sustain over `held` samples, then the release, float32 `[total]`."""
    t = np.arange(total, dtype=np.float32) / rate
    level = patch.sustain + (1 - patch.sustain) * np.exp(-t / patch.decay_s * 3)
    level *= np.minimum(1, t / patch.attack_s)
    tail = total - held
    level[held:] *= np.linspace(1, 0, tail, dtype=np.float32) ** 2
    return level


def _note(patch: Patch, note: pretty_midi.Note, before: float | None, rate: int) -> np.ndarray:
    """Samples of one note; it glides from the pitch `before`, in Hz."""
    held = max(1, round((note.end - note.start) * rate))
    total = held + round(patch.release_s * rate)
    t = np.arange(total) / rate
    frequency = 440.0 * 2 ** ((note.pitch - 69) / 12)
    bend = np.zeros(total)
    if patch.vibrato_hz:
        fade_in = np.minimum(1, t / 0.3)
        bend += patch.vibrato_cents / 1200 * fade_in * np.sin(2 * np.pi * patch.vibrato_hz * t)
    if patch.glide_s and before:
        bend += np.log2(before / frequency) * np.exp(-t / patch.glide_s * 3)
    steady = not bend.any()
    turns = frequency * t if steady else np.cumsum(frequency * 2**bend) / rate
    if patch.fm_ratio:
        # Harder strokes are brighter: the index, and so the sidebands, goes with velocity.
        index = patch.fm_index * np.exp(-t / patch.fm_decay_s * 2) * note.velocity / 100
        angle = 2 * np.pi * turns
        wave = np.sin(angle + index * np.sin(patch.fm_ratio * angle))
    else:
        top = frequency * (2 ** bend.max() if not steady else 1)
        # No harmonic above half the sample rate, at the highest pitch of the note: no aliasing.
        opened, shut = _tables(patch, max(1, min(80, int(rate / 2 / top))))
        gate = np.exp(-t / patch.filter_decay_s)
        if patch.filter_attack_s:
            gate *= np.minimum(1, t / patch.filter_attack_s)
        wave = np.zeros(total)
        for cents in (-patch.detune_cents, patch.detune_cents) if patch.detune_cents else (0.0,):
            at = (turns * 2 ** (cents / 2400) * TABLE).astype(np.int64) % TABLE
            wave += shut[at] + gate * (opened[at] - shut[at])
    # Loudness grows faster than linearly with velocity, as on the instruments imitated.
    found: np.ndarray = wave * _envelope(patch, held, total, rate) * (note.velocity / 127) ** 1.5
    return found


def synthesise(
    name: str, notes: Sequence[pretty_midi.Note], length: int, sample_rate: int
) -> np.ndarray:
    """Play notes with a patch.

    Returns:
        float32 samples `[length]` at `sample_rate` Hz.
    """
    patch, out = PATCHES[name], np.zeros(length, dtype=np.float32)
    before = None
    for note in sorted(notes, key=lambda n: (n.start, n.pitch)):
        at = round(note.start * sample_rate)
        sound = _note(patch, note, before, sample_rate)[: max(0, length - at)]
        out[at : at + len(sound)] += sound
        before = 440.0 * 2 ** ((note.pitch - 69) / 12)
    return out
