"""Speaker: says facts of a crop in words drawn from `data/words.toml`, with English grammar."""

import functools
import random
from itertools import pairwise
from typing import Any

from simba_music.conditioning.reading.scales import NOTES, Key
from simba_music.training.corpus.captioning.progression import numerals, progression
from simba_music.training.corpus.composing.theory import BRIGHT
from simba_music.training.corpus.tables import genres, instruments, read_table

Facts = dict[str, Any]
JINGLE_S = 11.0  # a whole piece that is shorter
BY_NUMERALS = 0.35  # of the progressions that fit their key, named by roman numerals


@functools.cache
def words() -> dict[str, dict[str, Any]]:
    """Synonyms by kind of fact and fact."""
    return read_table("words.toml")


class Speaker:
    """Says facts of one crop, each time in other words; every word is true of the crop.

    `wide` takes all names of an instrument; the benchmark's prompts keep to those that they were
    frozen with.
    """

    def __init__(self, facts: Facts, rng: random.Random, wide: bool = False):
        self.facts, self.rng = facts, rng
        table = instruments()
        self.voices = {
            v: rng.choice(table[v].every_name if wide else table[v].names)
            for v in facts["instruments"]
        }

    def say(self, kind: str, fact: str | None = None) -> str:
        """A word for a fact of a kind; empty if there is none."""
        choices = words()[kind].get(self.facts[kind] if fact is None else fact, ())
        return self.rng.choice(choices) if choices else ""

    def genre(self) -> str:
        """A name of the genre, to stand before a noun."""
        return self.rng.choice(genres()[self.facts["genre"]].names)

    def music(self) -> str:
        """A name of the genre, to stand alone."""
        name = self.genre()
        alone = name not in words()["piece"]["adjectives"] and self.rng.random() < 0.6
        return name if alone or name.endswith(("music", "score", "track")) else f"{name} music"

    def mood(self) -> str:
        """A mood: by valence and energy, or one the genre is known for at that energy."""
        style = genres()[self.facts["genre"]]
        if self.rng.random() < 0.4:
            own = style.moods_high if self.facts["energy"] >= 2 else style.moods_low
            return self.rng.choice(own)
        return self.say("mood")

    def tempo(self) -> str:
        """The tempo in words, or, as prompts do, in beats a minute."""
        if self.rng.random() < 0.5:
            form = self.rng.choice(("{} bpm", "{} BPM", "around {} beats per minute"))
            return form.format(self.facts["tempo"])
        return self.say("tempo", self.facts["tempo_word"])

    def pace(self) -> str:
        """The tempo as an adjective."""
        return self.say("pace", self.facts["tempo_word"])

    def drums(self) -> str:
        """The drums, or some of the percussion in detail."""
        found = self.facts["percussion"]
        if found and self.rng.random() < 0.5:
            some = self.rng.sample(found, min(len(found), self.rng.randint(1, 3)))
            return join([self.say("percussion", name) for name in some])
        made: str = self.rng.choice(words()["drums"]["words"])
        return made

    def key(self) -> str:
        """Key and mode, or only whether it is major or minor."""
        facts = self.facts
        colour = "major" if facts["mode"] in BRIGHT else "minor"
        return self.rng.choice((f"{facts['key']} {facts['mode']}", f"{colour} key"))

    def progression(self, place: str) -> str:
        """The chords of the first cycle, in words for a place: a tag, an aside, a sentence.

        Symbols, or numerals where they fit the key; empty if there are none to name.
        """
        chords, facts = progression(self.facts), self.facts
        if not chords:
            return ""
        key = Key(NOTES.index(facts["key"]), facts["mode"]) if "key" in facts else None
        degrees = numerals(chords, key) if key else ()
        if key and degrees and self.rng.random() < BY_NUMERALS:
            short = key.scale == "major" and self.rng.random() < 0.5
            where = str(key).removesuffix(" major") if short else str(key)
            return self.say("numerals", place).format("-".join(degrees), where)
        listed = [sign.join(chords) for sign in ("-", " - ", " | ")]
        if all(before != after for before, after in pairwise(chords)):
            listed += [" ".join(chords), join(list(chords))] * 2
        return self.say("progression", place).format(self.rng.choice(listed))

    def sound(self) -> str:
        """One thing about the recording, as a noun; rarely the ordinary."""
        facts = self.facts
        options = [self.say("space"), self.say("quality")]
        if facts["quality"] != "clean":
            options = [self.say("quality")]
        if facts["tone"] != "neutral":
            options.append(f"a {self.say('tone')} sound")
        return self.rng.choice(options)

    def noun(self) -> str:
        """What the crop is: a song, a piece; an excerpt, where it is not the whole."""
        kinds = words()["piece"]
        if not self.facts["whole"] and self.rng.random() < 0.3:
            return str(self.rng.choice(kinds["clip"]))
        if self.facts["whole"] and self.facts["end_s"] < JINGLE_S and self.rng.random() < 0.4:
            return str(self.rng.choice(kinds["jingle"]))
        return str(self.rng.choice(kinds["words"][:6]))

    def denial(self) -> str:
        """Something that is not there, strictly; empty if there is nothing to deny."""
        names = [n for n in self.facts["silent"] if n in words()["family"]]
        return self.say("family", self.rng.choice(names)) if names else ""

    def use(self) -> str:
        """What it could be used for."""
        return self.rng.choice(genres()[self.facts["genre"]].uses)

    def players(self) -> list[str]:
        """Who does what, one clause a role."""
        clauses = []
        for role, name in self.facts["roles"].items():
            if role == "drums":
                doing = self.rng.choice(words()["drums"]["playing"])
                clauses.append(f"{self.drums()} {doing}")
            else:
                clauses.append(f"{article(self.voices[name])} {self.say('role', role)}")
        return clauses

    def actions(self) -> list[str]:
        """Who does what, one sentence without its full stop a role."""
        clauses = []
        for role, name in self.facts["roles"].items():
            player = self.drums() if role == "drums" else article(self.voices[name])
            one, several = self.rng.choice(words()["action"][role])
            many = is_plural(player) or " and " in player
            clauses.append(f"{player} {several if many else one}")
        return clauses


def join(parts: list[str]) -> str:
    """A list in English."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def is_plural(noun: str) -> bool:
    """Whether a noun phrase of ours is plural."""
    last = noun.split()[-1]
    return last.endswith("s") and not last.endswith(("ss", "bass", "brass"))


def article(noun: str) -> str:
    """The noun with its article, if it takes one."""
    if is_plural(noun) or noun.split()[0].lower() in ("a", "an", "one", "two", "no", "the"):
        return noun
    if noun.endswith(("brass", "percussion", "drumming", "clapping", "music")):
        return noun
    vowel = noun[0].lower() in "aeiou8" and not noun.lower().startswith(("uni", "uk", "eu"))
    return ("an " if vowel else "a ") + noun


def capital(text: str) -> str:
    """The text with a capital first letter."""
    return text[0].upper() + text[1:]
