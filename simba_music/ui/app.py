"""The app: theme, tabs, launch."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import gradio as gr

from simba_music.errors import UserError
from simba_music.ui import ab_player, api, blind, compare, keep, results, votes
from simba_music.ui import study as study_page
from simba_music.ui.opening import Opening, sides_before_loading, sides_of

if TYPE_CHECKING:  # see ui.opening
    from simba_music.generation.pipeline import Pipeline
    from simba_music.listening.study.session import Study

CSS = """
.gradio-container { max-width: 1180px !important; margin: 0 auto !important; }
.card { border: 1px solid var(--border-color-primary); border-radius: 10px; padding: 10px 14px; }
.card h3 { margin: 0 0 6px; }
.card .track { height: 8px; border-radius: 4px; background: var(--border-color-primary); }
.card .bar { height: 8px; border-radius: 4px; background: var(--color-accent); }
.card .note { font-size: 13px; opacity: .75; margin-top: 6px; }
.card .score { font-size: 15px; margin-top: 6px; }
.timeline { width: 100%; height: 36px; fill: var(--color-accent); margin-top: 6px; }
.timeline line { vector-effect: non-scaling-stroke; stroke: currentColor; opacity: .4; }
.source { font-size: 12px; opacity: .75; }
#results table { font-size: 13px; display: block; overflow-x: auto; }
#results table { max-width: calc(100vw - 64px); }
#results td, #results th { white-space: nowrap; word-break: normal; padding: 4px 8px; }
#results td:first-child { white-space: normal; min-width: 130px; }
footer { opacity: .7; }
"""
CSS += ab_player.STYLE + blind.STYLE + study_page.STYLE + votes.STYLE + keep.STYLE
INTRO = """
# SiMBA Music
Type what you want to hear. **SiMBA** (Mamba-2) and a **Transformer** of the same size each
generate it, one EnCodec token at a time, and you compare them.
"""
ABOUT = """
The bundled models are small, trained from scratch on music that this project composes itself; they
know 80 instruments and 28 genres, and no voices. The score comes from a scorer
trained on our own corpus, not LAION CLAP. [Paper](https://arxiv.org/abs/2507.06674). Licence of the
bundled weights: Apache-2.0; you may use what they make.
"""


def build(opening: Opening) -> gr.Blocks:
    """The whole page around models that are loaded, or loading."""
    # Clips in Gradio's cache are swept every hour once they are a day old.
    with api.Page(title="SiMBA Music", delete_cache=(3600, 86400)) as page:
        gr.Markdown(INTRO)
        with gr.Tab("Compare"):
            compare.build(opening)
        with gr.Tab("Blind test", elem_id="blind-tab"):
            blind.build(opening)
        with gr.Tab("Votes") as tab:
            votes.build(opening, tab)
        with gr.Tab("Results", elem_id="results"):
            results.build(opening.sides)
        gr.Markdown(ABOUT)
        api.build(opening)
    page.close_to_programs()
    found: gr.Blocks = page
    return found


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
    # Fonts of the visitor's own system: nothing is fetched from elsewhere.
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
    try:
        page.launch(
            server_port=port,
            share=share,
            css=CSS,
            theme=theme,
            max_file_size="1kb",
            enable_monitoring=False,
            mcp_server=api.speaks_mcp(),
            app_kwargs=api.APP_KWARGS,
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
