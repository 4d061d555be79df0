"""Theory: modes, chords from roman numerals, scales over chords, voice leading."""

import itertools
import re
from dataclasses import dataclass

from simba_music.conditioning.chord_symbols import QUALITIES
from simba_music.conditioning.reading.scales import SCALES

BRIGHT = ("major", "mixolydian", "pentatonic")  # modes with a major third

_NUMERALS = {"i": 0, "ii": 2, "iii": 4, "iv": 5, "v": 7, "vi": 9, "vii": 11}
# Intervals by what follows a numeral: those of chord symbols, some of them written otherwise.
_WRITTEN = {"dim": "°", "dim7": "°7", "m7b5": "ø7"}
_SHAPES = {_WRITTEN.get(name, name): shape for name, shape in QUALITIES.items()}
_SHAPES["mmaj7"] = QUALITIES["m7"]
_SYMBOL = re.compile(r"(b?)([iv]+|[IV]+)(.*)")


@dataclass(frozen=True)
class Chord:
    """Root as pitch class 0-11 above the tonic, and intervals in semitones above the root."""

    root: int
    shape: tuple[int, ...]

    @property
    def classes(self) -> tuple[int, ...]:
        """Pitch classes above the tonic, root first."""
        return tuple((self.root + interval) % 12 for interval in self.shape)


def chord(symbol: str, extended: bool = False) -> Chord:
    """The chord of a roman numeral such as `ii7`, `bVII`, `V` or `i5`.

    Args:
        symbol: degree of the tonic's major scale, lower case minor, with an optional quality.
        extended: whether plain triads get their seventh.

    Raises:
        ValueError: If it is none.
    """
    match = _SYMBOL.fullmatch(symbol)
    if match is None or match[2].lower() not in _NUMERALS:
        raise ValueError(f"{symbol!r} is no chord symbol.")
    flat, numeral, quality = match.groups()
    minor = numeral.islower()
    if minor and not quality.startswith(("°", "ø", "5", "sus")):
        quality = "m" + quality
    if extended and quality in ("", "m"):
        major_seventh = not minor and (numeral in ("I", "IV") or flat)
        quality += "7" if not major_seventh else "maj7"
    if quality not in _SHAPES:
        raise ValueError(f"{symbol!r} has an unknown quality.")
    root = (_NUMERALS[numeral.lower()] - (1 if flat else 0)) % 12
    return Chord(root, _SHAPES[quality])


def scale_over(harmony: Chord, mode: str) -> tuple[int, ...]:
    """Pitch classes above the tonic to play over a chord: the mode, bent to the chord's tones.

    A major third or a fifth that the mode lacks raises the tone below it, others lower the tone
    above: over V in minor the seventh is raised, over bVII in major it is lowered.
    """
    scale = set(SCALES[mode])
    for interval in harmony.shape:
        tone = (harmony.root + interval) % 12
        if tone not in scale:
            replaced = (tone - 1) % 12 if interval in (4, 7) else (tone + 1) % 12
            if replaced not in harmony.classes:
                scale.discard(replaced)
            scale.add(tone)
    return tuple(sorted(scale))


def pitches(classes: tuple[int, ...], key: int, low: int, high: int) -> list[int]:
    """MIDI pitches of pitch classes above `key` from `low` to `high`, ascending."""
    wanted = {(c + key) % 12 for c in classes}
    return [p for p in range(low, high + 1) if p % 12 in wanted]


def voicing(
    harmony: Chord, key: int, low: int, high: int, previous: tuple[int, ...], voices: int
) -> tuple[int, ...]:
    """Chord tones close to the previous chord: the least sum of moves, no voice doubled.

    Args:
        harmony: what to play.
        key: tonic as pitch class.
        low: lowest MIDI pitch.
        high: highest MIDI pitch.
        previous: the chord before, empty at the start.
        voices: how many tones at most; the fifth goes first, then the root.

    Returns:
        Ascending MIDI pitches.
    """
    classes = list(dict.fromkeys(harmony.classes))
    # The fifth says least about a chord's kind, and a bass would have the root.
    for spare in ((harmony.root + 7) % 12, harmony.root):
        if len(classes) > voices and spare in classes:
            classes.remove(spare)
    classes = classes[:voices]
    centre = sum(previous) / len(previous) if previous else (low + high) / 2
    options = []
    for wanted in classes:
        near = pitches((wanted,), key, max(low, round(centre) - 11), min(high, round(centre) + 11))
        options.append(near or pitches((wanted,), key, low, high)[:1])
    best: tuple[float, tuple[int, ...]] | None = None
    for candidate in itertools.product(*options):
        notes = tuple(sorted(set(candidate)))
        if not notes or notes[-1] - notes[0] > 16:
            continue
        move = sum(min(abs(n - p) for p in previous) for n in notes) if previous else 0.0
        # Moves of voices first (the law of the shortest way), then drift out of the register.
        cost = move + 0.5 * abs(sum(notes) / len(notes) - centre) + 4 * (len(classes) - len(notes))
        if best is None or cost < best[0]:
            best = (cost, notes)
    return best[1] if best else tuple(sorted({o[0] for o in options if o}))
