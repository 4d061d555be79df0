"""Cluster: Ray begun on this machine or joined, the applications put on it, updated and ended."""

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError

from simba_music.errors import UserError
from simba_music.generation.streaming.ending import Ending, graceful
from simba_music.serving.ray.judge import TOGETHER, Scoring
from simba_music.serving.ray.page import Ingress
from simba_music.serving.ray.plan import Plan
from simba_music.serving.ray.replica import Models
from simba_music.serving.ray.stops import NAMESPACE

MODELS, PAGE = "simba-music-models", "simba-music"  # applications of Ray Serve
DRAIN_S = 900.0  # in which the runs of a replica that is being replaced must have ended
ENDING_S = 15.0  # in which the page must have ended its runs and copied its votes
PAGE_DRAIN_S = 10.0  # of a page, on which every visitor keeps a connection open
LOGS = {"log_level": "WARNING"}  # its lines on every call say nothing that /metrics does not
logger = logging.getLogger(__name__)


@contextmanager
def joined(address: str | None = None, cores: int | None = None) -> Iterator[None]:
    """Ray while this lasts: at an address, or begun here and ended with it.

    Ray reads `settings.process.prepare_ray` when it is imported, so that comes before this module.

    Args:
        address: of a cluster, "auto" for that of this machine; None begins one.
        cores: that Ray counts on, where it is begun here; None for those there are.

    Raises:
        UserError: If there is none at the address.
    """
    if address is None:
        ray.init(
            num_cpus=cores,
            include_dashboard=False,
            _node_ip_address="127.0.0.1",
            namespace=NAMESPACE,
            logging_level=logging.WARNING,
            configure_logging=False,
        )
    else:
        try:
            ray.init(address, namespace=NAMESPACE, configure_logging=False)
        except ConnectionError as error:
            raise UserError(
                f"There is no Ray cluster at {address}. Start one with `ray start --head`, or "
                "leave --address out."
            ) from error
    try:
        yield
    finally:
        if address is None and serving():
            end()
        ray.shutdown()


def serving() -> bool:
    """Whether Ray Serve has applications here."""
    return bool(serve.status().applications)


def serve_until_ended(plan: Plan, host: str, port: int, address: str | None = None) -> None:
    """Serve page and models; on a cluster begun here until this process is asked to end.

    Raises:
        UserError: If the address is taken, there is no cluster, or the models cannot be served.
    """
    if address is None:
        _check_free(host, port)
    ending = Ending(within_s=ENDING_S + PAGE_DRAIN_S)
    # Ray takes SIGTERM for itself as it begins, so it is only ours after that.
    with joined(address), graceful(ending):
        if address is None:
            ending.add("the replicas", end)
        try:
            stays = put(plan, host, port)
        except RuntimeError as error:  # what Ray says if an application cannot be deployed
            raise UserError(f"Ray cannot serve this: {error}") from error
        logger.info("The page %s at http://%s:%d", "stays" if stays else "is", host, port)
        if address is None:
            threading.Event().wait()


def _check_free(host: str, port: int) -> None:
    """Refuse an address that somebody else has, which Ray would only find out much later.

    Raises:
        UserError: If it cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(
                f"The page cannot be served at {host}:{port}: {error}. Choose another --port."
            ) from error


def end() -> None:
    """Take the applications off the cluster; runs end as they are."""
    try:
        if PAGE in serve.status().applications:
            serve.get_deployment_handle("Page", PAGE).close.remote().result(timeout_s=ENDING_S)
    except (RayError, TimeoutError) as error:
        logger.warning("The page did not end in good order: %s", error)
    serve.shutdown()


def models_application(plan: Plan) -> Any:
    """The replicas of the models and their scorer, as an application of Ray Serve.

    While one is replaced the new one is there before the old one takes no more runs; on GPUs, which
    may all be in use, the old one ends first, and runs wait.
    """
    surge = 0 if plan.gpus else 100
    scoring = serve.deployment(
        Scoring,
        name="Scoring",
        max_ongoing_requests=4 * TOGETHER,
        ray_actor_options={"num_cpus": 0},
        max_surge_percent=surge,
        logging_config=LOGS,
    )
    how_many: dict[str, Any] = {"num_replicas": plan.least}
    if plan.most > plan.least:
        how_many = {
            "autoscaling_config": {
                "min_replicas": plan.least,
                "max_replicas": plan.most,
                # All that they step together, before one more is worth its while.
                "target_ongoing_requests": max(1.0, 0.75 * plan.runs),
                "upscale_delay_s": 5.0,
                "downscale_delay_s": 300.0,
            }
        }
    models = serve.deployment(
        Models,
        name="Models",
        max_ongoing_requests=plan.runs,
        max_queued_requests=plan.waiting,
        ray_actor_options={"num_cpus": plan.cpus, "num_gpus": plan.gpus},
        graceful_shutdown_timeout_s=DRAIN_S,
        graceful_shutdown_wait_loop_s=0.5,
        max_surge_percent=surge,
        logging_config=LOGS,
        **how_many,
    )
    judge = scoring.bind(plan.scorer) if plan.scorer else None
    return models.bind(plan, judge)


def page_application(plan: Plan, host: str) -> Any:
    """The page, which reaches the models by their handles, as an application of Ray Serve."""
    page = serve.deployment(
        Ingress,
        name="Page",
        num_replicas=1,
        max_ongoing_requests=10_000,  # its own queue says who waits, and every visitor listens
        ray_actor_options={"num_cpus": 0},
        graceful_shutdown_timeout_s=PAGE_DRAIN_S,
        max_surge_percent=100,
        logging_config=LOGS,
    )
    scoring = serve.get_deployment_handle("Scoring", MODELS) if plan.scorer else None
    return page.bind(plan, host, serve.get_deployment_handle("Models", MODELS), scoring)


def begin(host: str, port: int) -> None:
    """Begin to listen at an address, for whatever will be served; nothing if that is so already."""
    serve.start(http_options={"host": host, "port": port}, logging_config=LOGS)


def put_models(plan: Plan) -> Any:
    """Serve the models, in the place of those that were there; their handle.

    Runs that replicas have go on to their end on the weights that they began with.
    """
    return serve.run(models_application(plan), name=MODELS, route_prefix=None)


def remove_models() -> None:
    """Take the models off the cluster, once their runs have ended."""
    serve.delete(MODELS)


def put(plan: Plan, host: str, port: int) -> bool:
    """Serve models and page; whether the page was there before and stays.

    It stays where both checkpoints, the scorer and the number of runs are as before.
    """
    begin(host, port)
    before = serve.status().applications
    put_models(plan)
    if PAGE in before:
        page = serve.get_deployment_handle("Page", PAGE)
        if page.serves.remote(plan).result(timeout_s=60):
            page.read_again.remote().result(timeout_s=600)
            return True
    put_page(plan, host)
    return False


def put_page(plan: Plan, host: str) -> None:
    """Serve the page, once there are models, in the place of what there was."""
    serve.run(page_application(plan, host), name=PAGE, route_prefix="/")
