"""Key condition: the key that a prompt names, as features of every frame.

A text encoder hardly distinguishes "minor" from "major", and a mode without its tonic says next to
nothing about the next code: in a corpus of all keys, no pitch class is likelier in minor. So key
and mode are read from the prompt and given as tonic and scale. Where a prompt names a mode
alone, the seed draws the tonic. Where it names neither, a mood does: "happy" is major, "sad" minor.
Conditions on harmony of this kind are those of MusiConGen (Lan et al. 2024, arXiv 2407.15060).
"""

import random
import re
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from simba_music.conditioning.request import Crop, Request
from simba_music.conditioning.types import Condition, Span

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

_SAME = {"ionian": "major", "aeolian": "minor", "major pentatonic": "pentatonic"}
_LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_ACCIDENTALS = {"#": 1, "♯": 1, "sharp": 1, "b": -1, "♭": -1, "flat": -1}
_TONIC = (
    r"(?<![\w#♯♭'])(?P<letter>[A-Ga-g])"
    r"(?:\s?(?P<sign>[#♯♭]|b(?=m?\b))|[\s-]?(?P<word>(?i:sharp|flat)))?"
)
_MODE = (
    r"(?i:(?:natural|harmonic|melodic)\s+)?"
    r"(?P<mode>(?i:(?:major|minor)\s+pentatonic|major|minor|pentatonic|dorian|mixolydian|phrygian"
    r"|ionian|aeolian))\b"
)
_NO_INTERVAL = r"(?!\s*-?(?i:seconds?|thirds?|sixths?|sevenths?|ninths?|\d))"
_NAMED = re.compile(rf"{_TONIC}[\s-]+{_MODE}{_NO_INTERVAL}")
_SHORT = re.compile(
    rf"\b(?i:in|key\s+of|key\s*[:=])\s+(?:the\s+key\s+of\s+)?{_TONIC}"
    r"(?P<minor>m|min)?(?=\s*(?:[,.;:!?)]|$))"
)
_KIND = re.compile(r"\s*-?(?:keys?|modes?|scales?|tonality|mood)\b", re.IGNORECASE)
_NOT = r"(?<!\bnot\s)(?<!\bno\s)(?<!\bwithout\s)\b"
_ALONE = re.compile(rf"{_NOT}{_MODE}{_NO_INTERVAL}")
_MOODS = {  # of high and of low valence (Russell 1980)
    "major": "happy|happily|cheerful|cheery|bright|joyful|joyous|jolly|merry|playful|festive|sunny"
    "|positive|uplifting|pleasant|buoyant|triumphant|carefree|hopeful|celebratory|relaxed|relaxing"
    "|peaceful",
    "minor": "sad|sadness|sorrowful|mournful|melancholic|melancholy|melancholia|dark|gloomy|moody"
    "|brooding|tense|sinister|eerie|haunting|spooky|scary|ominous|menacing|tragic|grieving|wistful"
    "|bittersweet|pensive|mysterious|suspenseful",
}
_MOOD = re.compile(
    _NOT + "(?:" + "|".join(rf"(?P<{mode}>{words})" for mode, words in _MOODS.items()) + r")\b",
    re.IGNORECASE,
)


class Key(NamedTuple):
    """A tonic as pitch class 0-11, and the name of a scale in `SCALES`."""

    tonic: int
    scale: str

    def __str__(self) -> str:
        note = NOTES[self.tonic]
        return f"{_SHARP.get(note, note) if 3 in SCALES[self.scale] else note} {self.scale}"


def _tonic(match: re.Match[str]) -> int:
    shift = _ACCIDENTALS.get((match["sign"] or match["word"] or "").lower(), 0)
    return (_LETTERS[match["letter"].upper()] + shift) % 12


def _is_article(match: re.Match[str]) -> bool:
    """Whether "a minor" is one of many: "a minor blues", "A minor key"; "A minor" is a key."""
    if match["letter"] not in "Aa" or match["sign"] or match["word"]:
        return False
    return match["letter"] == "a" or bool(_KIND.match(match.string, match.end()))


def _scale(match: re.Match[str]) -> str:
    said = " ".join(match["mode"].lower().split())
    return _SAME.get(said, said)


def named_key(prompt: str, seed: int) -> Key | None:
    """The key that a prompt names; `seed` draws the tonic if it names a mode alone.

    The first key counts: "A minor", "f# dorian", "in E flat major", "key of G", "in Bbm". Without
    one a mode does, such as "minor key" or "major", unless it names several, and without a mode a
    mood, such as "happy" or "sad", unless there are both. None if there is none of these.
    """
    for match in _NAMED.finditer(prompt):
        if not _is_article(match):
            return Key(_tonic(match), _scale(match))
    for match in _SHORT.finditer(prompt):
        if match["letter"].isupper():
            return Key(_tonic(match), "minor" if match["minor"] else "major")
    modes = {_scale(match) for match in _ALONE.finditer(prompt)}
    modes = modes or {str(match.lastgroup) for match in _MOOD.finditer(prompt)}
    if len(modes) != 1:
        return None
    # A mode needs a tonic to have features; drawn by the seed, so that the recipe says it too.
    return Key(random.Random(seed).randrange(len(NOTES)), modes.pop())


class KeySignature(Condition[Key]):
    """Tonic and scale, where a key is known."""

    name: ClassVar[str] = "key"
    drop: ClassVar[float] = 0.3

    @property
    def width(self) -> int:
        """See `Condition`."""
        return 2 * len(NOTES)

    def from_prompt(self, request: Request) -> Key | None:
        """The key that the prompt names."""
        return named_key(request.prompt, request.seed)

    def from_crop(self, crop: Crop, caption: str | None) -> Key | None:
        """Key of the piece."""
        if crop.key is None or crop.mode is None:
            return None
        return Key(NOTES.index(crop.key), crop.mode)

    def features(self, values: Sequence[Key | None], span: Span) -> Tensor:
        """`[B, 1, F]`: tonic, and pitch classes of the scale."""
        found = torch.zeros(len(values), self.width)
        for row, key in zip(found, values, strict=True):
            if key is not None:
                row[key.tonic] = 1
                # The scale's pitch classes besides: modes that share tones then have features in
                # common.
                row[[len(NOTES) + (key.tonic + step) % 12 for step in SCALES[key.scale]]] = 1
        return found[:, None].to(span.first.device)

    def describe(self, value: Key) -> str:
        """Such as "E minor"."""
        return str(value)
