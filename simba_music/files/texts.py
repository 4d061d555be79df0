"""Texts that people send: what is none, what holds nothing to see, and what cannot be stored."""

import unicodedata

from simba_music.errors import RequestError

_SPACES = "\n\r\t"  # of the control characters, those that people type
_UNSEEN = ("Cc", "Cf", "Zs", "Zl", "Zp", "Mn", "Me", "Cn", "Co")
# Letters by category, without a shape: Hangul fillers, and the braille pattern without dots.
_BLANK = "\u115f\u1160\u3164\uffa0\u2800"


def checked_text(name: str, value: object) -> str:
    """A text as it was sent, without blanks at its ends; emoji and every script are kept.

    A text with nothing to see in it, such as zero-width characters alone, becomes an empty one.

    Raises:
        RequestError: If it is no text, or holds what no database and no file keeps: a control
            character, half of a surrogate pair.
    """
    if not isinstance(value, str):
        raise RequestError(f"{name} must be text, got {type(value).__name__}.")
    for at, character in enumerate(value):
        kind = unicodedata.category(character)
        if kind == "Cs" or (kind == "Cc" and character not in _SPACES):
            what = "half of a surrogate pair" if kind == "Cs" else "a control character"
            raise RequestError(
                f"{name} holds {what}, U+{ord(character):04X}, at place {at + 1}. Remove it: it "
                "can be neither shown nor stored."
            )
    text = value.strip()
    return text if any(_is_seen(character) for character in text) else ""


def _is_seen(character: str) -> bool:
    return character not in _BLANK and unicodedata.category(character) not in _UNSEEN
