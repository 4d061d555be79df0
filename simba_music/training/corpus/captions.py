"""Captions: a crop's facts in the words of musicians, from short tags to a paragraph."""

import functools
import random
from collections.abc import Callable
from typing import Any

from simba_music.training.corpus.tables import genres, instruments, read_table
from simba_music.training.corpus.theory import BRIGHT

Facts = dict[str, Any]
JINGLE_S = 11.0  # a whole piece that is shorter


@functools.cache
def words() -> dict[str, dict[str, Any]]:
    """Synonyms by kind of fact and fact."""
    return read_table("words.toml")


class Speaker:
    """Says facts of one crop, each time in other words; every word is true of the crop."""

    def __init__(self, facts: Facts, rng: random.Random):
        self.facts, self.rng = facts, rng
        self.voices = {v: rng.choice(instruments()[v].names) for v in facts["instruments"]}

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
        """The tempo in words, sometimes in beats a minute."""
        if self.rng.random() < 0.15:
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
        return self.rng.choice(words()["drums"]["words"])

    def key(self) -> str:
        """Key and mode, or only whether it is major or minor."""
        facts = self.facts
        colour = "major" if facts["mode"] in BRIGHT else "minor"
        return self.rng.choice((f"{facts['key']} {facts['mode']}", f"{colour} key"))

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
            return self.rng.choice(kinds["clip"])
        if self.facts["whole"] and self.facts["end_s"] < JINGLE_S and self.rng.random() < 0.4:
            return self.rng.choice(kinds["jingle"])
        return self.rng.choice(kinds["words"][:6])

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


def _tags(s: Speaker) -> str:
    facts, rng = s.facts, s.rng
    tags = [*s.voices.values(), s.music(), s.mood(), s.tempo()]
    if facts["texture"] == "solo" and s.voices:
        tags[0] = tags[0] if tags[0].startswith("solo") else f"solo {tags[0]}"
    if facts["drums"]:
        tags.append(s.drums())
    extra = [s.say("dynamics"), s.say("density"), s.say("register"), s.say("articulation")]
    extra += [s.say("feature", f) for f in facts["features"]] + [s.say("texture"), s.key()]
    extra += [s.sound(), rng.choice(("instrumental", "instrumental music", "mono"))]
    tags += rng.sample([e.removeprefix("a ") for e in extra if e], rng.randint(0, 3))
    rng.shuffle(tags)
    return ", ".join(dict.fromkeys(tags[: rng.randint(3, len(tags))]))


def _short(s: Speaker) -> str:
    """What someone types who types little: some true facts, in two to five words."""
    voice, rng = s.rng.choice(list(s.voices.values()) or [s.drums()]), s.rng
    if s.facts["texture"] == "solo" and s.voices:
        name = voice.removeprefix("solo ")
        return rng.choice((f"solo {name}", f"{s.mood()} {name}", f"{name} solo"))
    return rng.choice(
        (
            f"{s.mood()} {s.music()}",
            f"{s.music()} with {article(voice)}",
            f"{s.mood()} {voice}",
            f"{s.genre()} {s.noun()}",
            f"{s.pace()} {s.music()}",
            f"{s.genre().removesuffix(' beat')} {'beat' if s.facts['drums'] else 'melody'}",
            f"{s.mood()} {s.genre()} {rng.choice(('vibe', 'feeling', 'mood', 'jam'))}",
        )
    )


def _phrase(s: Speaker) -> str:
    facts, rng = s.facts, s.rng
    voices = list(s.voices.values())
    tail = rng.choice(("", f", {s.say('dynamics')}", f", in a {s.key()}", f", {s.sound()}"))
    tail = tail.replace("in a " + facts["key"], "in " + facts["key"])
    if facts["texture"] == "solo" and voices:
        name = voices[0].removeprefix("solo ")
        return f"{s.mood()} solo {name}, {s.music()}, {s.tempo()}{tail}"
    if facts["drums"]:
        voices.append(s.drums())
    feature = [s.say("feature", f) for f in facts["features"]]
    extra = f", {rng.choice(feature)}" if feature and rng.random() < 0.5 else ""
    return f"{s.mood()} {s.music()} with {join(voices)}{extra}, {s.tempo()}{tail}"


