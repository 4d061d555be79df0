"""Progressions: the chords that a prompt names, how long each lasts, and the metre."""

import itertools
import re

from simba_music.conditioning.chord_symbols import QUALITIES, chord_symbol
from simba_music.conditioning.reading.denials import asked_for
from simba_music.conditioning.reading.keys import named_key
from simba_music.conditioning.reading.metres import bar_beats
from simba_music.conditioning.reading.scales import SCALES, Key
from simba_music.conditioning.reading.tempos import named_tempo

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
    found = listed_chords(prompt) or _by_numerals(prompt, seed)
    return found if FEWEST <= len(found) <= MOST else ()


def listed_chords(prompt: str) -> tuple[str, ...]:
    """Symbols of the chords that a prompt lists, in order; none if it lists none."""
    text = asked_for(prompt)
    match = _NAMED.search(text) or _LINKED.search(text)
    if match is not None:
        chords = re.findall(_CHORD, match["list"])
        if " " not in chords[0]:  # after symbols, "E minor" is the key of the piece
            chords = list(itertools.takewhile(lambda chord: " " not in chord, chords))
        return tuple(_symbol(chord) for chord in chords)
    return ()


def _by_numerals(prompt: str, seed: int) -> tuple[str, ...]:
    text = asked_for(prompt)
    numerals, key = _NUMERALS.search(text), named_key(prompt, seed)
    if numerals is None or key is None:
        return ()
    return tuple(_of_numeral(numeral, key) for numeral in re.findall(_NUMERAL, numerals[0]))


def chord_s(prompt: str) -> float:
    """How long each chord of a prompt lasts, in s: a bar unless it says otherwise."""
    beat_s = 60 / (named_tempo(prompt) or PLAIN_BPM)
    bar_s = bar_beats(prompt) * beat_s
    each = _EACH.search(prompt)
    if each is None:
        return bar_s
    text = " ".join(each["count"].lower().split())
    count = float(text) if text.isdigit() else _COUNTS[text]
    return max(count, 0.5) * (beat_s if each["unit"].lower() == "beat" else bar_s)
