"""Chords condition: the progression that a prompt names, as root and tones of every frame.

"chords: Am F C G" and "ii-V-I in D" name a progression, a bar each unless the prompt says
otherwise; it comes round until the clip ends. Frame-synchronous chords as pitch classes are those
of MusiConGen (Lan et al. 2024, arXiv 2407.15060).
"""

import itertools
import re
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from simba_music.conditioning.beat import named_tempo
from simba_music.conditioning.chord_symbols import (
    NO_CHORD,
    QUALITIES,
    chord_symbol,
    parse_symbol,
    pitch_classes,
)
from simba_music.conditioning.key import NOTES, SCALES, Key, named_key
from simba_music.conditioning.request import Crop, Request
from simba_music.conditioning.types import Condition, Span

PLAIN_BPM = 120.0  # where a prompt names chords and no tempo
FEWEST, MOST = 2, 16  # chords of a progression
_ALIASES = {
    "major": "", "maj": "", "minor": "m", "min": "m", "mi": "m", "min7": "m7", "mi7": "m7",
    "M7": "maj7", "ma7": "maj7", "Δ": "maj7", "Δ7": "maj7", "°": "dim", "°7": "dim7",
    "ø": "m7b5", "ø7": "m7b5", "sus": "sus4",
}  # fmt: skip
_QUALITY = "|".join(map(re.escape, sorted({*QUALITIES, *_ALIASES} - {""}, key=len, reverse=True)))
_SPELLED = r"\s(?:major|minor|maj|min)\b"
_CHORD = rf"[A-G][#♯b♭]?(?:{_SPELLED}|{_QUALITY})?(?:/[A-G][#♯b♭]?)?(?![\w#♯♭/])"
_BETWEEN = r"(?:\s*[,|>→–—-]+\s*|\s+(?:and|to|then)\s+|\s+)"
_LIST = rf"{_CHORD}(?:{_BETWEEN}{_CHORD})+"
_NAMED = re.compile(
    rf"\b(?i:chords?|progression|changes|harmony)(?:\s+(?i:progression|are|is|of|like))*\s*[:=]?\s*"
    rf"(?P<list>{_LIST})"
)
_LINKED = re.compile(rf"(?<![\w/])(?P<list>{_CHORD}(?:\s*[|>→–—-]+\s*{_CHORD}){{2,}})")
_ONE = re.compile(rf"(?P<root>[A-G])(?P<sign>[#♯b♭]?)\s?(?P<quality>{_QUALITY})?(?:/[A-G][#♯b♭]?)?")
_NUMERAL = r"[b♭]?(?:VII|VI|IV|V|III|II|I|vii|vi|iv|v|iii|ii|i)(?:°|ø|maj7|7)?"
_NUMERALS = re.compile(rf"(?<![\w/]){_NUMERAL}(?:(?:\s*[,–—-]\s*|\s+){_NUMERAL})+(?![\w/])")
_DEGREES = {"I": 0, "II": 1, "III": 2, "IV": 3, "V": 4, "VI": 5, "VII": 6}
_WHOLE = {"pentatonic": "major", "minor pentatonic": "minor"}  # scales of seven tones
_EACH = re.compile(
    r"\b(?P<count>\d|a|one|two|four|half\s+a)\s+(?P<unit>bar|measure|beat)s?\s+"
    r"(?:each|apiece|per\s+chord|a\s+chord)\b",
    re.IGNORECASE,
)
_COUNTS = {"a": 1.0, "one": 1.0, "two": 2.0, "four": 4.0, "half a": 0.5}
_METRE = re.compile(r"\b(?P<metre>[2346]/[48])\b|\b(?P<waltz>waltz)", re.IGNORECASE)
_BEATS = {"2/4": 2, "3/4": 3, "6/8": 2}  # a bar; two dotted quarters in 6/8


class Progression(NamedTuple):
    """Chord symbols, the start of each in s from frame 0, and how long until they repeat."""

    symbols: tuple[str, ...]
    starts_s: tuple[float, ...]
    period_s: float | None = None


def _symbol(text: str) -> str:
    """A chord as `chord_symbols` writes it."""
    match = _ONE.fullmatch(text)
    assert match is not None, text
    quality = match["quality"] or ""
    sign = match["sign"].replace("♯", "#").replace("♭", "b")
    return match["root"] + sign + _ALIASES.get(quality, quality)


