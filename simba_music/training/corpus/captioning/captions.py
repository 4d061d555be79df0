"""Captions: a crop's facts in the words of musicians, from short tags to a paragraph."""

import random
from collections.abc import Callable

from simba_music.training.corpus.captioning.speaker import (
    Facts,
    Speaker,
    article,
    capital,
    join,
    words,
)

ASIDE = 0.5  # how often a phrase or a list of tags says one of them


def _asides(s: Speaker) -> list[str]:
    """Facts that people ask for and that genre and instruments do not give away."""
    facts = s.facts
    known = [s.key()]
    known += [s.say("density")] if facts["density"] != "moderate" else []
    known += [s.say("dynamics")] if facts["dynamics"] != "medium" else []
    known += [s.say("family", "drums")] if "drums" in facts["silent"] else []
    return [fact for fact in known if s.rng.random() < ASIDE]


def _tags(s: Speaker) -> str:
    facts, rng = s.facts, s.rng
    tags = [*s.voices.values(), s.music(), s.mood(), s.tempo()]
    if facts["texture"] == "solo" and s.voices:
        tags[0] = tags[0] if tags[0].startswith("solo") else f"solo {tags[0]}"
    if facts["drums"]:
        tags.append(s.drums())
    extra = [s.say("register"), s.say("articulation"), s.say("texture")]
    extra += [s.say("feature", f) for f in facts["features"]]
    extra += [s.sound(), rng.choice(("instrumental", "instrumental music", "mono"))]
    tags += rng.sample([e.removeprefix("a ") for e in extra if e], rng.randint(0, 3))
    rng.shuffle(tags)
    tags = tags[: rng.randint(3, len(tags))] + _asides(s)
    rng.shuffle(tags)
    return ", ".join(dict.fromkeys(tags))


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
    asides = [*_asides(s), *([s.sound()] if rng.random() < 0.25 else [])]
    rng.shuffle(asides)
    tail = "".join(f", {aside}" for aside in asides)
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
        ", ".join([s.music(), *_asides(s), f"{s.facts['tempo']} bpm"]),
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
CHORD_PLACES = ("tag", "", "aside", "aside", "sentence", "aside")  # how each form names chords


def _name_chords(texts: list[str], s: Speaker) -> list[str]:
    """The captions, one of them with the progression, if there is one that can be named."""
    at = s.rng.choice([i for i, place in enumerate(CHORD_PLACES) if place])
    place, text = CHORD_PLACES[at], texts[at]
    said = s.progression(place)
    if not said:
        return texts
    if place == "sentence":
        text = f"{text} {said}"
    elif text.endswith("."):
        text = f"{text[:-1]}, {said}."
    elif place == "tag" and s.rng.random() < 0.3:
        text = f"{said}, {text}"
    else:
        text = f"{text}, {said}"
    return [*texts[:at], text, *texts[at + 1 :]]


def captions(facts: Facts, seed: int) -> list[str]:
    """Six captions of a crop: tags, a few words, a phrase, a sentence, a paragraph, a request.

    One of them names the chords, if they can be named. The same seed gives the same words, with
    chords in the facts or without.
    """
    rng = random.Random(seed)
    texts = [form(Speaker(facts, rng, wide=True)) for form in FORMS]
    return _name_chords(texts, Speaker(facts, random.Random(f"chords{seed}")))
