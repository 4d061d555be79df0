"""Progression: the chords of a crop that a caption may name, as symbols and as roman numerals."""

from itertools import pairwise, takewhile
from typing import Any

from simba_music.conditioning.chord_symbols import NO_CHORD, parse_symbol
from simba_music.conditioning.reading.scales import SCALES, Key
from simba_music.training.corpus.composing.plan import METRES, sixteenth_s

SHORTEST, LONGEST = 2, 8  # chords of a progression that a caption names
HARMONY = {"chords", "arpeggio", "pad"}  # roles that play whole chords
_WHOLE = 0.9  # share of a bar that a chord must last to stand for it
_DEGREES = "I bII II bIII III IV bV V bVI VI bVII VII".split()
_PARENTS = {"pentatonic": "major", "minor pentatonic": "minor"}


def progression(facts: dict[str, Any]) -> tuple[str, ...]:
    """Symbols of the crop's first cycle, one a bar, or one every two bars where all last so long.

    A cycle fills half of the crop or more and comes back at once, for half of its length or more;
    a crop of few bars without one is named whole. Empty where the facts know no chords, no part
    plays them, they change inside bars, or they are too many.
    """
    chords = facts.get("chords", ())
    if not chords or not HARMONY & set(facts["roles"]):
        return ()
    bar_s = METRES[facts["metre"]][0] * sixteenth_s(facts["tempo"], facts["metre"])
    starts = [start for start, _ in chords]
    if any(after - before < _WHOLE * bar_s for before, after in pairwise(starts)):
        return ()
    bars = tuple(symbol for _, symbol in chords)
    if facts["end_s"] - starts[-1] < _WHOLE * bar_s:
        bars = bars[:-1]
    lengths = [n for n in range(SHORTEST, len(bars) - 1) if len(set(bars[:n])) > 1]
    length = max(lengths, key=lambda n: (_run(bars, n), -n), default=len(bars))
    back = _run(bars, length) >= max(1.5 * length, length + 2, len(bars) / 2)
    return _named(bars[:length] if back else bars)


def _run(bars: tuple[str, ...], length: int) -> int:
    """How many bars from the first on repeat what stands `length` bars before them."""
    pairs = zip(bars, bars[length:], strict=False)
    return length + len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))


def _named(bars: tuple[str, ...]) -> tuple[str, ...]:
    """The bars if they can be named; halved where every chord lasts two of them."""
    if bars[::2] == bars[1::2]:
        bars = bars[::2]
    few = SHORTEST <= len(bars) <= LONGEST
    return bars if few and len(set(bars)) > 1 and NO_CHORD not in bars else ()


def numerals(symbols: tuple[str, ...], key: Key) -> tuple[str, ...]:
    """Roman numerals of chords that fit the key, `ii V I`; a chord that stays is named once.

    Upper case has a major third, lower case a minor one; degrees count from the major scale. Empty
    where a chord has neither third or tones outside the scale; only the dominant of a minor key
    may have the leading tone.
    """
    scale, found = set(SCALES[_PARENTS.get(key.scale, key.scale)]), list[str]()
    for symbol in symbols:
        root, intervals = parse_symbol(symbol)
        degree = (root - key.tonic) % 12
        allowed = scale | ({11} if degree == 7 and 3 in scale else set())
        fits = all((degree + interval) % 12 in allowed for interval in intervals)
        if not fits or not {3, 4} & set(intervals):
            return ()
        numeral = _DEGREES[degree]
        if 3 in intervals:
            numeral = numeral.lower()
        if 6 in intervals and 3 in intervals:
            numeral += "ø" if 10 in intervals else "°"
        if not found or found[-1] != numeral:
            found.append(numeral)
    return tuple(found) if len(found) >= SHORTEST else ()
