"""Blind tab: a pair without names, a vote, then the reveal."""

from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from simba_music.listening.votes.ballot import HEARD_S, UNDO_S
from simba_music.ui.ab_player import PLAYER_JS
from simba_music.ui.look.words import phrases, say
from simba_music.ui.opening import BACKBONES, Opening
from simba_music.ui.plain import plain
from simba_music.ui.questions import answered, is_local, listener_of, sentences, text_field

if TYPE_CHECKING:  # see ui.opening
    from simba_music.listening.trials import ListeningTest

_HERE = Path(__file__).parent
BLIND_JS = "".join((_HERE / name).read_text() for name in ("blind_player.js", "blind.js"))
STYLE = (_HERE / "style.css").read_text()
MOUNT_JS = """
window.blindTest = new BlindTest(element.querySelector(".bt-root"), server, props.words,
  props.names);
watchData("#blind-progress", "offer", (offer) => { if (offer) blindTest.written(offer); });
"""


def _shell() -> str:
    """The tab before its script has drawn it, and what is kept of a vote."""
    kept = say("blind", "kept", heard=f"{HEARD_S:g}", undo=f"{UNDO_S:g}")
    return (
        '<div class="bt-root"></div><details class="bt-kept">'
        f"<summary>{escape(say('blind', 'about'))}</summary>{escape(kept)}</details>"
    )


def voting(test: "Callable[[], ListeningTest]") -> list[Any]:
    """The questions `vote` and `undo`, which a study's page asks as well."""

    def vote(data: Any) -> dict[str, Any]:
        def keep(raw: dict[str, Any]) -> dict[str, Any]:
            test().vote(raw)
            return {"undo_s": UNDO_S}

        return answered(keep, data)

    def undo(data: Any) -> dict[str, Any]:
        def take_back(d: dict[str, Any]) -> dict[str, Any]:
            test().undo(text_field(d, "ticket"))
            return {"undone": True}

        return answered(take_back, data)

    return [vote, undo]


def answers(test: "Callable[[], ListeningTest]") -> list[Any]:
    """What the page may ask: each takes one dict and answers with one, errors included.

    `test` gives the blind test, once it is open.
    """

    def listener_id(data: dict[str, Any]) -> str:
        return test().listener_id_of(text_field(data, "listener"))

    def welcome(data: dict[str, Any], local: bool) -> dict[str, Any]:
        signed, name = listener_of(test(), data.get("listener"), local)
        unheard = len(test().unheard(name))
        return {"listener": signed, "unheard": unheard, "preparing": test().preparing}

    def hello(data: Any, request: gr.Request) -> dict[str, Any]:
        return answered(lambda d: welcome(d, is_local(request)), data)

    def left_open(data: Any) -> dict[str, Any]:
        return answered(lambda d: {"pair": test().left_open(listener_id(d))}, data)

    def next_pair(data: Any) -> dict[str, Any]:
        return answered(lambda d: test().next_pair(listener_id(d)), data)

    def show_pair(data: Any) -> dict[str, Any]:
        return answered(
            lambda d: test().show_offered(text_field(d, "battle"), listener_id(d)), data
        )

    def reveal(data: Any) -> dict[str, Any]:
        return answered(
            lambda d: test().reveal(text_field(d, "ticket"), d.get("final") is True), data
        )

    return [hello, left_open, next_pair, show_pair, *voting(test), reveal]


def build(opening: Opening) -> None:
    """Lay out the tab and wire it."""
    gr.HTML(
        _shell(),
        js_on_load=PLAYER_JS + BLIND_JS + MOUNT_JS,
        server_functions=answers(opening.test.result),
        elem_id="blind",
        words=phrases("player", "blind"),
        names=BACKBONES,
    )
    progress = gr.HTML("", elem_id="blind-progress")
    with gr.Accordion(say("blind", "own"), open=False, elem_id="blind-own"), gr.Row():
        prompt = gr.Textbox(
            label=say("blind", "own_prompt"),
            scale=4,
            min_width=300,
            elem_id="blind-prompt",
            max_lines=3,
            lines=1,
        )
        write = gr.Button(say("blind", "write"), elem_id="blind-write", scale=1, min_width=150)
    plain(prompt)

    def run(text: str) -> Iterator[dict[Any, Any]]:
        yield {progress: _bar(0.0)}
        with sentences():
            try:
                for step in opening.maker.result().make(text):
                    if isinstance(step, float):
                        yield {progress: _bar(step)}
                    else:
                        yield {progress: f'<span hidden data-offer="{escape(step)}"></span>'}
            except Exception:
                yield {progress: ""}  # nothing is on its way
                raise

    gr.on(
        [write.click, prompt.submit],
        run,
        prompt,
        [progress],
        api_visibility="private",
        show_progress="hidden",
        concurrency_limit=opening.at_once,
    )


def _bar(share: float) -> str:
    return (
        f'<div class="card"><div class="track"><div class="bar" style="width:{100 * share:.0f}%">'
        f'</div></div><div class="note">{escape(say("blind", "writing"))}</div></div>'
    )
