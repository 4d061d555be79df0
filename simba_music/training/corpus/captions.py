"""Captions: a crop's facts in the words of musicians, from short tags to full sentences."""

import random
from typing import Any

from simba_music.training.corpus.genres import GENRES
from simba_music.training.corpus.instruments import INSTRUMENTS

SYNONYMS: dict[str, tuple[str, ...]] = {
    "calm": ("calm", "peaceful", "relaxing", "gentle"),
    "sad": ("sad", "sorrowful", "mournful", "wistful"),
    "happy": ("happy", "cheerful", "bright"),
    "melancholic": ("melancholic", "moody", "bittersweet"),
    "joyful": ("joyful", "energetic", "lively"),
    "tense": ("tense", "dark", "intense", "driving"),
    "slow": ("slow", "slow tempo", "unhurried"),
    "mid-tempo": ("mid-tempo", "medium tempo", "moderate tempo"),
    "upbeat": ("upbeat", "upbeat tempo", "brisk"),
    "fast": ("fast", "fast tempo", "quick"),
    "soft": ("soft", "quiet", "delicate"),
    "loud": ("loud", "powerful", "forceful"),
    "sparse": ("sparse", "minimal"),
    "busy": ("busy", "dense", "flowing"),
    "low": ("low register", "deep"),
    "high": ("high register", "high-pitched"),
}
DRUM_WORDS = ("drums", "drum kit", "a drum beat", "percussion")


def _say(rng: random.Random, fact: str) -> str:
    return rng.choice(SYNONYMS.get(fact, (fact,)))


def _voice(rng: random.Random, name: str) -> str:
    return rng.choice(INSTRUMENTS[name].names)


def _article(word: str) -> str:
    """The noun with its article; plurals and sections take none."""
    if word.endswith(("s", "pipes")):
        return word
    return ("an " if word[0].lower() in "aeiou8" else "a ") + word


def _join(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def _tags(rng: random.Random, facts: dict[str, Any]) -> str:
    voices = [_voice(rng, v) for v in facts["instruments"]]
    if facts["texture"] == "solo":
        voices = [f"solo {voices[0]}"]
    tags = [
        *voices,
        rng.choice(GENRES[facts["genre"]].names),
        _say(rng, facts["mood"]),
        _say(rng, facts["tempo_word"]),
    ]
    if facts["drums"]:
        tags.append("drums")
    extra = [
        _say(rng, facts[k]) for k in ("dynamics", "density", "register") if facts[k] in SYNONYMS
    ]
    tags += rng.sample(extra, min(len(extra), rng.randint(0, 2)))
    if rng.random() < 0.3:
        tags.append(rng.choice((f"{facts['tempo']} bpm", facts["mode"], facts["metre"])))
    rng.shuffle(tags)
    return ", ".join(tags[: rng.randint(3, len(tags))] if len(tags) > 3 else tags)


def _phrase(rng: random.Random, facts: dict[str, Any]) -> str:
    voices = [_voice(rng, v) for v in facts["instruments"]]
    mood, tempo = _say(rng, facts["mood"]), _say(rng, facts["tempo_word"])
    if facts["texture"] == "solo":
        return f"{mood} solo {voices[0]}, {tempo}" + rng.choice(
            (
                "",
                f", {_say(rng, facts['dynamics'])}",
                f", {rng.choice(GENRES[facts['genre']].names)}",
            )
        )
    genre = rng.choice(GENRES[facts["genre"]].names)
    drums = rng.choice((" and drums", " over drums", " with a drum beat")) if facts["drums"] else ""
    return f"{mood} {genre} with {_join(voices)}{drums}, {tempo}"


def _sentence(rng: random.Random, facts: dict[str, Any]) -> str:
    genre, mood = rng.choice(GENRES[facts["genre"]].names), _say(rng, facts["mood"])
    tempo = facts["tempo_word"]
    kind = {"solo": "piece", "duo": "duet", "ensemble": "track"}[facts["texture"]]
    text = f"{_article(tempo).capitalize()}, {mood} {genre} {kind}"
    roles = facts["roles"]
    parts = []
    if "melody" in roles:
        doing = rng.choice(("playing the melody", "carrying the tune", "taking the lead"))
        parts.append(f"{_article(_voice(rng, roles['melody']))} {doing}")
    if "chords" in roles:
        doing = rng.choice(("playing the chords", "accompanying", "filling in the harmony"))
        parts.append(f"{_article(_voice(rng, roles['chords']))} {doing}")
    if "bass" in roles:
        parts.append(f"{_article(_voice(rng, roles['bass']))} holding the bass line")
    if "drums" in roles:
        parts.append(f"{rng.choice(DRUM_WORDS)} keeping time")
    text += " with " + _join(parts) + "."
    closing = (
        f" It is in {facts['key']} {facts['mode']}, about {facts['tempo']} bpm.",
        f" The mood is {_say(rng, facts['mood'])}, the playing {_say(rng, facts['dynamics'])}.",
        f" The texture is {_say(rng, facts['density'])}, in {facts['metre']}.",
        "",
    )
    return text + rng.choice(closing)


def captions(facts: dict[str, Any], seed: int) -> list[str]:
    """Three captions of a crop: tags, a phrase and a sentence; the same seed, the same words."""
    rng = random.Random(seed)
    return [_tags(rng, facts), _phrase(rng, facts), _sentence(rng, facts)]
