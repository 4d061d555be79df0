"""Study file: what a host writes to describe a study, and the pairs that are rendered from it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from simba_music import audio
from simba_music.errors import RequestError
from simba_music.files import (
    StrictModel,
    first_problem,
    read_json,
    sha256,
    write_atomic,
    write_json,
)
from simba_music.files.names import beside
from simba_music.files.tables import read_text
from simba_music.generation.service import GenerationService, generate_pairs
from simba_music.listening.gallery import about, sampling_of

STUDY, CLIPS = "study.json", "clips"
SCHEMA = 1
BATCH = 8  # prompts that are generated together


class _TextLoader(yaml.BaseLoader):  # type: ignore[misc]
    """YAML whose values are texts, and whose keys stand there once."""


def _mapping(loader: _TextLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    for key in keys:
        if not isinstance(key, str) or keys.count(key) > 1:
            raise ValueError(f"the field {key!r} stands there twice, or is no word")
    return dict(loader.construct_mapping(node, deep=True))


_TextLoader.add_constructor("tag:yaml.org,2002:map", _mapping)


def same_words(prompt: str) -> str:
    """A prompt as listeners take it: capitals and blanks make no other prompt."""
    return " ".join(prompt.split()).casefold()


class Pair(StrictModel):
    """Two clips of the host's own, beside the study's file; `left` and `right` are paths."""

    prompt: str = Field(min_length=1, max_length=2000)
    left: str
    right: str


class StudyConfig(StrictModel):
    """A study as its host describes it (YAML); either `prompts`, which are rendered, or `pairs`.

    `trials` is how many pairs each listener votes on, of all that there are; `repeats` of them come
    again later, sides swapped; `catches` are pairs of a clip with itself.
    """

    name: str = Field(pattern="^[a-z0-9][a-z0-9-]{0,59}$")
    title: str = Field(min_length=1, max_length=200)
    consent: str = Field(min_length=1, max_length=10_000)
    prompts: tuple[str, ...] = ()
    pairs: tuple[Pair, ...] = ()
    trials: int = Field(ge=1, le=500)
    repeats: int = Field(default=0, ge=0, le=50)
    catches: int = Field(default=0, ge=0, le=50)
    duration_s: float = Field(default=10.0, ge=2, le=30)
    seed: int = Field(default=0, ge=0, le=2**31)
    headphones: Literal["required", "asked", "off"] = "asked"
    thanks: str = Field(default="Thank you. This is your code:", max_length=2000)
    licence: str = Field(default="CC-BY-4.0", max_length=60)

    @field_validator("prompts", "pairs")
    @classmethod
    def _each_once(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(value)) != len(value):
            raise ValueError("the same one stands there twice")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> "StudyConfig":
        if bool(self.prompts) == bool(self.pairs):
            raise ValueError("give either prompts or pairs")
        # Each listener hears a prompt once, so pairs of one prompt are not all theirs.
        if self.trials + 1 > len(self.different):
            raise ValueError(
                f"{self.trials} trials and one for practice need {self.trials + 1} different "
                f"prompts; there are {len(self.different)}"
            )
        if self.repeats > self.trials:
            raise ValueError(f"{self.repeats} repeats of {self.trials} trials")
        return self

    @property
    def size(self) -> int:
        """Pairs that there are; the first is for practice."""
        return len(self.prompts) + len(self.pairs)

    @property
    def different(self) -> set[str]:
        """The prompts that differ, each as `same_words` has it."""
        return {same_words(one) for one in (*self.prompts, *(pair.prompt for pair in self.pairs))}

    @property
    def counted(self) -> int:
        """Trials that a listener gives, without the one for practice."""
        return self.trials + self.repeats + self.catches

    @property
    def length(self) -> int:
        """Trials that a listener gives, practice included."""
        return 1 + self.counted


def read_study(path: Path) -> StudyConfig:
    """A study's YAML file.

    Raises:
        RequestError: If it cannot be read, or a field is wrong: says which.
    """
    try:
        # Every scalar as it is written: `off` and 2024 are titles too, and numbers are checked by
        # the study's own fields.
        found = yaml.load(read_text(path), Loader=_TextLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise RequestError(f"{path} cannot be read as YAML: {error}") from error
    try:
        return StudyConfig.model_validate(found)
    except ValidationError as error:
        where, problem = first_problem(error, "the study")
        raise RequestError(f"{path}: {where}: {problem}") from error


def _clips_of(config: StudyConfig, folder: Path) -> dict[str, Path]:
    """The file of every clip of the host's own pairs, each read once to see that it can be.

    Raises:
        RequestError: If one is missing, no sound, or silent: names it.
    """
    names = dict.fromkeys(name for pair in config.pairs for name in (pair.left, pair.right))
    found = {name: beside(folder, name) for name in names}
    for path in found.values():
        audio.read_recording(path)
    return found


def _keep(out: Path, number: int, side: str, wave: audio.Waveform) -> str:
    """Write a clip beside the study; its path in it."""
    name = f"{CLIPS}/{number:03d}-{side}.wav"
    (out / CLIPS).mkdir(parents=True, exist_ok=True)
    write_atomic(out / name, audio.wav_bytes(wave))
    return name


def _generated(
    service: GenerationService, config: StudyConfig, out: Path, done: int
) -> Iterator[dict[str, Any]]:
    """Items of the prompts from number `done` on; prompt i has the study's seed + i."""
    requests = [
        service.validate(prompt=text, seed=config.seed + i, duration_s=config.duration_s)
        for i, text in enumerate(config.prompts[done:], done)
    ]
    pairs = generate_pairs(service, requests, BATCH)
    for i, (request, pair) in enumerate(zip(requests, pairs, strict=True), done):
        yield {
            "prompt": request.prompt,
            "seed": request.seed,
            "sampling": sampling_of(pair["left"]),
            "sides": {
                side: about(clip) | {"file": _keep(out, i, side, clip.waveform)}
                for side, clip in pair.items()
            },
        }


