"""Layout: the Create tab. One piece of HTML that its scripts fill; the server sends messages."""

import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import gradio as gr

from simba_music.ui import keep
from simba_music.ui.ab_player import PLAYER_JS
from simba_music.ui.create.drawer import drawer
from simba_music.ui.create.handlers import Handlers
from simba_music.ui.look.icons import icon
from simba_music.ui.look.words import phrases, words
from simba_music.ui.opening import BACKBONES, Opening

_HERE = Path(__file__).parent
STREAM_JS = (_HERE / "stream_player.js").read_text()
SCRIPTS = ("studio_player.js", "settings_drawer.js", "studio.js")
# Every message is taken as it comes: the prop of that name is in no template, so that a change
# draws nothing. Names of props must not stand in quotes in a script: Gradio would take them for
# events.
STUDIO_JS = PLAYER_JS + STREAM_JS + "".join((_HERE / name).read_text() for name in SCRIPTS)
STUDIO_JS += "new Studio(element, props, server, trigger, watch, upload);"
STYLE = (_HERE / "create.css").read_text()
EXAMPLES = [
    "calm solo piano, slow, sad",
    "upbeat funk with slap bass, brass section and drums",
    "peaceful ambient with warm pad and harp, slow",
    "energetic rock with distorted guitar, bass guitar and drums, fast",
    "jazz with saxophone, piano and double bass over drums, medium tempo",
    "chiptune lead, fast, joyful, video game",
    "cheerful folk with flute and acoustic guitar, brisk, D major",
    "dark techno with synth bass and a drum beat, 128 bpm",
]
LENGTHS_S = (5, 10, 15, 20, 30)


def page_html(opening: Opening) -> str:
    """The tab before anything has happened on it."""
    sides = dict(opening.sides)
    longest_s = min(side.longest_s for side in sides.values())
    said = {name: escape(text) for name, text in phrases("player", "create").items()}
    rows = [_row(letter, said["choose_take"]) for letter in "AB"]
    icons = {"dice": "dice", "sliders": "sliders", "play_icon": "play", "loop_icon": "loop"}
    icons |= {"volume_icon": "volume", "new_icon": "new", "on_icon": "on"}
    filled = said | {name: icon(shape) for name, shape in icons.items()}
    filled |= {"read": escape(words()["read"]["read"]), "rows": "".join(rows)}
    filled |= {"drawer": drawer(sides, longest_s)}
    return Template((_HERE / "page.html").read_text()).substitute(filled)


def _row(side: str, takes: str) -> str:
    """One clip: what it is called, its wave, how well it fits and which takes there are."""
    at = f'data-side="{side}"'
    return (
        f'<div class="st-row" {at}><button type="button" class="ab-side st-name" {at} '
        f'aria-pressed="{str(side == "A").lower()}" disabled><b class="st-called"></b>'
        f'<small></small></button><canvas class="ab-wave" {at} aria-hidden="true"></canvas>'
        '<div class="st-match"><span></span><i></i>'
        f'<span class="st-takes" role="group" aria-label="{takes}" hidden></span></div></div>'
    )


def build(opening: Opening) -> None:
    """Lay out the tab and wire it; nothing of it is part of the public API."""
    sides = opening.sides
    longest_s = min(side.longest_s for side in sides.values())
    told = {
        "words": phrases("player", "create") | {"read": words()["read"]},
        "icons": {name: icon(name) for name in ("play", "pause")},
        "examples": EXAMPLES,
        "lengths": [one for one in LENGTHS_S if one <= longest_s],
        "longest": longest_s,
        "backbones": BACKBONES,
        "rate": next(iter(sides.values())).sample_rate,
    }

    def served(path: Path) -> Path:
        return Path(str(studio.move_resource_to_block_cache(path)))

    handlers = Handlers(opening, served)
    studio = gr.HTML(
        html_template=page_html(opening),
        js_on_load=STUDIO_JS,
        apply_default_css=False,
        server_functions=handlers.asked_by_page(),
        elem_id="create",
        told=told,
        message="{}",
    )

    def play(event: gr.EventData) -> Iterator[dict[str, Any]]:
        data = event._data
        for message in handlers.play(data if isinstance(data, dict) else {}):
            yield gr.update(message=json.dumps(message))

    studio.submit(
        play,
        None,
        studio,
        api_visibility="private",
        show_progress="hidden",
        # A run of the same page that was stopped may still be ending when the next one begins.
        trigger_mode="multiple",
        concurrency_limit=opening.at_once,
        concurrency_id="generate",
    )
    with gr.Row(elem_id="kept-tools"):
        keep.download_menu(opening)
        keep.share_button(opening)
        keep.restore(opening)
    keep.history_panel(opening)
    gr.HTML(_small_print(), elem_id="small-print", apply_default_css=False)


def _small_print() -> str:
    """Where what is typed goes, what the models are, and whose the clips are."""
    page = words()["page"]
    return (
        f"<p>{escape(page['privacy'])}</p><p>{escape(page['about'])} "
        f'<a href="https://arxiv.org/abs/2507.06674">{escape(page["paper"])}</a></p>'
    )
