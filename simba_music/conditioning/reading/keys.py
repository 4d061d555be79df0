"""Keys: the key that a prompt asks for, or the mode alone that it or its mood names."""

import random
import re

from simba_music.conditioning.reading.denials import asked_for
from simba_music.conditioning.reading.scales import NOTES, Key

_SAME = {
    "ionian": "major",
    "lydian": "major",
    "maj": "major",
    "min": "minor",
    "locrian": "phrygian",
    "aeolian": "minor",
    "major pentatonic": "pentatonic",
}
_LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_ACCIDENTALS = {"#": 1, "♯": 1, "sharp": 1, "b": -1, "♭": -1, "flat": -1}
_TONIC = (
    r"(?<![\w#♯♭'])(?P<letter>[A-Ga-g])"
    r"(?:\s?(?P<sign>[#♯♭]|b(?=m?\b|maj|min))|[\s-]?(?P<word>(?i:sharp|flat)))?"
)
_MODE = (
    r"(?i:(?:natural|harmonic|melodic)\s+)?"
    r"(?P<mode>(?i:(?:major|minor)\s+pentatonic|major|minor|pentatonic|dorian|mixolydian|phrygian"
    r"|ionian|aeolian|lydian|locrian|maj|min))\b"
)
_NO_INTERVAL = (
    r"(?!\s*-?(?i:seconds?|thirds?|sixths?|sevenths?|ninths?|chords?\b"
    r"|(?:[679]|11|13)(?![\d/]|\s*(?:bpm|b\.))))"
)
_NAMED = re.compile(rf"{_TONIC}(?:[\s-]+|(?=(?i:maj|min))){_MODE}{_NO_INTERVAL}")
_SHORT = re.compile(
    rf"\b(?i:in|key\s+of|key\s+is|key\s*[:=-])\s*(?<=[\s:=-])(?:the\s+key\s+of\s+)?{_TONIC}"
    r"(?P<minor>m|min)?(?=\s*(?:[,.;:!?)/|]|$|-\s|\d{2}|(?:at|with)\b))"
)
_SYMBOL = r"[A-G][#♯b♭]?(?:m|min|maj)?\d*"
_TAG = re.compile(  # a symbol of its own among tags, or beside a number: "122 Am"
    rf"(?:^|[,;/|(]|(?i:bpm)\b|\b\d{{2,3}})\s*{_TONIC}(?P<minor>m)\b"
    rf"(?=\s*(?:$|[,;/|).]|\d{{2,3}}\b))(?!\s*[,|/-]\s*{_SYMBOL}\b)"
)
_CHORD_BEFORE = re.compile(rf"(?<!\w){_SYMBOL}\s*[,|/>→–—-]+\s*$")  # then it is the next chord
_AFTER_KEY = re.compile(r"\s*(?:$|[,.;:!?)/|]|\d|(?:and|at|with)\b)")
_KIND = re.compile(r"\s*-?(?:keys?|modes?|scales?|tonality|mood)\b", re.IGNORECASE)
_ALONE = re.compile(rf"\b(?!(?i:maj|min)\b){_MODE}{_NO_INTERVAL}")
_MOODS = {  # of high and of low valence (Russell 1980)
    "major": "happy|happily|cheerful|cheery|bright|joyful|joyous|jolly|merry|playful|festive|sunny"
    "|positive|uplifting|pleasant|buoyant|triumphant|carefree|hopeful|celebratory|relaxed|relaxing"
    "|peaceful",
    "minor": "sad|sadness|sorrowful|mournful|melancholic|melancholy|melancholia|dark|gloomy|moody"
    "|brooding|tense|sinister|eerie|haunting|spooky|scary|ominous|menacing|tragic|grieving|wistful"
    "|bittersweet|pensive|mysterious|suspenseful",
}
_MOOD = re.compile(
    r"\b(?:" + "|".join(rf"(?P<{mode}>{words})" for mode, words in _MOODS.items()) + r")\b",
    re.IGNORECASE,
)


def _tonic(match: re.Match[str]) -> int:
    shift = _ACCIDENTALS.get((match["sign"] or match["word"] or "").lower(), 0)
    return (_LETTERS[match["letter"].upper()] + shift) % 12


def _is_article(match: re.Match[str]) -> bool:
    """Whether "a minor" is one of many: "a minor blues", "A minor key"; "A minor" is a key."""
    if match["letter"] not in "Aa" or match["sign"] or match["word"]:
        return False
    if match["letter"] == "a":  # "sad piano in a minor" ends there, "in a minor key" does not
        return not _AFTER_KEY.match(match.string, match.end())
    return bool(_KIND.match(match.string, match.end()))


def _scale(match: re.Match[str]) -> str:
    said = " ".join(match["mode"].lower().split())
    return _SAME.get(said, said)


def full_key(prompt: str) -> Key | None:
    """The key, tonic and all, that a prompt asks for, the first one; None if it names none.

    "A minor", "f# dorian", "in E flat major", "key of G", "Cmaj", and "Am" as a tag of its own.
    """
    text = asked_for(prompt)
    for match in _NAMED.finditer(text):
        if not _is_article(match):
            return Key(_tonic(match), _scale(match))
    for match in _SHORT.finditer(text):
        if match["letter"].isupper():
            return Key(_tonic(match), "minor" if match["minor"] else "major")
    for match in _TAG.finditer(text):
        chord = _CHORD_BEFORE.search(text[: match.start("letter")])
        if match["letter"].isupper() and chord is None:
            return Key(_tonic(match), "minor")
    return None


def named_mode(prompt: str) -> str | None:
    """The scale that a prompt asks for without a tonic, "minor key" or by a mood; None if none.

    None too where it names several.
    """
    text = asked_for(prompt)
    modes = {_scale(match) for match in _ALONE.finditer(text)}
    modes = modes or {str(match.lastgroup) for match in _MOOD.finditer(text)}
    return modes.pop() if len(modes) == 1 else None


def named_key(prompt: str, seed: int) -> Key | None:
    """The key that a prompt asks for; `seed` draws the tonic if it names a mode alone.

    The first key counts. Without one a mode does, such as "minor key" or "major", unless it names
    several, and without a mode a mood, such as "happy" or "sad", unless there are both. None if
    there is none of these.
    """
    found = full_key(prompt)
    if found is not None:
        return found
    mode = named_mode(prompt)
    return None if mode is None else Key(drawn_tonic(seed), mode)


def drawn_tonic(seed: int) -> int:
    """The pitch class that a seed draws, 0-11: the same for every mode."""
    return random.Random(seed).randrange(len(NOTES))
