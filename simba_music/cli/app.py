"""The app and serve commands: the page in a browser, made by this process or by replicas."""

import importlib.util
import secrets
from typing import TYPE_CHECKING, Annotated

import typer

from simba_music.cli.options import (
    Device,
    Engine,
    Left,
    Port,
    Right,
    Scorer,
    Share,
    Threads,
    Weights,
    example,
    new_group,
)
from simba_music.errors import UserError
from simba_music.settings import settings
from simba_music.settings.process import prepare_ray

if TYPE_CHECKING:
    from simba_music.generation.pipeline import Pipeline

PORT = 7860  # of the page behind Ray, which looks for no other

# Of Ray.
OnRay = Annotated[
    bool,
    typer.Option("--ray", help="Replicas of the models, by Ray Serve; default as app does."),
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="With --ray: a cluster that is there, or auto for that of this machine; the command "
        "ends when all is served; default one that begins here and ends with the command.",
    ),
]
Replicas = Annotated[int, typer.Option(min=1, help="With --ray: replicas of the models, from 1.")]
Most = Annotated[
    int | None,
    typer.Option(min=1, help="With --ray: replicas that a crowd is given; default --replicas."),
]
Gpus = Annotated[
    float, typer.Option(min=0, help="With --ray: GPUs of a replica, parts allowed; default 0.")
]
Pin = Annotated[
    bool, typer.Option("--pin", help="With --ray: each replica keeps to a core; default off.")
]

commands = new_group()


@commands.command(epilog=example("app --port 7860"))
def app(
    *,
    port: Port = None,
    share: Share = False,
    left: Left,
    right: Right,
    scorer: Scorer,
    device: Device,
    threads: Threads,
    engine: Engine,
    weights: Weights,
) -> None:
    """Open the app in a browser."""
    print("Starting SiMBA Music ...", flush=True)  # the imports below take seconds
    from simba_music.serving.host import launch

    def load() -> "Pipeline":
        from simba_music.cli.pipeline import load_pipeline

        return load_pipeline(left, right, scorer, device, threads, engine, weights)

    launch(load, left, right, scorer, port, share)


@commands.command(epilog=example("serve --ray --replicas 2 --most 8 --gpus 1"))
def serve(
    *,
    ray: OnRay = False,
    address: Address = None,
    replicas: Replicas = 1,
    most: Most = None,
    gpus: Gpus = 0.0,
    pin: Pin = False,
    port: Port = None,
    left: Left,
    right: Right,
    scorer: Scorer,
    device: Device,
    threads: Threads,
    engine: Engine,
    weights: Weights,
) -> None:
    """Serve the page to many; once more with --address it takes the place of what is served."""
    if not ray:
        app(port=port, left=left, right=right, scorer=scorer, device=device, threads=threads,
            engine=engine, weights=weights)  # fmt: skip
        return
    begin_ray(own=address is None)
    from simba_music.serving.ray.cluster import serve_until_ended
    from simba_music.serving.ray.config import Arguments

    asked = Arguments(
        left=left,
        right=right,
        scorer=scorer,
        device=device,
        threads=threads,
        engine=engine,
        weights=weights,
        replicas=replicas,
        most=most,
        gpus=gpus,
        pin=pin,
    )
    serve_until_ended(asked.plan(), settings().server_name, port or PORT, address)


def begin_ray(own: bool) -> None:
    """Say to Ray what it reads when it is imported, before anything of `serving.ray` is.

    Args:
        own: whether a cluster begins here, which gets a secret of its own.

    Raises:
        UserError: If Ray is not installed.
    """
    if importlib.util.find_spec("ray") is None:
        raise UserError(
            "Ray is not installed. Install it: pip install 'simba-music[ray]' (or '.[ray]' in a "
            "checkout), or leave --ray out."
        )
    prepare_ray(secrets.token_hex(32) if own else None)
