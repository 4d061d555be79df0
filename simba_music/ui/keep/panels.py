"""Panels: history, download menu, share button and restoring, to be placed on the page.

They speak with the page by events of the document. It sends `simba:start` (`{id, prompt, seed,
settings, models}`), `simba:pair` (`{pair: {id, recipes, urls}}`, lists or objects by side) and
`simba:end`; it takes `simba:restore` (`{prompt, seed, settings, play}`, `left` and `right` among
the settings, `play` where clips are wanted at once) and, if its player can, `simba:open`
(`{pair}`), by `preventDefault()`.
"""

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from simba_music.ui.keep.downloads import Downloads
from simba_music.ui.keep.kept import Kept
from simba_music.ui.look.words import WORDS_JS, words
from simba_music.ui.opening import Opening

_HERE = Path(__file__).parent
STYLE = (_HERE / "keep.css").read_text()


def _plain(question: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    """A method as the function that Gradio can mark."""

    @functools.wraps(question)
    def asked(data: Any) -> dict[str, Any]:
        return question(data)

    return asked


def _part(
    elem_id: str,
    made: str,
    scripts: Sequence[str],
    questions: Sequence[Callable[[Any], dict[str, Any]]],
) -> gr.HTML:
    """A component with our scripts; `made` is the class that draws into it."""
    code = "".join((_HERE / f"{name}.js").read_text() for name in ("store", *scripts))
    return gr.HTML(
        '<div class="kp-root"></div>',
        js_on_load=f"const WORDS = {json.dumps(words()['keep'])};\n{WORDS_JS}{code}\n"
        f'new {made}(element.querySelector(".kp-root"), server);',
        server_functions=[_plain(question) for question in questions],
        elem_id=elem_id,
    )


def history_panel(opening: Opening) -> gr.HTML:
    """The last pairs of this browser: play, star, delete, generate again."""
    return _part("kept-history", "HistoryPanel", ["history"], [Downloads(opening).there])


def download_menu(opening: Opening) -> gr.HTML:
    """Files of the pair that was made last; hidden until there is one."""
    downloads = Downloads(opening)
    questions = [downloads.convert, downloads.archive]
    found = _part("kept-downloads", "DownloadMenu", ["download"], questions)
    downloads.made = found.temp_files
    return found


def share_button(opening: Opening) -> gr.HTML:
    """The address of the pair that was made last."""
    return _part("kept-share", "ShareButton", ["share"], [Kept(opening).link])


def restore(opening: Opening) -> gr.HTML:
    """Takes clips and recipes that are dropped anywhere on the page, and `?r=` of its address."""
    return _part("kept-restore", "Restore", ["recipes", "restore"], [Kept(opening).restore])
