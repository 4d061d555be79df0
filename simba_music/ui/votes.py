"""Votes tab: what the votes of the blind test say so far, as a picture and in figures."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import gradio as gr

from simba_music.ui.opening import Opening

if TYPE_CHECKING:  # see ui.opening
    from simba_music.listening.statistics import Estimate
    from simba_music.listening.trials import ListeningTest

ABOUT = """
Shares leave out "alike" and "both bad", which are counted apart. Intervals are Wilson's for the
plain share, Woolf's where the order of showing is taken out, Student's for ratings. Several votes
of one listener are not independent; the intervals ignore this.
"""
STYLE = """
.forest { width: 100%; max-width: 760px; height: auto; color: var(--body-text-color); }
.forest text { fill: currentColor; font-size: 13px; }
.forest line { stroke: currentColor; }
.forest .even { stroke-dasharray: 4 4; opacity: .5; }
.forest circle { fill: var(--color-accent); }
"""
ROW, TOP, LEFT, WIDTH = 26, 26, 330, 400  # of the picture, in its own units


def forest(title: str, rows: "Sequence[tuple[str, Estimate]]") -> str:
    """Shares with their intervals, one below the other, on one scale from 0 to 100 %."""
    height = TOP + ROW * len(rows) + 24
    marks, said = [], []
    for i, (label, e) in enumerate(rows):
        y = TOP + ROW * i + 12
        low, value, high = (LEFT + WIDTH * x for x in (e.low, e.value, e.high))
        marks.append(
            f'<text x="0" y="{y + 4}">{escape(label)}</text>'
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}"/>'
            f'<circle cx="{value:.1f}" cy="{y}" r="5"/>'
        )
        said.append(f"{label}: {e.value:.0%} ({e.low:.0%} to {e.high:.0%}, n = {e.n})")
    ticks = "".join(
        f'<text x="{LEFT + WIDTH * x / 100 - 10}" y="{height - 4}">{x} %</text>'
        for x in (0, 50, 100)
    )
    middle = LEFT + WIDTH / 2
    return (
        f'<svg class="forest" viewBox="0 0 {LEFT + WIDTH + 30} {height}" role="img" '
        f'aria-label="{escape(title)}. {escape("; ".join(said))}">'
        f'<text x="0" y="14" font-weight="bold">{escape(title)}</text>'
        f'<line class="even" x1="{middle}" x2="{middle}" y1="{TOP}" y2="{height - 18}"/>'
        f"{''.join(marks)}{ticks}</svg>"
    )


def pictures(test: "ListeningTest") -> str:
    """A picture of every two models with decided votes, pool by pool; "" if there are none."""
    from simba_music.listening.tally import pools, shares

    found = []
    for pool, votes in pools(test.database.votes(), test.database.local_listeners()).items():
        for title, rows in shares(votes).items():
            found.append(forest(f"{pool}: {title}", rows))
    return "".join(found)


def build(opening: Opening, tab: gr.Tab) -> None:
    """Lay out the tab, read anew whenever it is opened."""

    def read() -> tuple[str, str]:
        from simba_music.listening.tally import tally

        test = opening.test.result()
        found = tally(test.database.votes(), test.database.local_listeners())
        text = f"{found}\n\n{test.mirror.status()}" if test.mirror else found
        return pictures(test), text

    drawn = gr.HTML("", elem_id="votes-drawn")
    shown = gr.Markdown(elem_id="votes")
    gr.Markdown(ABOUT)
    tab.select(read, None, [drawn, shown], api_name="votes", show_progress="hidden")
