"""Prompt: all that is read from one, the same for page, API, command line and recipe."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field

from simba_music.conditioning.beat import Beat
from simba_music.conditioning.chords import Chords
from simba_music.conditioning.key import KeySignature
from simba_music.conditioning.line_up import (
    LineUp,
    Names,
    denied_title,
    named_instruments,
    unknown_instruments,
    without_instruments,
)
from simba_music.conditioning.reading.cannot import named_impossible, voice_of
from simba_music.conditioning.reading.denials import denials
from simba_music.conditioning.reading.keys import full_key, named_mode
from simba_music.conditioning.reading.metres import named_metre
from simba_music.conditioning.reading.progressions import named_chords
from simba_music.conditioning.reading.tempos import named_tempo
from simba_music.conditioning.reading.understood import note_on
from simba_music.conditioning.request import Request
from simba_music.conditioning.types import AnyCondition

NO_CHORDS = "chords: no model here is conditioned on them"


@dataclass(frozen=True)
class Reading:
    """What is read from a prompt.

    wanted are titles of instruments; denied what is refused, in words; tempo in beats a minute,
    None if there is none; key with its tonic, or a mode alone; metre a signature; chords symbols;
    cannot what no model here can do; note why all this says little; drawn what the seed draws, by
    the name of its field.
    """

    wanted: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    tempo: float | None = None
    key: str = ""
    metre: str = ""
    chords: tuple[str, ...] = ()
    cannot: tuple[str, ...] = ()
    note: str = ""
    drawn: Mapping[str, str | float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """As `simba-music read --json` prints it."""
        return asdict(self)


def denied_words(prompt: str, names: Names) -> tuple[str, ...]:
    """What a prompt refuses, each once: instruments by their title, the rest as it is said."""
    found = (
        voice_of(denial.item)
        or denied_title(denial.item, names)
        or re.sub(r"\s+", " ", denial.item).strip().lower()
        for denial in denials(prompt)
    )
    return tuple(dict.fromkeys(found))


def _names(models: Iterable[Mapping[str, AnyCondition]]) -> Names:
    """Names of the instruments that the first model with a line-up has."""
    for conditions in models:
        line_up = conditions.get(LineUp.name)
        if isinstance(line_up, LineUp):
            return line_up.names
    return ()


def _drawn(
    request: Request, models: Iterable[Mapping[str, AnyCondition]]
) -> dict[str, str | float]:
    """What the seed draws for conditions that a model has."""
    there = {name: condition for model in models for name, condition in model.items()}
    found = dict[str, str | float]()
    beat, key = there.get(Beat.name), there.get(KeySignature.name)
    if isinstance(beat, Beat) and beat.is_drawn(request) and (pulse := beat.wanted(request)):
        found["tempo"] = pulse.tempo
    if isinstance(key, KeySignature) and key.is_drawn(request) and (one := key.wanted(request)):
        found["key"] = str(one)
    return found


def read_prompt(
    request: Request,
    models: Iterable[Mapping[str, AnyCondition]],
    knows: Callable[[str], bool] | None = None,
) -> Reading:
    """All that is read from a request's prompt.

    Args:
        request: its prompt and seed are read, and whether anything is drawn.
        models: conditions of every model that is to play it.
        knows: see `note_on`.
    """
    models, prompt = list(models), request.prompt
    names = _names(models)
    # "drumless" is asked for by a denial, and is no instrument.
    found = (names[i][0] for i in named_instruments(prompt, names, prompt=True))
    chords = named_chords(prompt, request.seed)
    key = full_key(prompt)
    cannot = named_impossible(
        prompt, lambda text: without_instruments(text, names), unknown_instruments
    )
    if chords and not any(Chords.name in conditions for conditions in models):
        cannot = (*cannot, NO_CHORDS)
    return Reading(
        wanted=tuple(title for title in found if not denials(title)),
        denied=denied_words(prompt, names),
        tempo=named_tempo(prompt) or None,
        key=str(key) if key else named_mode(prompt) or "",
        metre=named_metre(prompt),
        chords=chords,
        cannot=cannot,
        note=note_on(prompt, knows),
        drawn=_drawn(request, models),
    )
