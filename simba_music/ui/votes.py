"""Votes tab: what the votes of the blind test say so far."""

import gradio as gr

from simba_music.listening_test import ListeningTest
from simba_music.vote_report import report

ABOUT = """
Shares leave out "alike" and "both bad", which are counted apart. Intervals are Wilson's for the
plain share, Woolf's where the order of showing is taken out, Student's for ratings. Several votes
of one listener are not independent, which the intervals do not know.
"""


def build(test: ListeningTest, tab: gr.Tab) -> None:
    """Lay out the tab, read anew whenever it is opened."""

    def read() -> str:
        found = report(test.database.votes(), test.database.local_listeners())
        return f"{found}\n\n{test.mirror.status()}" if test.mirror else found

    shown = gr.Markdown(elem_id="votes")
    gr.Markdown(ABOUT)
    tab.select(read, None, shown, api_name="votes", show_progress="hidden")