def _of_numeral(numeral: str, key: Key) -> str:
    """The triad or seventh chord on a degree of a key, such as Em of `ii` in D."""
    flat, bare = numeral[0] in "b♭", numeral.lstrip("b♭")
    degree = re.match(r"[IViv]+", bare)
    assert degree is not None, numeral
    minor, rest = degree[0].islower(), bare[degree.end() :]
    whole = _WHOLE.get(key.scale, key.scale)
    scale = SCALES["major" if flat else whole]
    root = key.tonic + scale[_DEGREES[degree[0].upper()]] - flat
    quality = {"°": "dim", "ø": "m7b5", "maj7": "maj7", "7": "m7" if minor else "7"}
    return chord_symbol(root % 12, QUALITIES[quality.get(rest, "m" if minor else "")], key)


def named_chords(prompt: str, seed: int) -> tuple[str, ...]:
    """Symbols of the progression that a prompt names, in order; none if it names none.

    After "chords", "progression" or "changes" any list counts, else three or more that are linked
    by dashes or bars. Roman numerals need a key in the prompt, whose tonic `seed` may draw.
    """
    match = _NAMED.search(prompt) or _LINKED.search(prompt)
    if match is not None:
        chords = re.findall(_CHORD, match["list"])
        if " " not in chords[0]:  # after symbols, "E minor" is the key of the piece
            chords = list(itertools.takewhile(lambda chord: " " not in chord, chords))
        found = [_symbol(chord) for chord in chords]
    else:
        numerals, key = _NUMERALS.search(prompt), named_key(prompt, seed)
        if numerals is None or key is None:
            return ()
        found = [_of_numeral(numeral, key) for numeral in re.findall(_NUMERAL, numerals[0])]
    return tuple(found) if FEWEST <= len(found) <= MOST else ()


def chord_s(prompt: str) -> float:
    """How long each chord of a prompt lasts, in s: a bar unless it says otherwise."""
    beat_s = 60 / (named_tempo(prompt) or PLAIN_BPM)
    metre = _METRE.search(prompt)
    named = "3/4" if metre and metre["waltz"] else metre["metre"] if metre else ""
    bar_s = _BEATS.get(named, 4) * beat_s
    each = _EACH.search(prompt)
    if each is None:
        return bar_s
    text = " ".join(each["count"].lower().split())
    count = float(text) if text.isdigit() else _COUNTS[text]
    return max(count, 0.5) * (beat_s if each["unit"].lower() == "beat" else bar_s)


class Chords(Condition[Progression]):
    """Root and tones of the chord at every frame, where a progression is known."""

    name: ClassVar[str] = "chords"
    drop: ClassVar[float] = 0.3

    @property
    def width(self) -> int:
        """See `Condition`."""
        return 2 * len(NOTES)

    def from_prompt(self, request: Request) -> Progression | None:
        """The progression that the prompt names, round and round from the first frame on."""
        symbols = named_chords(request.prompt, request.seed)
        if not symbols:
            return None
        each_s = chord_s(request.prompt)
        starts = tuple(i * each_s for i in range(len(symbols)))
        return Progression(symbols, starts, len(symbols) * each_s)

    def from_crop(self, crop: Crop, caption: str | None) -> Progression | None:
        """The chords that the piece has there."""
        if not crop.chords:
            return None
        starts = tuple(start_s - crop.start_s for start_s, _ in crop.chords)
        return Progression(tuple(symbol for _, symbol in crop.chords), starts)

    def features(self, values: Sequence[Progression | None], span: Span) -> Tensor:
        """`[B, S, F]`: root, and pitch classes of the chord; zeros where no chord sounds."""
        device, notes = span.first.device, len(NOTES)
        found = torch.zeros(len(values), span.frames, self.width, device=device)
        for row, value, seconds in zip(found, values, span.seconds, strict=True):
            if value is None:
                continue
            table = torch.zeros(len(value.symbols), self.width, device=device)
            for tones, symbol in zip(table, value.symbols, strict=True):
                if symbol != NO_CHORD:
                    tones[parse_symbol(symbol)[0]] = 1
                    tones[[notes + tone for tone in pitch_classes(symbol)]] = 1
            # A prompt's progression goes round; a crop's stands where the piece has it.
            at = seconds if value.period_s is None else seconds % value.period_s
            starts = torch.tensor(value.starts_s, device=device)
            row[:] = table[(torch.searchsorted(starts, at, right=True) - 1).clamp(min=0)]
        return found

    def describe(self, value: Progression) -> str:
        """Such as "chords Am F C G"."""
        return f"chords {' '.join(value.symbols)}"
