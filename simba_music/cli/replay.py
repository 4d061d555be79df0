"""The replay command: clips once more, by their recipe, on the engine that made them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simba_music.cli.options import example, new_group

if TYPE_CHECKING:
    from simba_music.generation.pipeline import Pipeline
    from simba_music.generation.recipe import Recipe

commands = new_group()


@commands.command(epilog=example("replay out/recipe.json --out again"))
def replay(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A clip (WAV, FLAC or Ogg), which carries its recipe, or a recipe.json.",
        ),
    ],
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the files.")] = Path("again"),
) -> None:
    """Make clips once more by their recipe: same request, weights, engine and dtype."""
    from simba_music.cli.clip_files import make_folder, write_clip
    from simba_music.generation.clip import Clip
    from simba_music.generation.recipe import recipes_of_file

    recipes = recipes_of_file(file)
    pipelines: dict[str, Pipeline] = {}
    make_folder(out)
    for name, recipe in recipes.items():
        key = str((recipe.model.id, recipe.engine, recipe.dtype, recipe.slots, recipe.device))
        if key not in pipelines:
            pipelines[key] = _pipeline_of(recipe)
        # A file may say anything: what is allowed is checked as of every other request.
        request = pipelines[key].validate(("left",), **recipe.request.as_dict())
        events = pipelines[key].generate(request, ("left",))
        clip = next(event for event in events if isinstance(event, Clip))
        write_clip(out / name, clip)
        print(f"{out / name}: {clip.waveform.duration_s:g} s, seed {recipe.request.seed}")


def _pipeline_of(recipe: "Recipe") -> "Pipeline":
    """The model of a recipe on the engine that it names.

    Raises:
        RequestError: If the checkpoint has other weights now.
        EngineError: If this machine cannot have that engine.
    """
    from simba_music.cli.pipeline import load_pipeline
    from simba_music.errors import RequestError
    from simba_music.generation.recipe import engine_choice

    choice = engine_choice(recipe)
    source = recipe.model.id + (f"@{recipe.model.revision}" if recipe.model.revision else "")
    pipeline = load_pipeline(source, source, "none", recipe.device, recipe.threads, *choice.parts)
    found = pipeline.models["left"].origin.sha256
    if recipe.model.sha256 not in (None, found):
        raise RequestError(
            f"{recipe.model.id} has other weights now: the recipe names sha256 "
            f"{recipe.model.sha256}, the checkpoint has {found}. Use the version of then."
        )
    return pipeline
