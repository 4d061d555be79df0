"""The app: theme, tabs, launch."""

from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING

import gradio as gr

from simba_music.errors import UserError
from simba_music.ui import ab_player, blind, results, votes
from simba_music.ui import study as study_page
from simba_music.ui.create import layout
from simba_music.ui.look.style import STYLE, theme
from simba_music.ui.look.words import words
from simba_music.ui.opening import Opening, sides_before_loading, sides_of

if TYPE_CHECKING:  # see ui.opening
    from simba_music.generation.pipeline import Pipeline
    from simba_music.listening.study.session import Study

CSS = STYLE + ab_player.STYLE + layout.STYLE + blind.STYLE + study_page.STYLE + votes.STYLE


def build(opening: Opening) -> gr.Blocks:
    """The whole page around models that are loaded, or loading."""
    said = words()["page"]
    # Clips in Gradio's cache are swept every hour once they are a day old.
    with gr.Blocks(title=said["name"], delete_cache=(3600, 86400)) as page:
        gr.HTML(_head(), elem_id="page-head", apply_default_css=False)
        with gr.Tabs(elem_id="page-tabs"):
            with gr.Tab(said["create"]):
                layout.build(opening)
            with gr.Tab(said["blind"], elem_id="blind-tab"):
                blind.build(opening)
            with gr.Tab(said["findings"], elem_id="results") as tab:
                votes.build(opening, tab)
                results.build(opening.sides)
    found: gr.Blocks = page
    return found


def _head() -> str:
    """The name of the page and what it is."""
    said = words()["page"]
    first, _, rest = said["name"].partition(" ")
    return (
        f'<div class="sm-head"><h1><b>{escape(first)}</b> {escape(rest)}</h1>'
        f"<span>{escape(said['tagline'])}</span></div>"
    )


def launch(
    load: "Callable[[], Pipeline]",
    left: str,
    right: str,
    scorer: str,
    port: int | None = None,
    share: bool = False,
) -> None:
    """Serve until stopped; Spaces choose the address by GRADIO_SERVER_NAME.

    The page is there first, and waits for its models, where `sides_before_loading` allows it.

    Args:
        load: loads the models.
        left: checkpoint of the left side, which `load` loads.
        right: that of the right side.
        scorer: that of the scorer, or "none".
        port: of the page; None for the first that is free.
        share: whether to serve a public address too.

    Raises:
        UserError: If the models cannot be loaded, or the page cannot be served.
    """
    known = sides_before_loading(left, right, scorer)
    if known is not None:
        opening = Opening(known)
        _serve(build(opening), port, share, lambda: opening.begin(opening.fill(load)))
        return
    pipeline = load()
    opening = Opening(sides_of(pipeline))
    opening.begin(opening.fill(lambda: pipeline))
    _serve(build(opening), port, share)


def launch_study(study: "Study", port: int | None = None, share: bool = False) -> None:
    """Serve the page of a study until stopped."""
    _serve(study_page.build(study), port, share)


def _serve(
    page: gr.Blocks,
    port: int | None,
    share: bool,
    meanwhile: Callable[[], None] | None = None,
) -> None:
    """Serve until stopped, and do something meanwhile; if that fails, the page is closed."""
    page.queue(max_size=20)
    try:
        page.launch(
            server_port=port,
            share=share,
            css=CSS,
            theme=theme(),
            max_file_size="1kb",
            enable_monitoring=False,
            footer_links=["api", "gradio"],
            prevent_thread_lock=meanwhile is not None,
        )
    except OSError as error:
        raise UserError(f"The app cannot be served: {error} Choose another --port.") from error
    if meanwhile is not None:
        try:
            meanwhile()
        except BaseException:
            page.close(verbose=False)
            raise
        page.block_thread()
