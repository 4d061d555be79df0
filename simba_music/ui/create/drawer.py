"""Drawer: the settings, each with a sentence of what it does to the music, as HTML."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import get_args

from simba_music.conditioning.request import Request
from simba_music.generation.request import DURATION_STEP_S, MAX_SEED, MAX_TAKES, MIN_DURATION_S
from simba_music.hub.places import allowed, may_load_any
from simba_music.settings import EngineName, settings
from simba_music.ui.look.icons import icon
from simba_music.ui.look.words import words
from simba_music.ui.opening import Side

_PLAIN = Request("")


@dataclass(frozen=True)
class Range:
    """A number that is slid: from low to high by step."""

    name: str
    low: float
    high: float
    step: float
    value: float


RANGES = (
    Range("temperature", 0, 2, 0.05, _PLAIN.temperature),
    Range("top_k", 0, 2048, 1, _PLAIN.top_k),
    Range("top_p", 0.01, 1, 0.01, _PLAIN.top_p),
    Range("guidance", 1, 10, 0.1, _PLAIN.guidance),
)


def _field(name: str, control: str, help_text: str = "", extra: str = "") -> str:
    """A setting: its name, its control, and what it does."""
    said = words()["settings"][name]
    help_text = help_text or said["help"]
    return (
        f'<div class="st-field"><label for="st-{name}">{escape(said["label"])}</label>'
        f'<div class="st-control">{control}{extra}</div>'
        f'<p id="st-{name}-help">{escape(help_text)}</p></div>'
    )


def _at(name: str) -> str:
    """Attributes that every control has."""
    return f'id="st-{name}" name="{name}" aria-describedby="st-{name}-help"'


def _options(values: Sequence[str], chosen: str) -> str:
    return "".join(
        f"<option{' selected' if one == chosen else ''}>{escape(one)}</option>" for one in values
    )


def _model(side: str, found: Side) -> str:
    """Which model plays on a side: any, where visitors may load any, else one of a list."""
    known = list(dict.fromkeys([found.source, *allowed()]))
    if not may_load_any():
        return _field(side, f"<select {_at(side)}>{_options(known, found.source)}</select>")
    values = "".join(f'<option value="{escape(one)}"></option>' for one in known)
    control = (
        f'<input {_at(side)} value="{escape(found.source)}" data-normal="{escape(found.source)}" '
        f'list="st-{side}-known" spellcheck="false" autocapitalize="off">'
        f'<datalist id="st-{side}-known">{values}</datalist>'
    )
    return _field(side, control, words()["settings"][side].get("any", ""))


def _range(one: Range) -> str:
    bounds = f'min="{one.low:g}" max="{one.high:g}" step="{one.step:g}"'
    control = (
        f'<input type="range" {_at(one.name)} {bounds} value="{one.value:g}">'
        f'<output for="st-{one.name}">{one.value:g}</output>'
    )
    return _field(one.name, control)


def _switch(name: str, on: bool) -> str:
    checked = " checked" if on else ""
    return _field(name, f'<input type="checkbox" class="st-switched" {_at(name)}{checked}>')


def _seed() -> str:
    said = words()["settings"]["seed"]
    buttons = (
        f'<button type="button" class="st-button st-lock" aria-pressed="false" '
        f'title="{escape(said["lock"])}">{icon("lock")}<span class="ab-say">'
        f"{escape(said['lock'])}</span></button>"
        f'<button type="button" class="st-button st-dice" title="{escape(said["dice"])}">'
        f'{icon("dice")}<span class="ab-say">{escape(said["dice"])}</span></button>'
    )
    control = f'<input type="number" {_at("seed")} min="0" max="{MAX_SEED}" step="1" value="0">'
    return _field("seed", control, extra=buttons)


def drawer(sides: dict[str, Side], longest_s: float) -> str:
    """All settings, closed; the page's script reads and writes them by their names."""
    engines = ("auto",) if settings().zero_gpu else get_args(EngineName)
    takes = [str(n + 1) for n in range(MAX_TAKES)]
    duration = Range("duration", MIN_DURATION_S, longest_s, DURATION_STEP_S, _PLAIN.duration_s)
    fields = [
        *(_model(side, found) for side, found in sides.items()),
        _range(duration),
        _seed(),
        _field("takes", f"<select {_at('takes')}>{_options(takes, '1')}</select>"),
        *map(_range, RANGES),
        _field("negative", f'<input {_at("negative")} maxlength="500">'),
        _field("chords", f'<input {_at("chords")} maxlength="200" spellcheck="false">'),
        _field("engine", f"<select {_at('engine')}>{_options(engines, 'auto')}</select>"),
        _switch("draw", settings().draw),
        _switch("play", True),
    ]
    said = words()["settings"]
    return (
        '<section id="st-settings" class="st-settings" hidden '
        f'aria-label="{escape(said["title"])}">'
        f'<div class="st-fields">{"".join(fields)}</div><div class="st-tools">'
        f'<button type="button" class="st-button st-reset">{escape(said["reset"])}</button>'
        f'<button type="button" class="st-button st-close">{escape(said["close"])}</button>'
        "</div></section>"
    )
