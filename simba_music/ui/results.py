"""Results tab: the report's tables and figures, for the checkpoints that are loaded."""

from collections.abc import Mapping
from pathlib import Path

import gradio as gr

from simba_music.hub.places import BUNDLED
from simba_music.models.report import (
    FIGURES,
    LIMITS,
    ahead,
    notes,
    report_tables,
    source_line,
    stale,
    table,
    unmeasured,
)
from simba_music.ui.look.words import say
from simba_music.ui.opening import BACKBONES, Side


def _figure(file: str, what: str) -> str:
    """An image that is fetched when it is scrolled to; "" if it is missing."""
    path = figure_path(file)
    if path is None:
        return ""
    return (
        f'<figure><img src="figures/{file}" alt="{what}" loading="lazy" style="max-width:100%">'
        f"<figcaption>{what}</figcaption></figure>"
    )


def figure_path(file: str) -> Path | None:
    """The file of a figure that the tab shows; None for any other name, or if it is missing."""
    path = BUNDLED.parent / "docs" / file
    return path if file in FIGURES and path.exists() else None


def lead() -> str:
    """Which model is ahead in what, in a sentence; "" where it was not measured."""
    found = ahead([made for _, _, made in report_tables()])
    count = sum(map(len, found.values()))
    if not count:
        return ""
    lines = [
        say("findings", "ahead", model=BACKBONES.get(model, model), measures="; ".join(names))
        if model
        else say("findings", "overlap", measures="; ".join(names))
        for model, names in found.items()
        if names
    ]
    opening = say("findings", "lead", n=count)
    return "\n\n".join([opening, "\n".join(lines), say("findings", "asked")])


def build(sides: Mapping[str, Side]) -> None:
    """Lay out the tab."""
    loaded = {side.name: side.sha256 for side in sides.values()}
    unknown = unmeasured(loaded)
    if unknown:
        gr.Markdown(say("findings", "unmeasured", models=", ".join(unknown)))
    for heading, text, made in report_tables():
        other = stale(made, loaded)
        warning = say("findings", "stale", models=", ".join(other)) if other else ""
        gr.Markdown(f"## {heading}\n{text}\n\n{warning}\n\n{table(made['rows'])}\n\n{notes(made)}")
        gr.Markdown(source_line(made), elem_classes="source")
    for file, what in FIGURES.items():
        gr.HTML(_figure(file, what))
    gr.Markdown(LIMITS)
