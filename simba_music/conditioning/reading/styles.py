"""Styles: names, tempos and modes of genres, and moods, which composer and prompts share."""

import functools
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

from simba_music.files import StrictModel

DATA = Path(__file__).parents[1] / "data"


class Style(StrictModel):
    """A genre: what it is called, its slowest and fastest tempo in beats a minute, its modes."""

    names: tuple[str, ...]
    also: tuple[str, ...]
    tempo: tuple[int, int]
    modes: tuple[str, ...]


@functools.cache
def word_lists(name: str) -> dict[str, dict[str, list[str]]]:
    """Lists of words of `conditioning/data`, by heading and key."""
    with (DATA / name).open("rb") as file:
        return tomllib.load(file)


@functools.cache
def styles() -> dict[str, Style]:
    """Every genre by its name in the composer's tables."""
    with (DATA / "styles.toml").open("rb") as file:
        return {name: Style.model_validate(raw) for name, raw in tomllib.load(file).items()}


def any_of(words: Iterable[str]) -> str:
    """A pattern of one of these words or phrases, the longest first; blanks may be hyphens."""
    # An alternation takes the first that fits.
    longest = sorted(set(words), key=len, reverse=True)
    return "|".join(re.escape(word).replace(r"\ ", r"[\s-]+") for word in longest)


@functools.cache
def _pattern() -> tuple[re.Pattern[str], dict[str, str]]:
    of = {
        re.sub(r"[\s-]+", " ", word): name
        for name, style in styles().items()
        for word in (*style.also, *style.names)
    }
    return re.compile(rf"(?<!\w)({any_of(of)})(?!\w)", re.IGNORECASE), of


def named_styles(text: str) -> tuple[str, ...]:
    """Genres that a text names, in its order; of names within names the longest counts."""
    pattern, of = _pattern()
    found = (re.sub(r"[\s-]+", " ", match[1].lower()) for match in pattern.finditer(text))
    return tuple(dict.fromkeys(of[word] for word in found))
