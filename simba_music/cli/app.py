"""The app command: the page, in a browser."""

from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from simba_music.generation.pipeline import Pipeline

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
