"""The app: theme, tabs, launch."""

import json
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr
from fastapi import FastAPI

from simba_music.errors import UserError
from simba_music.generation.stops import Stops
from simba_music.generation.streaming.ending import Ending, graceful
from simba_music.settings import data_folder
from simba_music.settings.process import announce_share
from simba_music.ui import ab_player, api, keep, results
from simba_music.ui.blind import page as blind
from simba_music.ui.blind import votes
from simba_music.ui.create import layout
from simba_music.ui.look.style import STYLE, TABS_JS, theme
from simba_music.ui.look.words import words
from simba_music.ui.opening import Opening, sides_before_loading, sides_of
from simba_music.ui.studies import page as study_page

if TYPE_CHECKING:  # see ui.opening
    from simba_music.generation.pipeline import Pipeline
    from simba_music.listening.study.session import Study

THREADS = 40  # of a page beside those of its runs, as many as Gradio has
SESSIONS = 500  # of visits whose last messages are held; Gradio's 10,000 may take gigabytes
TABS = ("create", "blind", "findings")  # their marks in the address
CSS = STYLE + ab_player.STYLE + layout.STYLE + blind.STYLE + keep.STYLE


# What a page's server is made with, beside the page: see `serving.host`.
Server = Callable[[gr.Blocks], dict[str, Any]]


def _alone(page: gr.Blocks) -> dict[str, Any]:
    """A page with nothing around it."""
    return {}


def build(opening: Opening) -> gr.Blocks:
    """The whole page around models that are loaded, or loading."""
    said = words()["page"]
    # Clips in Gradio's cache are swept every hour once they are a day old.
    with api.Page(title=said["name"], delete_cache=(3600, 86400)) as page:
        gr.HTML(
            _head(),
            js_on_load=f"{TABS_JS}\nnew TabsInAddress({json.dumps(TABS)});",
            elem_id="page-head",
            apply_default_css=False,
        )
        with gr.Tabs(elem_id="page-tabs"):
            create, test, findings = TABS
            with gr.Tab(said[create]):
                layout.build(opening)
            with gr.Tab(said[test], elem_id="blind-tab"):
                blind.build(opening)
            with gr.Tab(said[findings], elem_id="results") as tab:
                if finding := results.lead():
                    gr.Markdown(finding, elem_id="findings-lead")
                votes.build(opening, tab)
                results.build(opening.sides)
        api.build(opening)
    page.close_to_programs()
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
    server: Callable[[gr.Blocks, Opening], dict[str, Any]] = lambda page, opening: {},
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
        server: says what stands around the page on its server.

    Raises:
        UserError: If the models cannot be loaded, or the page cannot be served.
    """
    announce_share(share)
    sides, loaded = sides_before_loading(left, right, scorer), None
    if sides is None:
        loaded = load()
        sides = sides_of(loaded)
    opening, ending = Opening(sides, Stops(data_folder() / "stops")), Ending()

    def begin() -> None:
        opening.begin(opening.fill(lambda: loaded or load()))

    if loaded is not None:
        begin()
    meanwhile = begin if loaded is None else None
    ending.add("the page", opening.close)
    with graceful(ending):
        _serve(build(opening), port, share, lambda page: server(page, opening), meanwhile)


def launch_study(
    study: "Study", port: int | None = None, share: bool = False, server: Server = _alone
) -> None:
    """Serve the page of a study until stopped; `server` as in `launch`."""
    ending = Ending()
    ending.add("the study", study.close)
    with graceful(ending):
        # Participants are offered nothing but the study.
        _serve(study_page.build(study), port, share, server, links=False)


def mount(host: FastAPI, opening: Opening, server: Server = _alone) -> FastAPI:
    """The page at the root of somebody else's server, as `launch` serves it on its own.

    Args:
        host: what it is mounted on.
        opening: models that are loaded, or loading.
        server: says what stands around the page.
    """
    page = build(opening)
    page.state_session_capacity = SESSIONS
    # A run holds a thread while it waits for the next thing that there is to say.
    page.max_threads = opening.at_once + THREADS
    options = _options(page, server, links=True)
    mounted: FastAPI = gr.mount_gradio_app(host, page, path="/", show_error=False, **options)
    return mounted


def _options(page: gr.Blocks, server: Server, links: bool) -> dict[str, Any]:
    """What a page is served with, on whatever server; its queue is set up.

    `links` at the foot lead to the API and to Gradio.
    """
    page.queue(max_size=20, api_open=False)  # nobody passes by the queue
    return {
        "css": CSS,
        "theme": theme(),
        "max_file_size": "1kb",
        "enable_monitoring": False,
        "footer_links": ["api", "gradio"] if links else [],
        "run_history": False,  # it keeps what was heard blind in the browser
        "mcp_server": links and api.speaks_mcp(),
        "app_kwargs": api.APP_KWARGS | server(page),
    }


def _serve(
    page: gr.Blocks,
    port: int | None,
    share: bool,
    server: Server,
    meanwhile: Callable[[], None] | None = None,
    links: bool = True,
) -> None:
    """Serve until stopped, and do something meanwhile; if that fails, the page is closed."""
    options = _options(page, server, links)
    try:
        page.launch(
            server_port=port,
            share=share,
            state_session_capacity=SESSIONS,
            prevent_thread_lock=meanwhile is not None,
            **options,
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
