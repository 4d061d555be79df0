"""Scales: note names, the scales that are known, and a key."""

from typing import NamedTuple

NOTES = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "pentatonic": (0, 2, 4, 7, 9),
    "minor pentatonic": (0, 3, 5, 7, 10),
}

_SHARP = {"Db": "C#", "Ab": "G#"}  # how those tonics are spelled below a minor third


class Key(NamedTuple):
    """A tonic as pitch class 0-11, and the name of a scale in `SCALES`."""

    tonic: int
    scale: str

    def __str__(self) -> str:
        note = NOTES[self.tonic]
        return f"{_SHARP.get(note, note) if 3 in SCALES[self.scale] else note} {self.scale}"
