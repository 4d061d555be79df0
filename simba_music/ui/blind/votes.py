"""Votes tab: what the votes of the blind test say so far, plainly, and all figures behind it."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import gradio as gr

from simba_music.ui.look.words import say
from simba_music.ui.opening import Opening

if TYPE_CHECKING:  # see ui.opening
    from simba_music.listening.statistics import Estimate
    from simba_music.listening.trials import ListeningTest

NOTHING = f'<p class="vt-none">{escape(say("votes", "nothing"))}</p>'
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
        shares = {"share": f"{e.value:.0%}", "low": f"{e.low:.0%}", "high": f"{e.high:.0%}"}
        said.append(say("votes", "estimate", label=label, n=e.n, **shares))
    whole = say("votes", "forest", title=title, estimates="; ".join(said))
    ticks = "".join(
        f'<text x="{LEFT + WIDTH * x / 100 - 10}" y="{height - 4}">'
        f"{escape(say('votes', 'percent', n=x))}</text>"
        for x in (0, 50, 100)
    )
    middle = LEFT + WIDTH / 2
    return (
        f'<svg class="forest" viewBox="0 0 {LEFT + WIDTH + 30} {height}" role="img" '
        f'aria-label="{escape(whole)}">'
        f'<text x="0" y="14" font-weight="bold">{escape(title)}</text>'
        f'<line class="even" x1="{middle}" x2="{middle}" y1="{TOP}" y2="{height - 18}"/>'
        f"{''.join(marks)}{ticks}</svg>"
    )


def page_of(test: "ListeningTest") -> tuple[str, str]:
    """What the votes say: a card for every pool, as HTML; and all figures, as Markdown."""
    from simba_music.listening.tally import comparisons, pools, shares, tally, verdict
    from simba_music.listening.votes.standing import standing

    votes, local = standing(test.database), test.database.local_listeners()
    cards = []
    for pool, given in pools(votes, local).items():
        drawn = shares(given)
        found = comparisons(given)
        none = f"<p>{escape(say('votes', 'none_counts'))}</p>"
        parts = [f"<h3>{escape(pool)}</h3>", "" if found else none]
        for one in found:
            rows = drawn.get(f"{one.model} against {one.other}")
            title = say("votes", "against", model=one.model, other=one.other)
            parts.append(f"<h4>{escape(title)}</h4><p>{escape(verdict(one))}</p>")
            parts.append(forest(title, rows) if rows else "")
        cards.append(f'<section class="vt-pool">{"".join(parts)}</section>')
    text = tally(votes, local)
    figures = f"{text}\n\n{test.mirror.status()}" if test.mirror else text
    return "".join(cards) or NOTHING, figures


def build(opening: Opening, tab: gr.Tab) -> None:
    """Lay out the tab, read anew whenever it is opened."""

    def tallied() -> tuple[str, str]:
        return page_of(opening.test.result())

    drawn = gr.HTML("", elem_id="votes-drawn")
    with gr.Accordion(say("votes", "figures"), open=False, elem_id="votes-figures"):
        shown = gr.Markdown(elem_id="votes")
        gr.Markdown(say("votes", "about"))
    tab.select(tallied, None, [drawn, shown], api_visibility="private", show_progress="hidden")