def _brought(config: StudyConfig, folder: Path, out: Path, done: int) -> Iterator[dict[str, Any]]:
    """Items of the host's own pairs from number `done` on."""
    clips = _clips_of(config, folder)
    for i, pair in enumerate(config.pairs[done:], done):
        files = {"left": clips[pair.left], "right": clips[pair.right]}
        sides = {}
        for side, file in files.items():
            wave = audio.read_recording(file)
            known = {"checkpoint": file.parent.name or "files", "file_sha256": sha256(file)}
            sides[side] = known | {"file": _keep(out, i, side, wave)}
        yield {"prompt": pair.prompt, "seed": config.seed, "sampling": {}, "sides": sides}


def render_study(
    service: GenerationService | None,
    path: Path,
    out: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Write every pair of a study file into `out`; goes on where it was stopped.

    Args:
        service: generates with both models; not needed for a study of the host's own pairs.
        path: the study's YAML file; the paths of its pairs are beside it.
        out: the folder that is then served.
        progress: is said how many pairs are there, of how many, at first and after each.

    Returns:
        How many pairs there are.

    Raises:
        RequestError: If the file is wrong, or `out` holds another study.
    """
    config = read_study(path)
    study = config.model_dump(mode="json")
    items: list[dict[str, Any]] = []
    if (out / STUDY).exists():
        found = read_json(out / STUDY)
        if found["study"] != study:
            raise RequestError(f"{out} holds another study. Choose another --out.")
        items = found["items"]
    if config.prompts and service is None:
        raise RequestError("A study of prompts needs both models to render it.")
    made = (
        _brought(config, path.parent, out, len(items))
        if service is None
        else _generated(service, config, out, len(items))
    )
    progress(len(items), config.size)
    for item in made:
        items.append(item)
        write_json(out / STUDY, {"schema": SCHEMA, "study": study, "items": items})
        progress(len(items), config.size)
    return len(items)
