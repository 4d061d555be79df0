"""Chord symbols: a root and a quality as musicians write them, F#m7b5, and read back."""

import re

from simba_music.conditioning.reading.scales import NOTES, Key

NO_CHORD = "N"  # where no chord sounds, as in Harte et al. (2005)
QUALITIES = {  # what follows the root, and the intervals in semitones above it
    "": (0, 4, 7),
    "m": (0, 3, 7),
    "dim": (0, 3, 6),
    "dim7": (0, 3, 6, 9),
    "m7b5": (0, 3, 6, 10),
    "5": (0, 7),
    "6": (0, 4, 7, 9),
    "m6": (0, 3, 7, 9),
    "7": (0, 4, 7, 10),
    "m7": (0, 3, 7, 10),
    "maj7": (0, 4, 7, 11),
    "9": (0, 4, 7, 10, 14),
    "m9": (0, 3, 7, 10, 14),
    "add9": (0, 4, 7, 14),
    "madd9": (0, 3, 7, 14),
    "maj9": (0, 4, 7, 11, 14),
    "mmaj7": (0, 3, 7, 11),
    "69": (0, 4, 7, 9, 14),
    "11": (0, 4, 7, 10, 14, 17),
    "m11": (0, 3, 7, 10, 14, 17),
    "13": (0, 4, 7, 10, 14, 21),
    "m13": (0, 3, 7, 10, 14, 21),
    "maj13": (0, 4, 7, 11, 14, 21),
    "7b9": (0, 4, 7, 10, 13),
    "7#9": (0, 4, 7, 10, 15),
    "7b5": (0, 4, 6, 10),
    "aug": (0, 4, 8),
    "aug7": (0, 4, 8, 10),
    "7sus4": (0, 5, 7, 10),
    "sus2": (0, 2, 7),
    "sus4": (0, 5, 7),
}
_WRITTEN = {intervals: quality for quality, intervals in QUALITIES.items()}
_LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_STEPS = (0, 1, 1, 2, 2, 3, 4, 4, 5, 5, 6, 6)  # letters from the tonic's, by semitones above it
_UNUSUAL = ("Cb", "Fb", "E#", "B#")
_SYMBOL = re.compile(r"([A-G])([#b]?)(.*)")


def chord_symbol(root: int, intervals: tuple[int, ...], key: Key) -> str:
    """The symbol of a chord, its root spelled as in `key`: C#m in A major, Db in F minor.

    Args:
        root: pitch class 0-11.
        intervals: semitones above the root, one of `QUALITIES`.
        key: tonic and scale; only the spelling depends on it.

    Raises:
        ValueError: If there is no symbol for the intervals.
    """
    if intervals not in _WRITTEN:
        raise ValueError(f"Intervals {intervals} have no symbol. Add their quality to QUALITIES.")
    return _spelled(root % 12, key) + _WRITTEN[intervals]


def parse_symbol(symbol: str) -> tuple[int, tuple[int, ...]]:
    """Root as pitch class 0-11, and intervals in semitones above it, of a symbol such as Bbmaj7.

    Raises:
        ValueError: If it is none, `NO_CHORD` included.
    """
    match = _SYMBOL.fullmatch(symbol)
    if match is None or match[3] not in QUALITIES:
        allowed = ", ".join(f"C{quality}" for quality in QUALITIES)
        raise ValueError(f"{symbol!r} is no chord symbol. Write one like {allowed}.")
    shift = {"#": 1, "b": -1, "": 0}[match[2]]
    return (_LETTERS[match[1]] + shift) % 12, QUALITIES[match[3]]


def pitch_classes(symbol: str) -> tuple[int, ...]:
    """Pitch classes 0-11 of a chord symbol, root first; none of `NO_CHORD`.

    Raises:
        ValueError: If it is no symbol.
    """
    if symbol == NO_CHORD:
        return ()
    root, intervals = parse_symbol(symbol)
    return tuple((root + interval) % 12 for interval in intervals)


def _spelled(root: int, key: Key) -> str:
    """A pitch class by the letter of its degree, unless that takes two signs or is unusual."""
    tonic, letters = str(key)[0], list(_LETTERS)
    letter = letters[(letters.index(tonic) + _STEPS[(root - key.tonic) % 12]) % 7]
    sign = {0: "", 1: "#", 11: "b"}.get((root - _LETTERS[letter]) % 12)
    return NOTES[root] if sign is None or letter + sign in _UNUSUAL else letter + sign
