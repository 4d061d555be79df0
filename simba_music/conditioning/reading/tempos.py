"""Tempos: the tempo that a prompt asks for, as a number, a note's or a word's."""

import re

from simba_music.conditioning.reading.denials import asked_for, denials
from simba_music.conditioning.reading.numbers import with_digits

SLOWEST_BPM, FASTEST_BPM = 30.0, 300.0
ALIKE = 1.5  # tempos whose ratio is larger contradict each other

_ONE = r"\d{2,3}(?:\.\d+)?"
_NUMBER = rf"(?P<bpm>{_ONE})(?:\s*(?:-|–|—|to|or|\.\.\.?)\s*(?P<to>{_ONE}))?(?![\d.]*\d)"
_MINUTE = r"(?:b\.?\s?p\.?\s?m\b\.?|beats?\s*(?:per|a|each|every|/)\s*min|per\s+minute\b)"
_NOTE = (
    r"(?P<note>(?:dotted[\s-]+)?(?:(?:half|eighth)(?:[\s-]+notes?|(?=\s*=))"
    r"|(?:quarter)(?:[\s-]*notes?)?|minim|crotchet|quaver)"
    r"|[♩♪𝅘𝅥]\.?|𝅗𝅥)"
)
_FORMS = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        rf"(?<![\d.]){_NUMBER}\s*-?\s*{_MINUTE}",
        rf"(?:\b|(?<=\())(?:bpm|tempo|metronome(?:\s+mark(?:ing)?)?|M\.?\s?M\.?)"
        r"(?:\s*(?:marking|of|at|about|around|approx\.?|approximately|ca?\.|is|between|from|\(bpm\)"
        rf"|\(b\.p\.m\.\)|bpm|[:=~≈]))*\s*{_NUMBER}",
        rf"(?:\b|(?<=[\s(,;])|^){_NOTE}\s*(?:=|:|≈|~|at|of)+\s*(?:ca?\.\s*)?{_NUMBER}",
    )
)
_BETWEEN = re.compile(rf"\bbetween\s+({_ONE})\s+(?:and|&)\s+({_ONE})", re.IGNORECASE)
# A beat of the note that is named; in 6/8 and the like a dotted quarter is the beat itself.
_BEATS_A_NOTE = {"half": 2.0, "minim": 2.0, "𝅗𝅥": 2.0, "eighth": 0.5, "quaver": 0.5, "♪": 0.5}
# Italian terms at the middle of their usual range on a metronome; the others at the median of the
# composed pieces that are called so.
_WORDS = {
    r"largo|lento": 52,
    r"slow(?!\s+(?:build|attack|fade|release|decay|swell))|slow-paced|unhurried": 62,
    r"adagio": 68,
    r"andante": 84,
    r"mid-?tempo|(?:medium|moderate)(?:\s|-)tempo|moderately\s+paced": 90,
    r"moderato": 108,
    r"upbeat|lively|brisk": 122,
    r"allegro": 132,
    r"fast(?!\s+(?:attack|fade|release|decay))|fast-paced|quick": 155,
    r"vivace": 160,
    r"presto": 180,
}
_TEMPO_WORDS = {
    re.compile(rf"(?<!\btoo\s)\b(?:{words})\b", re.IGNORECASE): float(bpm)
    for words, bpm in _WORDS.items()
}
_NO_PULSE = re.compile(
    r"\b(?:rubato|free[\s-]+(?:time|tempo|rhythm|metre|meter)|(?:un|non-?)metered|unmetred"
    r"|ambient\s+drones?|drone(?:\s+music)?|droning|senza\s+misura|pulseless|arrhythmic"
    r"|out\s+of\s+time)\b",
    re.IGNORECASE,
)
_ABSENT_PULSE = ("tempo", "pulse", "steady tempo", "fixed tempo", "steady beat", "metre", "meter")


def _beats(match: re.Match[str]) -> float:
    """Beats a minute of one place that names them."""
    bpm = float(match["bpm"])
    if match["to"] and float(match["to"]) > bpm:
        bpm = (bpm + float(match["to"])) / 2
    note = (match.groupdict().get("note") or "").lower()
    if note.startswith("dotted"):
        return bpm * (3.0 if "half" in note or "minim" in note else 1.0)
    named = (beats for word, beats in _BEATS_A_NOTE.items() if note.startswith(word))
    return bpm * next(named, 1.0)


def tempo_words(prompt: str) -> tuple[float, ...]:
    """Tempos of the words for tempo that a prompt asks for, in its order."""
    asked = asked_for(prompt)
    said = sorted(
        (match.start(), bpm)
        for words, bpm in _TEMPO_WORDS.items()
        for match in words.finditer(asked)
    )
    return tuple(bpm for _, bpm in said)


def named_tempo(prompt: str) -> float:
    """The tempo that a prompt asks for, in beats a minute; 0 if it names none.

    The first number counts: "96 bpm", "around 96 beats per minute", "tempo 96", "♩ = 96",
    "metronome at 96", and of "120-130 bpm" the middle. Without a number the first word does, such
    as "slow" or "allegro", unless another contradicts it. What is denied does not count.
    """
    text = _BETWEEN.sub(r"\1-\2", with_digits(asked_for(prompt)))
    found = [match for form in _FORMS for match in form.finditer(text)]
    for match in sorted(found, key=lambda match: (match.start("bpm"), match.start())):
        bpm = _beats(match)
        if SLOWEST_BPM <= bpm <= FASTEST_BPM:
            return bpm
    tempos = tempo_words(prompt)
    return tempos[0] if tempos and max(tempos) <= ALIKE * min(tempos) else 0.0


def has_no_pulse(prompt: str) -> bool:
    """Whether a prompt asks for music without a tempo: "rubato", "free time", "ambient drone"."""
    refused = {denial.item.lower() for denial in denials(prompt)}
    return bool(_NO_PULSE.search(asked_for(prompt)) or refused.intersection(_ABSENT_PULSE))
