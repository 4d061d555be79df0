"""What cannot be done: voices, words, languages, artists, metres, sounds and scales in a prompt."""

import functools
import re
from collections.abc import Callable

from simba_music.conditioning.reading.denials import asked_for
from simba_music.conditioning.reading.metres import KNOWN, named_metres
from simba_music.conditioning.reading.styles import any_of, named_styles, word_lists

VOCALS, LYRICS = "vocals", "lyrics"
_VOCALS = re.compile(
    r"\b(?:vocals?|vocalists?|singers?|singing(?!\s+bowls?)|sings?|sung|voices?|vocoders?|rap(?:s|ped"
    r"|pers?|ping)?|a[\s-]?cappella|acapella|beat[\s-]?box(?:ing|er)?|humming|scat(?:ting|\s+singing)"
    r"|yodel\w*|croon\w*|auto-?tuned?|spoken\s+word|narrat(?:ion|or|ed|ing)|chant(?:s|ing|ed)?"
    r"|scream(?:ing|ed|s)?(?!\s+(?:guitar|lead|solo|synth))|growl(?:ing|s|ed)?(?=\s+(?:vocals?|voice))"
    r"|speech|talking|dialogue|voice-?overs?|toasting|ad-?libs?)\b",
    re.IGNORECASE,
)
_LYRICS = re.compile(r"\b(?:lyrics?|words\s+about|verses?\s+about|sung\s+words)\b", re.IGNORECASE)
_SUNG = r"(?:lyrics?|vocals?|singing|sung|sings?|raps?|rapping|words|singers?|voices?|vocalists?)"
_SCALE = re.compile(
    r"\b(?P<scale>lydian|locrian|phrygian\s+dominant|double\s+harmonic|whole[\s-]tone|octatonic"
    r"|hungarian\s+minor|harmonic\s+major|microtonal|quarter[\s-]tones?)\b",
    re.IGNORECASE,
)
_PROPER = r"[A-ZÀ-Ý][\w'’.À-ÿ/-]*"
_NAME = rf"(?P<name>(?:[Tt]he\s+)?{_PROPER}(?:\s+(?:(?:of|and|&)\s+)?{_PROPER})*)"
_STYLE_OF = re.compile(
    r"(?:\b(?i:in\s+the\s+(?:style|manner|vein|spirit|mould|mold)\s+of|sound(?:s|ing)?\s+like"
    r"|similar\s+to|something\s+like|inspired\s+by|influenced\s+by|reminiscent\s+of|cover\s+of"
    r"|covered\s+by|tribute\s+to|remix\s+of|performed\s+by|composed\s+by|written\s+by)|\b(?i:a\s+la)"
    rf"|à\s+la|À\s+la)\s+{_NAME}"
)
_NOT_ABOUT_SOUND = re.compile(
    r"\b(?:about|like|as\s+if|evok\w+|imagin\w+|remind\w*|feel(?:s|ing)?|inspired|titled|called"
    r"|for\s+an?|mood|vibes?|scene|purple|dance\s+crowd|for\s+the)\b",
    re.IGNORECASE,
)


@functools.cache
def _sounds() -> tuple[re.Pattern[str], dict[str, str]]:
    of = {
        word: name for name, words in word_lists("sounds.toml")["sounds"].items() for word in words
    }
    return re.compile(rf"(?<!\w)({any_of(of)})(?!\w)", re.IGNORECASE), of


@functools.cache
def _languages() -> re.Pattern[str]:
    names = word_lists("sounds.toml")["languages"]["names"]
    one = any_of(names)
    return re.compile(
        rf"\b{_SUNG}\W+(?:\w+\W+){{0,2}}?in\s+(?P<a>{one})\b|\b(?P<b>{one})\s+(?:\w+\s+)?{_SUNG}\b"
        rf"|\blanguage\s*[:=]?\s*(?P<c>{one})\b|\bin\s+(?P<d>{one})(?=\s*(?:[,.;!?]|$))",
        re.IGNORECASE,
    )


@functools.cache
def _artists() -> tuple[re.Pattern[str], dict[str, str]]:
    names = word_lists("sounds.toml")["artists"]["names"]
    of = {name.lower(): name for name in names}
    return re.compile(rf"(?<!\w)({any_of(names)})(?!\w)", re.IGNORECASE), of


def _named_artists(text: str) -> list[str]:
    pattern, of = _artists()
    found = {m.start(): of[re.sub(r"\s+", " ", m[1].lower())] for m in pattern.finditer(text)}
    for match in _STYLE_OF.finditer(text):
        name = re.sub(r"^(?:the|The)\s+", "", match["name"]).rstrip(".")
        place = match.start("name") + len(match["name"]) - len(match["name"].lstrip())
        known = any(place <= start < match.end() for start in found)
        # "in the style of Bossa Nova" names no one.
        if not known and not named_styles(name) and len(name) > 1:
            found[match.start("name")] = name
    return [found[at] for at in sorted(found)]


def _named_sounds(text: str) -> list[str]:
    pattern, of = _sounds()
    found = list[str]()
    for match in pattern.finditer(text):
        begin = max(text.rfind(mark, 0, match.start()) for mark in ",.;:(")
        before = text[begin + 1 : match.start()]
        said = re.search(r"\b(?:sounds?|noises?|recordings?)\s+of\b", before, re.IGNORECASE)
        if said or not _NOT_ABOUT_SOUND.search(before):
            found.append(of[re.sub(r"[\s-]+", " ", match[1].lower())])
    return found


def voice_of(item: str) -> str:
    """What a denial refuses: "vocals", "lyrics", or "" for anything else."""
    return VOCALS if _VOCALS.search(item) else LYRICS if _LYRICS.search(item) else ""


def named_impossible(
    prompt: str, bare: Callable[[str], str], unknown: Callable[[str], tuple[str, ...]]
) -> tuple[str, ...]:
    """What a prompt asks for and no model here can do, in words; page, API and CLI say it.

    Args:
        prompt: in words.
        bare: a text without the names of instruments: "wordless choir" asks for no words.
        unknown: instruments that a text names and no piece of the corpus has.
    """
    asked = asked_for(prompt)
    text, found = bare(asked), list[str]()
    if _VOCALS.search(text):
        found.append(VOCALS)
    if _LYRICS.search(text):
        found.append(LYRICS)
    for match in _languages().finditer(asked):
        name = next(filter(None, match.groupdict().values()))
        found.append(f"language: {name.title()}")
    found += [f"artist: {name}" for name in _named_artists(asked)]
    found += [f"instrument: {name}" for name in unknown(asked)]
    found += [f"metre: {sign}" for sign in named_metres(prompt) if sign not in KNOWN]
    found += [f"scale: {match['scale'].lower()}" for match in _SCALE.finditer(asked)]
    found += [f"sound: {name}" for name in _named_sounds(text)]
    return tuple(dict.fromkeys(found))
