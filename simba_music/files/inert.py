"""Inert: texts of others where a format would read more into them, in tables and in cards."""

import json
import re

import yaml

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the beginning of one


def inert(value: object) -> object:
    """A cell of a table as no spreadsheet takes for a formula.

    Texts that begin like one get an apostrophe before them, as spreadsheets write it themselves
    (OWASP, CSV injection). Nothing else changes: taking off one apostrophe gives the text back.
    """
    if isinstance(value, str) and value.lstrip("'").startswith(_FORMULA):
        return "'" + value
    return value


def one_line(text: str) -> str:
    """A text in one line of Markdown, where it can begin no heading and no front matter."""
    return " ".join(text.split())


def front_value(text: str) -> str:
    """A value of a card's front matter: as it is where it is a word, else quoted in one line."""
    word = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*", text) and yaml.safe_load(text) == text
    return text if word else json.dumps(one_line(text))
