"""Metres: the metre that a prompt names, and the beats of its bar."""

import re

from simba_music.conditioning.reading.denials import asked_for
from simba_music.conditioning.reading.numbers import with_digits

KNOWN = ("4/4", "3/4", "2/4", "6/8", "5/4", "7/8")  # that pieces of the corpus have
COMPOUND = ("6/8", "9/8", "12/8")  # a beat is a dotted quarter
_SIGN = re.compile(r"(?<![\d/])(?P<count>[2-9]|1\d|2[0-3])\s?/\s?(?P<unit>2|4|8|16)(?![\d/])")
_NUMBERS = "two three four five six seven nine eleven twelve".split()
_VALUES = dict(zip(_NUMBERS, (2, 3, 4, 5, 6, 7, 9, 11, 12), strict=True))
_SPELLED = re.compile(
    rf"\b(?P<count>{'|'.join(_NUMBERS)})[\s-](?P<unit>four|eight)\b(?=\s+(?:time|metre|meter|feel"
    r"|beat|groove|bar)|[,.;]|$)",
    re.IGNORECASE,
)
_WORDS = {
    r"waltz(?:es)?|(?:triple|waltz)\s+(?:time|metre|meter)|in\s+three(?=[,.;]|$)": "3/4",
    r"common\s+time|quadruple\s+(?:time|metre|meter)": "4/4",
    r"cut\s+time|alla\s+breve": "2/2",
    r"jig": "6/8",
}
_NAMED = {re.compile(rf"\b(?:{words})\b", re.IGNORECASE): sign for words, sign in _WORDS.items()}


def named_metres(prompt: str) -> tuple[str, ...]:
    """Signatures that a prompt asks for, in its order, such as "6/8"; "waltz" is "3/4"."""
    text = with_digits(asked_for(prompt))
    found = [(m.start(), f"{m['count']}/{m['unit']}") for m in _SIGN.finditer(text)]
    for match in _SPELLED.finditer(text):
        unit = 4 if match["unit"].lower() == "four" else 8
        found.append((match.start(), f"{_VALUES[match['count'].lower()]}/{unit}"))
    # A sign says more than a word: a waltz in 6/8 is in 6/8.
    found = found or [
        (match.start(), sign) for form, sign in _NAMED.items() for match in form.finditer(text)
    ]
    return tuple(dict.fromkeys(sign for _, sign in sorted(found)))


def named_metre(prompt: str) -> str:
    """The first metre that a prompt asks for and that the corpus has; "" if there is none."""
    return next((sign for sign in named_metres(prompt) if sign in KNOWN), "")


def bar_beats(prompt: str) -> float:
    """Beats a bar of a prompt's metre, four where it names none; in 6/8 two dotted quarters."""
    found = named_metres(prompt)
    if not found:
        return 4.0
    count, unit = (int(part) for part in found[0].split("/"))
    return count / 3 if found[0] in COMPOUND else count * 4 / unit
