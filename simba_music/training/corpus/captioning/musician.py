"""Musician: a crop's facts in the sentences with which musicians describe recordings.

The forms are those of rows 1 to 600 of MusicCaps' captions without voices (Agostinelli et al. 2023,
arXiv 2301.11325): "The low quality recording features ...", "The song is an instrumental. The tempo
is ...", "This song may be playing ...". Their words are ours; none of those captions stands here.
"""

import random
from collections.abc import Callable

from simba_music.training.corpus.captioning.speaker import (
    Facts,
    Speaker,
    article,
    capital,
    join,
)

# Sentences about the sound, of recordings that are not clean.
_POOR = (
    "The recording is of poor audio quality.",
    "The audio quality is poor.",
    "This recording is of poor quality.",
)
_TEMPO = {"slow": "slow", "medium": "medium", "upbeat": "medium fast", "fast": "fast"}


def _moods(s: Speaker, most: int) -> str:
    """Up to so many moods, each once: emotional, passionate and calm."""
    found = dict.fromkeys(s.mood() for _ in range(s.rng.randint(2, most)))
    return join(list(found))


def _voices(s: Speaker) -> list[str]:
    """Who plays, the drums last, each with its article."""
    named = [article(voice) for voice in s.voices.values()]
    return [*named, s.drums()] if s.facts["drums"] else named


def _poor(s: Speaker) -> list[str]:
    return [s.rng.choice(_POOR)] if s.facts["quality"] != "clean" else []


def _use(s: Speaker) -> str:
    lines = ("This song may be playing in the background, {}.", "It could be used {}.",
             "This piece could be used {}.", "It would fit well {}.")  # fmt: skip
    return s.rng.choice(lines).format(s.use())


def _features(s: Speaker) -> list[str]:
    """The low quality recording features ... It sounds ..."""
    quality = "low quality " if s.facts["quality"] != "clean" else ""
    what = article(f"{s.genre()} {s.rng.choice(('song', 'instrumental', 'piece'))}")
    players = join(s.players())
    lines = [f"The {quality}recording features {what} that consists of {players}."]
    return [*lines, f"It sounds {_moods(s, 4)}."]


def _instrumental(s: Speaker) -> list[str]:
    """The song is an instrumental. The tempo is ... The song is ..."""
    tempo, kind = _TEMPO[s.facts["tempo_word"]], s.rng.choice(("song", "music"))
    opening = s.rng.choice((f"The {kind} is an instrumental.", "This music is instrumental."))
    lines = [opening, f"The tempo is {tempo} with {join(s.players())}."]
    return [*lines, f"The {kind} is {_moods(s, 3)}.", *_poor(s)]


def _someone(s: Speaker) -> list[str]:
    """This audio contains someone playing ..., or: Someone is playing ..."""
    first, *others = _voices(Speaker(s.facts, s.rng))  # no players' names: someone plays these
    start = s.rng.choice(("This audio contains someone playing", "Someone is playing",
                          "This song contains someone playing"))  # fmt: skip
    lines = [f"{start} {first}."]
    if others:
        also = s.rng.choice(("can be heard too", "can be heard in the background"))
        lines.append(f"{capital(join(others))} {also}.")
    return [*lines, *_poor(s), _use(s)]


def _piece(s: Speaker) -> list[str]:
    """This is a ... music piece. There is ... playing ... The atmosphere is ..."""
    lines = [f"This is {article(s.music().removesuffix(' music'))} music piece."]
    for role, name in s.facts["roles"].items():
        if role == "drums":
            lines.append(f"The rhythmic background consists of {s.drums()}.")
        else:
            lines.append(f"There is {article(s.voices[name])} {s.say('role', role)}.")
    return [*lines, f"The atmosphere is {_moods(s, 2)}.", _use(s)]


def _plays(s: Speaker) -> list[str]:
    """An acoustic guitar is playing ..., then what stands out, and what it may be for."""
    lines = [capital(action) + "." for action in s.actions()]
    if s.facts["texture"] == "solo":
        lines.append("There are no other instruments.")
    mood = f"The mood of this {s.rng.choice(('song', 'piece'))} is {_moods(s, 2)}."
    return [*lines, mood, *_poor(s), _use(s)]


FORMS: tuple[Callable[[Speaker], list[str]], ...] = (
    _features,
    _instrumental,
    _someone,
    _piece,
    _plays,
)


def musician(facts: Facts, seed: int) -> str:
    """One caption of a crop as a musician would write it; the same seed gives the same words."""
    rng = random.Random(f"musician{seed}")
    return " ".join(rng.choice(FORMS)(Speaker(facts, rng, wide=True)))
