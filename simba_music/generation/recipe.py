"""Recipe: all that made a clip, typed; one object in files, on the card and in the history."""

import itertools
import json
import math
import platform
import re
from pathlib import Path
from typing import Literal, get_args

import torch
from pydantic import Field, ValidationError

from simba_music import __version__, audio
from simba_music.conditioning.batch import ReadCondition, drawn_from, read_from
from simba_music.conditioning.reading.prompt import read_prompt
from simba_music.conditioning.request import Request
from simba_music.errors import EngineError, RequestError
from simba_music.files import StrictModel, first_problem
from simba_music.generation.engines.choice import EngineChoice
from simba_music.generation.engines.types import AnyEngine
from simba_music.generation.loaded_models import LoadedModel
from simba_music.models.config import CodecRef, TextEncoderRef
from simba_music.models.schemas import upgrade_recipe
from simba_music.scoring.score import Score
from simba_music.settings import EngineName, WeightDtype

LONGEST_STEM = 24  # characters of the prompt in a file's name
_TEMPO = re.compile(r"\b\d+(\.\d+)?\s*(bpm|beats\b[\w ]*)", re.IGNORECASE)


class Weights(StrictModel):
    """Which weights: the name they were asked for by, their digest, their commit on the Hub."""

    id: str
    sha256: str | None = None
    revision: str | None = None

    @classmethod
    def of(cls, ref: CodecRef | TextEncoderRef) -> "Weights":
        """Those that a checkpoint names."""
        return cls(id=ref.id, sha256=ref.sha256, revision=ref.revision)


class Recipe(StrictModel):
    """All that made a clip: the same on the same machine gives the same clip again.

    `drawn` are the conditions that the seed drew; `denied`, `cannot` and `note` those of `Reading`.
    `loudness_lufs` is the clip's level, None if it is silent, after the gain of `gain_db` that
    brought it to playing level.
    """

    schema_version: Literal[2] = Field(default=2, alias="schema")
    request: Request
    conditions: dict[str, ReadCondition] = {}
    drawn: dict[str, str] = {}
    denied: tuple[str, ...] = ()
    cannot: tuple[str, ...] = ()
    note: str = ""
    model: Weights
    codec: Weights
    text_encoder: Weights
    engine: str
    dtype: str
    slots: int = 0  # of the scheduler; 0 where the request was on its own
    device: str
    threads: int
    app_version: str
    versions: dict[str, str] = {}
    loudness_lufs: float | None
    gain_db: float
    scorer: Score | None
    licence: str

    def as_json(self) -> dict[str, object]:
        """As it stands in a file."""
        return self.model_dump(mode="json", by_alias=True)


def recipe_of(
    model: LoadedModel,
    engine: AnyEngine,
    request: Request,
    score: Score | None,
    device: str,
    loudness_lufs: float,
    gain_db: float,
    slots: int = 0,
) -> Recipe:
    """The recipe of a clip that a loaded model has just generated."""
    config, origin = model.lm.config, model.origin
    reading = read_prompt(request, [config.conditions], model.encoder.knows)
    return Recipe(
        request=request,
        conditions=read_from(config.conditions, request),
        drawn=drawn_from(config.conditions, request),
        denied=reading.denied,
        cannot=reading.cannot,
        note=reading.note,
        model=Weights(id=origin.id, sha256=origin.sha256, revision=origin.revision),
        codec=Weights.of(config.codec),
        text_encoder=Weights.of(config.text_encoder),
        engine=engine.name,
        dtype=engine.dtype,
        slots=slots if engine.name == "graph" else 0,
        device=device,
        threads=torch.get_num_threads(),
        app_version=__version__,
        versions={"python": platform.python_version(), "torch": torch.__version__},
        loudness_lufs=round(loudness_lufs, 2) if math.isfinite(loudness_lufs) else None,
        gain_db=round(gain_db, 2),
        scorer=score,
        licence=config.licence,
    )


