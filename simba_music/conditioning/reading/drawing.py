"""Drawing: what the seed decides where a prompt leaves it open, by what the prompt suggests.

Musicians' descriptions mostly name neither tempo nor key, and a model that is given none plays
without a pulse. A draw is from the composer's own tables, so that it is likely for the genre, and
depends on prompt and seed alone: it is the same for every model.
"""

import functools
import random
import re

from simba_music.conditioning.chord_symbols import parse_symbol, pitch_classes
from simba_music.conditioning.reading.denials import asked_for
from simba_music.conditioning.reading.keys import drawn_tonic
from simba_music.conditioning.reading.metres import COMPOUND, named_metre
from simba_music.conditioning.reading.progressions import listed_chords
from simba_music.conditioning.reading.scales import SCALES, Key
from simba_music.conditioning.reading.styles import (
    Style,
    any_of,
    named_styles,
    styles,
    word_lists,
)
from simba_music.conditioning.reading.tempos import tempo_words

LIVELY_BPM = 100  # from there on a tempo adds to the energy of a composed piece
DOTTED = 0.6  # of a style's tempo, where a beat is a dotted quarter; 44 at least
SLOWEST_DOTTED = 44
_NO_KEY = re.compile(
    r"\b(?:atonal(?:ity)?|twelve[\s-]tone|12[\s-]tone|dodecaphonic|serialis[tm]|no\s+key|keyless"
    r"|ambient\s+drones?|noise\s+music|harsh\s+noise|unpitched|drums?\s+(?:solo|only)"
    r"|only\s+drums)\b",
    re.IGNORECASE,
)


@functools.cache
def _moods() -> dict[str, re.Pattern[str]]:
    words = word_lists("moods.toml")["words"]
    return {
        kind: re.compile(rf"(?<!\w)(?:{any_of(listed)})(?!\w)", re.IGNORECASE)
        for kind, listed in words.items()
    }


def _leans(prompt: str, one: str, other: str) -> str:
    """Which of two kinds of mood a prompt asks for; "" if neither, or both."""
    text = asked_for(prompt)
    found = [kind for kind in (one, other) if _moods()[kind].search(text)]
    return found[0] if len(found) == 1 else ""


def _within(style: Style, mood: str) -> tuple[int, int]:
    """Slowest and fastest tempo of a style in a mood, where it has such tempos."""
    low, high = style.tempo
    if mood == "low" and low < LIVELY_BPM:
        return low, min(high, LIVELY_BPM - 1)
    return (max(low, LIVELY_BPM), high) if mood == "high" and high > LIVELY_BPM else (low, high)


def _style(prompt: str, seed: int) -> Style:
    """One of the genres that a prompt names, else any that suits its mood."""
    named, mood = named_styles(asked_for(prompt)), _leans(prompt, "low", "high")
    pool = [styles()[name] for name in named] or [
        style
        for style in styles().values()
        if not (mood == "low" and style.tempo[0] >= LIVELY_BPM)
        and not (mood == "high" and style.tempo[1] <= LIVELY_BPM)
    ]
    return random.Random(f"style {seed}").choice(pool)


def drawn_tempo(prompt: str, seed: int) -> float:
    """A tempo in beats a minute for a prompt that names none."""
    rng, said = random.Random(f"tempo {seed}"), tempo_words(prompt)
    if said:  # several, that contradict each other
        return float(rng.randint(round(min(said)), round(max(said))))
    style, mood = _style(prompt, seed), _leans(prompt, "low", "high")
    bpm = rng.randint(*_within(style, mood))
    if named_metre(prompt) in COMPOUND:
        return float(max(SLOWEST_DOTTED, round(DOTTED * bpm)))
    return float(bpm)


def _of_chords(symbols: tuple[str, ...]) -> Key:
    """The major or minor key that holds most tones of a progression; the first chord's if it can.

    Ties go to the key of the first chord, then to that of the last.
    """
    tones = [tone for symbol in symbols for tone in pitch_classes(symbol)]
    ends = [parse_symbol(symbol) for symbol in (symbols[0], symbols[-1])]
    best, found = -1.0, Key(0, "major")
    for scale, third in (("major", 4), ("minor", 3)):
        for tonic in range(12):
            inside = {(tonic + step) % 12 for step in SCALES[scale]}
            fit = float(sum(tone in inside for tone in tones))
            for weight, (root, shape) in zip((0.9, 0.4), ends, strict=True):
                fit += weight * (root == tonic and third in shape)
            if fit > best:
                best, found = fit, Key(tonic, scale)
    return found


def drawn_key(prompt: str, seed: int) -> Key | None:
    """A key for a prompt that names none; None where it asks for none, such as "atonal"."""
    if _NO_KEY.search(prompt):
        return None
    symbols = listed_chords(prompt)
    if len(symbols) > 1:
        return _of_chords(symbols)
    modes = _style(prompt, seed).modes
    mood = _leans(prompt, "bright", "dark")
    third = {"bright": 4, "dark": 3}.get(mood)
    if third is not None:
        fitting = [mode for mode in modes if third in SCALES[mode]]
        modes = tuple(fitting) or (("major",) if third == 4 else ("minor",))
    return Key(drawn_tonic(seed), random.Random(f"mode {seed}").choice(modes))
