"""Words: what the page says, read from words.toml, so that a translation is another file."""

import functools
import tomllib
from pathlib import Path
from typing import Any

WORDS_JS = Path(__file__).with_name("words.js").read_text()  # what fills in phrases on a page
Words = dict[str, Any]  # a phrase by its name, or a group of them


@functools.cache
def words() -> Words:
    """All of them, by group."""
    return tomllib.loads(Path(__file__).with_name("words.toml").read_text("utf-8"))


def phrases(*groups: str) -> Words:
    """Groups as one; of two phrases by one name the later group's."""
    return {name: phrase for group in groups for name, phrase in words()[group].items()}


def say(group: str, name: str, /, **filled: object) -> str:
    """One phrase, filled in.

    Raises:
        KeyError: If there is no such phrase, or something it needs is not given.
    """
    phrase: str = words()[group][name]
    return phrase.format_map(filled)
