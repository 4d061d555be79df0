"""Rendering: a score becomes mono audio through FluidSynth and a General MIDI soundfont."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pretty_midi

from simba_music import audio

# Where Debian installs the two MIT-licensed General MIDI soundfonts.
SOUNDFONTS = (
    "/usr/share/sounds/sf2/FluidR3_GM.sf2",
    "/usr/share/sounds/sf3/MuseScore_General_Lite.sf3",
)
LEVEL_LUFS = -20.0
DRUM_CHANNEL = 9


class Renderer:
    """One FluidSynth with its soundfonts loaded, for many scores."""

    def __init__(self, sample_rate: int, soundfonts: Sequence[str] = SOUNDFONTS):
        """Load the soundfonts.

        Raises:
            FileNotFoundError: If one is not installed.
            ImportError: If the FluidSynth library is not installed.
        """
        import fluidsynth

        for path in soundfonts:
            if not Path(path).exists():
                raise FileNotFoundError(
                    f"Soundfont {path} not found. Install it: apt-get install fluidsynth "
                    "fluid-soundfont-gm musescore-general-soundfont-small"
                )
        self.sample_rate = sample_rate
        self._synth: Any = fluidsynth.Synth(gain=0.5, samplerate=float(sample_rate))
        self._fonts = [self._synth.sfload(path) for path in soundfonts]

    def render(self, score: pretty_midi.PrettyMIDI, duration_s: float, seed: int) -> np.ndarray:
        """Render `duration_s` seconds at -20 LUFS; the seed chooses soundfont, balance, reverb.

        Returns:
            float32 samples `[T]`.
        """
        rng = random.Random(seed)
        font = rng.choice(self._fonts)
        synth = self._synth
        synth.system_reset()
        reverb = rng.choice((0, 20, 45, 75))
        events: list[tuple[float, int, int, int, int]] = []
        pitched = [c for c in range(16) if c != DRUM_CHANNEL]
        for part in score.instruments:
            channel = DRUM_CHANNEL if part.is_drum else pitched.pop(0)
            synth.program_select(channel, font, 128 if part.is_drum else 0, part.program)
            role = part.name.split(":")[0]
            level = {"melody": 105, "chords": 82, "bass": 98, "drums": 92}[role] + rng.randint(
                -10, 10
            )
            synth.cc(channel, 7, level)
            synth.cc(channel, 91, reverb)
            for note in part.notes:
                events.append((note.start, 1, channel, note.pitch, note.velocity))
                events.append((note.end, 0, channel, note.pitch, 0))
        total = round(duration_s * self.sample_rate)
        chunks, done = [], 0
        for time_s, on, channel, pitch, velocity in sorted(events):
            until = min(total, round(time_s * self.sample_rate))
            if until > done:
                chunks.append(synth.get_samples(until - done))
                done = until
            if on:
                synth.noteon(channel, pitch, velocity)
            else:
                synth.noteoff(channel, pitch)
        chunks.append(synth.get_samples(max(0, total - done)))
        stereo = np.concatenate(chunks).reshape(-1, 2)[:total]
        mono = stereo.astype(np.float32).mean(axis=1) / 32768.0
        fade = round(0.05 * self.sample_rate)
        mono[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
        return audio.normalise_array(mono, self.sample_rate, LEVEL_LUFS)
