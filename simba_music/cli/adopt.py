"""Command that puts a better codec in the place of one, for models that go on using its tokens."""

from pathlib import Path
from typing import Annotated

import typer

from simba_music.cli.options import CODEC, example, new_group

commands = new_group()


@commands.command(epilog=example("adopt runs/books --files runs/corpus/tokens.codec.json"))
def adopt(
    new: Annotated[Path, typer.Argument(metavar="DIR", help="Codec that was trained.")],
    *,
    old: Annotated[
        Path, typer.Option(metavar="DIR", help="Codec in whose place it is put.")
    ] = CODEC,
    files: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Other JSON that names the old one; may be given again; default none.",
        ),
    ] = None,
) -> None:
    """Replace a codec by one with the same tokens.

    Models, gallery and training steps beside it name the new one then.
    """
    from simba_music.training.codec.adopt import adopt_codec

    beside = [*old.parent.glob("*/config.json"), old.parent / "gallery.json"]
    beside = [path for path in (*beside, old.parent / "steps.json") if path.exists()]
    for path in adopt_codec(new, old, [*beside, *(files or [])]):
        print(f"{path} names the new codec")
