"""Host: the page on its own server, with all that stands around it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from simba_music.serving.fair_queue import FairQueue
from simba_music.serving.guard import Guard
from simba_music.serving.health import Health, Parts
from simba_music.settings import data_folder
from simba_music.ui import app as page_app
from simba_music.ui.opening import Opening, known
from simba_music.ui.results import figure_path

if TYPE_CHECKING:  # a page is laid out before torch and the database are imported
    from simba_music.generation.pipeline import Pipeline
    from simba_music.listening.study.session import Study

BAD, GOOD = 503, 200


def figure(request: Request) -> Response:
    """A figure of the Findings tab; 404 for any other file."""
    path = figure_path(request.path_params["name"])
    if path is None:
        return Response(status_code=404)
    return FileResponse(path, headers={"cache-control": "public, max-age=3600"})


def around(page: Any, parts: Parts) -> dict[str, Any]:
    """What the page's server is made with; its queue becomes fair.

    Guards, and what is served beside the page: `/healthz`, `/metrics`, `/figures/NAME`.

    Args:
        page: the Gradio page, whose queue is there.
        parts: what it is made of.
    """
    from simba_music.serving.metrics import Metrics
    from simba_music.serving.sweeps import Sweeper

    health = Health(parts)
    metrics = Metrics(FairQueue(page._queue), parts.activity, parts)
    Sweeper(parts, lambda: {path for paths in page.temp_file_sets for path in list(paths)}).start()

    async def healthz(_: Request) -> Response:
        checks = await run_in_threadpool(health.checks)
        good = all(checks.values())
        answer = {"healthy": good, "checks": checks}
        return JSONResponse(answer, GOOD if good else BAD, {"cache-control": "no-store"})

    async def numbers(_: Request) -> Response:
        text = await run_in_threadpool(metrics.text)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    return {
        "middleware": [Middleware(Guard, requests=metrics.requests)],
        "routes": [
            Route("/healthz", healthz),
            Route("/metrics", numbers),
            Route("/figures/{name}", figure),
        ],
    }


def parts_of(opening: Opening) -> Parts:
    """The parts of the app's page, each once it is there."""

    def models() -> bool:
        return opening.comparison.done() and opening.comparison.exception() is None

    return Parts(models, lambda: known(opening.test), data_folder(), opening.activity)


def launch(
    load: "Callable[[], Pipeline]",
    left: str,
    right: str,
    scorer: str,
    port: int | None = None,
    share: bool = False,
) -> None:
    """Serve the app until stopped; see `ui.app.launch`.

    Raises:
        UserError: If the models cannot be loaded, or the page cannot be served.
    """

    def server(page: Any, opening: Opening) -> dict[str, Any]:
        return around(page, parts_of(opening))

    page_app.launch(load, left, right, scorer, port, share, server)


def launch_study(study: "Study", port: int | None = None, share: bool = False) -> None:
    """Serve the page of a study until stopped.

    Raises:
        UserError: If the page cannot be served.
    """
    parts = Parts(lambda: True, lambda: study.test, data_folder())
    page_app.launch_study(study, port, share, lambda page: around(page, parts))