def engine_choice(recipe: Recipe) -> EngineChoice:
    """The engine and dtype that a recipe names.

    Raises:
        EngineError: If this version has no such engine, or no such dtype of it.
    """
    for name, dtype in itertools.product(get_args(EngineName), get_args(WeightDtype)):
        if (recipe.engine, recipe.dtype) == (name, dtype) and name != "auto":
            return EngineChoice(name, dtype, recipe.slots)
    raise EngineError(
        f"The recipe was made on the engine {recipe.engine} ({recipe.dtype}), which this version "
        "does not have. Generate its request anew; the clip will be another one."
    )


def read_recipe(raw: object) -> Recipe:
    """A recipe as it stands in a file, of this version or of 0.1.

    Raises:
        RequestError: If it is none; says what is wrong with it.
    """
    try:
        return Recipe.model_validate(upgrade_recipe(raw))
    except ValidationError as error:
        where, problem = first_problem(error, "recipe")
        raise RequestError(
            f"This is no recipe of a clip: {where}: {problem}. Give the `recipe` of one clip "
            "in a recipe.json of simba-music generate."
        ) from error


def stem_of(recipe: Recipe, name: str) -> str:
    """What a clip's file is called, such as "funk-104bpm-simba-seed17", for the model's name."""
    request = recipe.request
    words = re.findall(r"[a-z0-9]+", _TEMPO.sub(" ", request.prompt.lower()))
    said = ""
    for word in words:
        if len(said) + len(word) >= LONGEST_STEM:
            break
        said += f"{word}-"
    beat = recipe.conditions.get("beat")
    tempo = re.match(r"[\d.]+", beat.value) if beat else None
    return "-".join(
        [
            said.strip("-") or "clip",
            *([f"{tempo[0]}bpm"] if tempo else []),
            re.sub(r"[^\w.]+", "-", name).strip("-.") or "model",
            f"seed{request.seed}",
        ]
    )


def tags_of(recipe: Recipe) -> audio.Tags:
    """The recipe as the words that a sound file carries; none where no file would take it."""
    title = "".join(c for c in recipe.request.prompt if c.isprintable())[:200]
    text = json.dumps(recipe.as_json())
    return audio.Tags(title, text if len(text) <= audio.LONGEST_COMMENT else "", recipe.licence)


def read_recipes(raw: object, file: str = "This") -> dict[str, Recipe]:
    """Recipes by the names of their clips, of a recipe.json, or the one of a clip by itself.

    Raises:
        RequestError: If it holds none.
    """
    if isinstance(raw, dict) and "request" in raw:
        return {"clip.wav": read_recipe(raw)}
    clips = raw.get("clips") if isinstance(raw, dict) else None
    if not clips or not isinstance(clips, dict) or not all(type(c) is dict for c in clips.values()):
        raise RequestError(
            f"{file} is no recipe: it has no clips. Give a clip that was made here, or the "
            "recipe.json that simba-music generate wrote beside its clips."
        )
    found = {name: read_recipe(clip.get("recipe")) for name, clip in clips.items()}
    if bad := [name for name in found if Path(name).name != name]:
        raise RequestError(f"{file}: {bad[0]!r} is no file name.")
    return found


def recipes_of_file(path: Path) -> dict[str, Recipe]:
    """Recipes of a recipe.json, or the one that a clip's file carries, by the names of clips.

    Raises:
        RequestError: If the file cannot be read, or holds no recipe.
    """
    if path.suffix.lower() == ".json":
        try:
            return read_recipes(json.loads(path.read_text()), str(path))
        except (OSError, ValueError, RecursionError) as error:
            raise RequestError(f"{path} cannot be read as JSON: {error}") from error
    comment = audio.read_comment(path)
    try:
        raw = json.loads(comment or "")
    except (ValueError, RecursionError) as error:
        raise RequestError(
            f"{path} carries no recipe. Clips have one from version 0.3 on, unless another program "
            "has written them anew; give its recipe.json."
        ) from error
    return {f"{path.stem}.wav": recipe for recipe in read_recipes(raw, str(path)).values()}
