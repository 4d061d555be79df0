"""Numbers: those that a text spells out, as digits."""

import re

_ONES = dict(
    zip(
        "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
        "sixteen seventeen eighteen nineteen".split(),
        range(1, 20),
        strict=True,
    )
)
_TENS = dict(
    zip(
        "twenty thirty forty fifty sixty seventy eighty ninety".split(),
        range(20, 100, 10),
        strict=True,
    )
)
_WORD = "|".join((*_TENS, *sorted(_ONES, key=len, reverse=True)))
# Only what is as large as a tempo may be: "one", "two" and "four on the floor" stay words.
_SPELLED = re.compile(
    rf"\b(?:(?P<hundreds>an?|one|two)[\s-]+hundred(?:[\s-]+(?:and[\s-]+)?"
    rf"(?P<rest>(?:{_WORD})(?:[\s-]+(?:{_WORD}))?))?"
    rf"|(?P<tens>{'|'.join(_TENS)})(?:[\s-]+(?P<ones>{'|'.join(_ONES)}))?)\b",
    re.IGNORECASE,
)


def _value(words: str) -> int:
    return sum(_TENS.get(word, _ONES.get(word, 0)) for word in re.split(r"[\s-]+", words.lower()))


def _digits(match: re.Match[str]) -> str:
    if match["hundreds"]:
        found = 200 if match["hundreds"].lower() == "two" else 100
        found += _value(match["rest"] or "")
    else:
        found = _value(f"{match['tens']} {match['ones'] or ''}".strip())
    return str(found)


def with_digits(text: str) -> str:
    """The text with its spelled numbers from twenty on as digits: "ninety-six" is 96."""
    return _SPELLED.sub(_digits, text)
