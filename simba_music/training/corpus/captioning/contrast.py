"""Contrasts: two captions of a crop that differ in one fact, of which one is true."""

import random
from dataclasses import dataclass

from simba_music.training.corpus.captioning.speaker import Facts, Speaker, article, words
from simba_music.training.corpus.tables import instruments

KINDS = ("instrument", "drums", "tempo", "mood")
# What no listener would take for each other.
FAR_TEMPO = {"slow": ("upbeat", "fast"), "medium": (), "upbeat": ("slow",), "fast": ("slow",)}
FAR_MOOD = {
    "calm": ("tense", "joyful"),
    "relaxed": ("tense",),
    "happy": ("sad", "tense"),
    "joyful": ("sad", "calm"),
    "sad": ("joyful", "happy"),
    "melancholic": ("joyful",),
    "moody": ("happy",),
    "tense": ("calm", "relaxed"),
}


@dataclass(frozen=True)
class Contrast:
    """A kind of fact, a caption that is true and one in which that fact is false."""

    kind: str
    true: str
    false: str


def contrasts(facts: Facts, rng: random.Random) -> list[Contrast]:
    """A contrast of every kind that the crop's facts allow; all else in both is the same."""
    speaker = Speaker(facts, rng)
    music = speaker.music()
    found = [Contrast("drums", *_drums(facts, music, rng))]
    absent = [
        name
        for name, kind in instruments().items()
        if kind.family in facts["silent"] and name not in facts["instruments"]
    ]
    if facts["instruments"] and absent:
        own = speaker.voices[rng.choice(facts["instruments"])]
        other = rng.choice(instruments()[rng.choice(absent)].names)
        found.append(
            Contrast("instrument", *(f"{music} with {article(name)}" for name in (own, other)))
        )
    for kind, own, far in (
        ("tempo", facts["tempo_word"], FAR_TEMPO),
        ("mood", facts["mood"], FAR_MOOD),
    ):
        if far.get(own):
            names = (speaker.say(kind, own), speaker.say(kind, rng.choice(far[own])))
            found.append(Contrast(kind, *(f"{music}, {name}" for name in names)))
    return found


def _drums(facts: Facts, music: str, rng: random.Random) -> tuple[str, str]:
    """(true, false) about whether there are drums."""
    there = f"{music} with {rng.choice(words()['drums']['words'])}"
    denied = f"{music}, {rng.choice(words()['family']['drums'])}"
    return (there, denied) if facts["drums"] else (denied, there)
