"""Commands that publish on the Hub: a checkpoint, or the app as a Space."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from simba_music.cli.options import Private, example, new_group

hub = new_group(
    "Publish a checkpoint or a Space on the Hub.", "hub push checkpoints/simba org/name --private"
)


@hub.command(epilog=example("hub push checkpoints/simba org/name --private"))
def push(
    checkpoint: Annotated[str, typer.Argument(help="A folder or a bundled name.")],
    repository: Annotated[str, typer.Argument(metavar="org/name", help="Where on the Hub.")],
    *,
    private: Private = False,
) -> None:
    """Publish a language model, with its codec and a model card."""
    from simba_music.publishing.push import push

    made = push(checkpoint, repository, private)
    print(f"Published. Load it with --left {made}")


@hub.command(epilog=example("hub space org/name --hardware zero-a10g --dry-run"))
def space(
    repository: Annotated[str, typer.Argument(metavar="org/name", help="Where on the Hub.")],
    *,
    hardware: Annotated[
        str,
        typer.Option(
            help="A hint to the Hub: cpu-basic, cpu-upgrade, t4-small, a10g-small, l4x1 or "
            "zero-a10g."
        ),
    ] = "cpu-basic",
    left: Annotated[
        str,
        typer.Option(
            metavar="org/name[@revision]",
            help="Left side, pinned and preloaded; default the bundled one.",
        ),
    ] = "",
    right: Annotated[
        str,
        typer.Option(
            metavar="org/name[@revision]",
            help="Right side, pinned and preloaded; default the bundled one.",
        ),
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the files and send nothing; default off.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="With --dry-run: write the files here; default a temporary folder."
        ),
    ] = None,
    private: Private = False,
) -> None:
    """Publish the app, from this checkout."""
    from simba_music.publishing import space

    sides = {"left": left, "right": right}
    if not dry_run:
        print(space.push_space(repository, hardware, sides, private))
        return
    with tempfile.TemporaryDirectory() as made:
        folder = out or Path(made) / "space"
        space.write_space(folder, hardware, sides)
        print("\n".join(space.contents(folder)))
