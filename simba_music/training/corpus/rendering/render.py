"""Rendering: a score becomes stems through FluidSynth and our synthesis, and stems a mix."""

from pathlib import Path
from typing import Any

import numpy as np
import pretty_midi

from simba_music.errors import RequestError
from simba_music.training.corpus.rendering.mix import mix
from simba_music.training.corpus.rendering.production import Production
from simba_music.training.corpus.rendering.synthesis import synthesise
from simba_music.training.corpus.tables import instruments

# The MIT-licensed General MIDI soundfonts to choose from, each where Debian installs it or, where
# that is missing, its smaller or larger sibling. (TimGM6mb is GPL.)
SOUNDFONTS = (
    ("/usr/share/sounds/sf2/FluidR3_GM.sf2", "/usr/share/sounds/sf3/FluidR3Mono_GM.sf3"),
    (
        "/usr/share/sounds/sf3/MuseScore_General_Lite.sf3",
        "/usr/share/sounds/sf3/MuseScore_General_Full.sf3",
        "/usr/share/sounds/sf2/MuseScore_General_Full.sf2",
    ),
)
HINT = (
    "Install them: apt-get install fluidsynth fluid-soundfont-gm musescore-general-soundfont-small"
)
# FluidSynth renders blocks of 64 frames and dithers from a table of 48,000; a note has 1 to 4 of
# its 256 voices.
_BLOCK, _PERIOD, _NOTES = 64, 48_000, 64
_ALL_SOUND_OFF = 120  # MIDI controller
_SETTINGS = {"synth.reverb.active": 0, "synth.chorus.active": 0}  # the mix has its own room


def find_soundfonts() -> tuple[Path, ...]:
    """The soundfonts that are installed here, one for each number of `Production.soundfont`.

    Raises:
        RequestError: If one is missing.
    """
    found = []
    for paths in SOUNDFONTS:
        installed = [Path(path) for path in paths if Path(path).exists()]
        if not installed:
            raise RequestError(f"Soundfont {paths[0]} not found. {HINT}")
        found.append(installed[0])
    return tuple(found)


class Renderer:
    """One FluidSynth with its soundfonts loaded, for many scores."""

    def __init__(self, sample_rate: int):
        """Load the soundfonts.

        Raises:
            RequestError: If one, or the FluidSynth library, is not installed.
        """
        try:
            import fluidsynth
        except ImportError as error:
            raise RequestError(f"The FluidSynth library is not installed. {HINT}") from error
        fonts = find_soundfonts()
        self.sample_rate = sample_rate
        self._synth: Any = fluidsynth.Synth(gain=0.6, samplerate=float(sample_rate), **_SETTINGS)
        self._drawn = 0  # frames, of all parts
        self._fonts = [self._synth.sfload(str(path)) for path in fonts]

    def stems(
        self, score: pretty_midi.PrettyMIDI, production: Production, duration_s: float
    ) -> list[tuple[str, np.ndarray]]:
        """(role, float32 samples `[T]`) of every part, unbalanced."""
        length = round(duration_s * self.sample_rate)
        font = self._fonts[production.soundfont]
        out = []
        for part in score.instruments:
            role, name = part.name.split(":")
            patch = None if part.is_drum else instruments()[name].patch
            if patch:
                samples = synthesise(patch, part.notes, length, self.sample_rate)
            else:
                samples = self._play(part, font, length)
            out.append((role, samples))
        return out

    def render(
        self, score: pretty_midi.PrettyMIDI, production: Production, duration_s: float
    ) -> np.ndarray:
        """Render and mix a score, whose tracks are named `role:instrument`.

        Returns:
            float32 samples `[T]` at about -20 LUFS.
        """
        return mix(self.stems(score, production, duration_s), production, self.sample_rate)

    def _play(self, part: pretty_midi.Instrument, font: int, length: int) -> np.ndarray:
        synth = self._synth
        # General MIDI: drums are on channel 10, counted from 0, and in bank 128 of a soundfont.
        channel = 9 if part.is_drum else 0
        self._silence()
        bank = 128 if part.is_drum else 0
        if synth.program_select(channel, font, bank, part.program) != 0:
            synth.program_select(channel, font, bank, 0)  # the standard kit
        self._drawn = length
        events = [(n.start, 1, n.pitch, n.velocity) for n in part.notes]
        events += [(n.end, 0, n.pitch, 0) for n in part.notes]
        chunks, done = [], 0
        for time_s, on, pitch, velocity in sorted(events):
            until = min(length, round(time_s * self.sample_rate))
            if until > done:
                chunks.append(synth.get_samples(until - done))
                done = until
            if on:
                synth.noteon(channel, pitch, velocity)
            else:
                synth.noteoff(channel, pitch)
        chunks.append(synth.get_samples(max(0, length - done)))
        stereo = np.concatenate(chunks).reshape(-1, 2)[:length]
        found: np.ndarray = (stereo[:, 0].astype(np.float32) + stereo[:, 1]) / np.float32(65536)
        return found

    def _silence(self) -> None:
        """Bring FluidSynth to where it began: a part depends on its notes alone.

        A reset lets what rings ring on, and each voice fades in from the level at which it was
        used last: so notes of the font's piano take up as many voices as a part has, and are
        cut off.
        """
        synth = self._synth
        synth.system_reset()
        synth.cc(0, _ALL_SOUND_OFF, 0)
        synth.cc(9, _ALL_SOUND_OFF, 0)
        synth.get_samples(_BLOCK)
        synth.program_select(0, self._fonts[0], 0, 0)
        for _ in range(_NOTES):
            synth.noteon(0, 60, 1)
            synth.get_samples(_BLOCK)
        synth.cc(0, _ALL_SOUND_OFF, 0)
        drawn = self._drawn + (1 + _NOTES) * _BLOCK
        synth.get_samples(_PERIOD - drawn % _PERIOD)