def _sentence(s: Speaker) -> str:
    if s.rng.random() < 0.5:
        text = join(s.actions()) + f" in this {s.pace()}, {s.mood()} {s.genre()} {s.noun()}."
        return capital(text)
    opening = article(f"{s.pace()}, {s.mood()} {s.genre()} {s.noun()}")
    verbs = ("with", "featuring", "that features", "that consists of", "that contains")
    return f"{capital(opening)} {s.rng.choice(verbs)} {join(s.players())}."


def _form(s: Speaker) -> str:
    form = s.facts["form"]
    text = words()["form"].get(" ".join(name for name in form if name != "intro"), "")
    if form and form[0] == "intro" and s.rng.random() < 0.5:
        return f"In the beginning there is {words()['form']['intro']}."
    return f"It has {text}, and it comes to an end." if text else ""


def _paragraph(s: Speaker) -> str:
    facts, rng, kind = s.facts, s.rng, s.noun()
    clauses = s.players()
    rng.shuffle(clauses)
    lines = [
        rng.choice(
            (
                f"This is {article(f'{s.mood()} {s.genre()} {kind}')}.",
                f"This {kind} is instrumental music in the {s.genre()} style.",
                f"The {kind} has {article(f'{s.mood()} {s.genre()}')} feel.",
                f"This recording contains {article(f'{s.genre()} {kind}')} that sounds {s.mood()}.",
                f"The {kind} feels {s.mood()}, the style is {s.music()}.",
            )
        )
    ]
    if rng.random() < 0.5:
        lines += [capital(action) + "." for action in s.actions()]
    else:
        lines.append(capital(clauses[0]) + " can be heard.")
        if len(clauses) > 1:
            start = rng.choice(
                (
                    "It is accompanied by ",
                    "In the background, there is ",
                    "You can hear ",
                    "Various other instruments are used: ",
                    "It is followed by ",
                )
            )
            lines.append(start + join(clauses[1:]) + ".")
    lines.append(
        rng.choice(
            (
                f"The tempo is {facts['tempo_word']} at about {facts['tempo']} bpm.",
                f"It is in {facts['key']} {facts['mode']} and in {facts['metre']} time.",
                f"The playing is {s.say('dynamics')} and the texture {s.say('density')}.",
                f"The rhythm is in {facts['metre']}, most notes are {_register(s)}.",
            )
        )
    )
    closing = [
        f"The atmosphere is {s.mood()}.",
        f"The mood is {s.mood()} and {s.mood()}.",
        f"It would be suitable {s.use()}.",
        f"This music could be used {s.use()}.",
        f"It is performed by {_players_word(s)}.",
        f"It was recorded in mono with {s.sound()}.",
        _form(s),
        "It slows down at the end." if facts["slows_down"] else "",
        *(f"It is played with {s.say('feature', f)}." for f in facts["features"]),
    ]
    lines += rng.sample([c for c in closing if c], rng.randint(1, 2))
    return " ".join(lines)


def _players_word(s: Speaker) -> str:
    many = {"solo": "one player", "duo": "a duo", "trio": "a trio", "band": "an ensemble"}
    return many[s.facts["texture"]]


def _register(s: Speaker) -> str:
    where = {"low": "in a low register", "middle": "in the mid register"}
    return where.get(s.facts["register"], "in a high pitched register")


def _request(s: Speaker) -> str:
    """What someone asks for: a use, a part of the facts, or something left out."""
    rng = s.rng
    voices = list(s.voices.values()) or [s.drums()]
    options = [
        f"{s.mood()} {s.music()} {s.use()}",
        f"background music {s.use()}, {s.mood()}",
        f"{s.mood()} music, {s.pace()}, {s.say('dynamics')}",
        f"{article(rng.choice(voices))} in {article(s.genre())} track, {s.mood()} mood",
        f"{s.music()}, {s.key()}, {s.facts['tempo']} bpm",
        f"something {s.mood()} and {s.mood()} with {article(rng.choice(voices))}",
    ]
    denied = s.denial()
    if denied:
        options += [f"{s.mood()} {s.music()}, {denied}", f"{join(voices)}, {denied}"]
    return rng.choice(options)


FORMS: tuple[Callable[[Speaker], str], ...] = (
    _tags,
    _short,
    _phrase,
    _sentence,
    _paragraph,
    _request,
)


def captions(facts: Facts, seed: int) -> list[str]:
    """Six captions of a crop: tags, a few words, a phrase, a sentence, a paragraph, a request.

    The same seed gives the same words.
    """
    rng = random.Random(seed)
    return [form(Speaker(facts, rng)) for form in FORMS]
