"""Results tab: the report's tables and figures, for the checkpoints that are loaded."""

import base64
from collections.abc import Mapping

import gradio as gr

from simba_music.hub.places import BUNDLED
from simba_music.models.report import (
    FIGURES,
    LIMITS,
    notes,
    report_tables,
    source_line,
    stale,
    table,
    unmeasured,
)
from simba_music.ui.opening import Side


def _figure(file: str, what: str) -> str:
    """An image of `docs/` inside the page, so that no folder has to be served; "" if missing."""
    path = BUNDLED.parent / "docs" / file
    if not path.exists():
        return ""
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{what}" style="max-width:100%">'
        f"<figcaption>{what}</figcaption></figure>"
    )


def build(sides: Mapping[str, Side]) -> None:
    """Lay out the tab."""
    loaded = {side.name: side.sha256 for side in sides.values()}
    unknown = unmeasured(loaded)
    if unknown:
        gr.Markdown(
            f"**{', '.join(unknown)}**: not measured. `simba-music evaluate` fills the report."
        )
    for heading, text, made in report_tables():
        other = stale(made, loaded)
        warning = (
            f"\n\n**Measured on other weights than loaded: {', '.join(other)}.**" if other else ""
        )
        gr.Markdown(f"## {heading}\n{text}{warning}\n\n{table(made['rows'])}\n\n{notes(made)}")
        gr.Markdown(source_line(made), elem_classes="source")
    for file, what in FIGURES.items():
        gr.HTML(_figure(file, what))
    gr.Markdown(LIMITS)
