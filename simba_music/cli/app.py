"""The app command: the page, in a browser."""

from simba_music.cli.options import (
    Device,
    EngineName,
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
    engine: EngineName,
    weights: Weights,
) -> None:
    """Open the app in a browser."""
    from simba_music.cli.pipeline import load_pipeline
    from simba_music.ui.app import launch

    launch(
        load_pipeline(left, right, scorer, device, threads, engine, weights), port=port, share=share
    )
