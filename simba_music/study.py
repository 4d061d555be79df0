"""Study: a listening test with consent, practice, repeats and catch trials, alike for all."""

import hashlib
import hmac
import random
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from simba_music import audio
from simba_music.ballot import VoteError
from simba_music.config import StrictModel
from simba_music.database import Database, default_url
from simba_music.errors import RequestError
from simba_music.files import load_secret, read_json, sha256, write_atomic, write_json
from simba_music.gallery import about, sampling_of
from simba_music.hub.fetch import data_folder
from simba_music.listening_test import SIDES, Kind, ListeningTest, Side
from simba_music.pipeline import SLOTS, Pipeline
from simba_music.vote_tables import Battle, Listener, Trial, Vote

STUDY, CLIPS = "study.json", "clips"
SCHEMA = 1
BATCH = 8  # prompts that are written together
LATE = 2 / 3  # repeats come after so much of the study


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
        if self.trials + 1 > self.size:
            raise ValueError(
                f"{self.trials} trials and one for practice need {self.trials + 1} prompts or "
                f"pairs; there are {self.size}"
            )
        if self.repeats > self.trials:
            raise ValueError(f"{self.repeats} repeats of {self.trials} trials")
        return self

    @property
    def size(self) -> int:
        """Pairs that there are; the first is for practice."""
        return len(self.prompts) + len(self.pairs)

    @property
    def length(self) -> int:
        """Trials that a listener gives, practice included."""
        return 1 + self.trials + self.repeats + self.catches


def read_study(path: Path) -> StudyConfig:
    """A study's YAML file.

    Raises:
        RequestError: If it cannot be read, or a field is wrong: says which.
    """
    try:
        found = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RequestError(f"{path} cannot be read as YAML: {error}") from error
    try:
        return StudyConfig.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the study"
        raise RequestError(f"{path}: {where}: {first['msg']}") from error


def _keep(out: Path, number: int, side: str, wave: audio.Waveform) -> str:
    """Write a clip beside the study; its path in it."""
    name = f"{CLIPS}/{number:03d}-{side}.wav"
    (out / CLIPS).mkdir(parents=True, exist_ok=True)
    write_atomic(out / name, audio.wav_bytes(wave))
    return name


def _written(
    pipeline: Pipeline, config: StudyConfig, out: Path, done: int
) -> Iterator[dict[str, Any]]:
    """Items of the prompts from number `done` on; prompt i has the study's seed + i."""
    for start in range(done, len(config.prompts), BATCH):
        requests = [
            pipeline.validate(prompt=text, seed=config.seed + i, duration_s=config.duration_s)
            for i, text in enumerate(config.prompts[start : start + BATCH], start)
        ]
        clips = {slot: pipeline.generate_batch(requests, slot) for slot in SLOTS}
        for i, request in enumerate(requests):
            pair = {slot: clips[slot][i] for slot in SLOTS}
            yield {
                "prompt": request.prompt,
                "seed": request.seed,
                "sampling": sampling_of(pair["left"]),
                "sides": {
                    slot: about(clip) | {"file": _keep(out, start + i, slot, clip.waveform)}
                    for slot, clip in pair.items()
                },
            }


def _brought(config: StudyConfig, beside: Path, out: Path, done: int) -> Iterator[dict[str, Any]]:
    """Items of the host's own pairs from number `done` on."""
    for i, pair in enumerate(config.pairs[done:], done):
        files = {"left": beside / pair.left, "right": beside / pair.right}
        sides = {}
        for slot, file in files.items():
            try:
                wave = audio.read(file)
            except (OSError, RuntimeError) as error:  # libsndfile's own errors are RuntimeErrors
                raise RequestError(f"{file} cannot be read as sound: {error}") from error
            known = {"checkpoint": file.parent.name or "files", "file_sha256": sha256(file)}
            sides[slot] = known | {"file": _keep(out, i, slot, wave)}
        yield {"prompt": pair.prompt, "seed": config.seed, "sampling": {}, "sides": sides}


def render_study(pipeline: Pipeline | None, path: Path, out: Path) -> int:
    """Write every pair of a study file into `out`; goes on where it was stopped.

    Args:
        pipeline: both models; not needed for a study of the host's own pairs.
        path: the study's YAML file; the paths of its pairs are beside it.
        out: the folder that is then served.

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
    if config.prompts and pipeline is None:
        raise RequestError("A study of prompts needs both models to render it.")
    made = (
        _brought(config, path.parent, out, len(items))
        if pipeline is None
        else _written(pipeline, config, out, len(items))
    )
    for item in made:
        items.append(item)
        write_json(out / STUDY, {"schema": SCHEMA, "study": study, "items": items})
    return len(items)


def open_study(folder: Path) -> "Study":
    """The study of a folder, with the votes of this machine's database.

    Raises:
        RequestError: If the folder holds no study, or not all of it.
    """
    data = data_folder()
    data.mkdir(parents=True, exist_ok=True)
    secret = load_secret(data)
    test = ListeningTest(Database(default_url(data)), data / "clips", secret)
    return Study(test, folder, secret)


class Study:
    """A rendered study that is being served: what each listener hears, in which order, and when."""

    def __init__(self, test: ListeningTest, folder: Path, secret: str):
        """Every process that serves the folder knows the same battles.

        Raises:
            RequestError: If the folder holds no study, or not all of it.
        """
        if not (folder / STUDY).exists():
            raise RequestError(f"{folder} holds no study; `simba-music study render` writes one.")
        found = read_json(folder / STUDY)
        self.config = StudyConfig.model_validate(found["study"])
        if len(found["items"]) != self.config.size:
            raise RequestError(f"{folder} is not finished: run `simba-music study render` again.")
        self.test, self._secret = test, secret.encode()
        self.pairs = [self._battle(folder, item, i) for i, item in enumerate(found["items"])]
        votable = found["items"][1:]
        self.catches = [
            self._battle(folder, self._twice(votable[i % len(votable)]), i, "catch")
            for i in range(self.config.catches)
        ]

    def _twice(self, item: dict[str, Any]) -> dict[str, Any]:
        """The pair of a clip with itself."""
        clip = item["sides"][SIDES[self._draw("catch " + item["prompt"]).randrange(2)]]
        return item | {"sides": dict.fromkeys(SIDES, clip)}

    def _battle(self, folder: Path, item: dict[str, Any], number: int, what: str = "") -> Battle:
        sides = {
            slot: Side(
                audio.read(folder / known["file"]),
                {key: value for key, value in known.items() if key != "file"},
            )
            for slot, known in item["sides"].items()
        }
        files = [sha256(folder / known["file"]) for known in item["sides"].values()]
        text = f"{self.config.name}:{what}:{number}:{files}"
        return self.test.add_battle(
            item["prompt"],
            sides,
            "study",
            item["seed"],
            item["sampling"],
            self.config.name,
            hashlib.sha256(text.encode()).hexdigest()[:32],
        )

    def _draw(self, text: str) -> random.Random:
        """A random source that only this server can foresee."""
        return random.Random(hmac.new(self._secret, text.encode(), hashlib.sha256).digest())

    def join(self, local: bool, checks: dict[str, Any]) -> str:
        """A signed name for a listener who has agreed to the study's consent text.

        Raises:
            VoteError: If headphones are required and the check was not passed.
        """
        if self.config.headphones == "required" and checks.get("headphones") != "passed":
            raise VoteError("This study needs headphones. Put them on and repeat the check.")
        return self.test.new_listener(local, self.config.consent, self.config.name, checks)

    def listener(self, signed: str) -> Listener:
        """The listener of a signed name.

        Raises:
            VoteError: If it is not known, or of another study.
        """
        found = self.test.database.listener(self.test.listener(signed))
        if found is None or found.study != self.config.name:
            raise VoteError("You have not joined this study yet. Reload the page.")
        return found

    def order(self, listener: str) -> list[Kind]:
        """Kinds of a listener's trials: practice, then a shuffle, repeats late in it."""
        rng = self._draw(f"order {listener}")
        kinds: list[Kind] = ["normal" for _ in range(self.config.trials)]
        kinds += ["catch" for _ in range(self.config.catches)]
        rng.shuffle(kinds)
        for _ in range(self.config.repeats):
            kinds.insert(rng.randint(round(LATE * len(kinds)), len(kinds)), "repeat")
        kinds.insert(0, "practice")
        return kinds

    def _seen(self, listener: str) -> list[tuple[Trial, Vote | None]]:
        return self.test.database.trials_of(listener, self.config.name)

    def progress(self, listener: str) -> dict[str, Any]:
        """How far a listener is; `code` once everything is answered."""
        done = sum(vote is not None for _, vote in self._seen(listener))
        code = self.code(listener) if done == self.config.length else None
        return {"done": done, "of": self.config.length, "code": code}

    def code(self, listener: str) -> str:
        """What a listener who is done is given, to show that they were."""
        digest = hmac.new(self._secret, f"code {listener}".encode(), hashlib.sha256).hexdigest()
        return digest[:10].upper()

    def next_trial(self, listener: str) -> dict[str, Any]:
        """What a listener hears next; the same trial again until it is voted on.

        Raises:
            VoteError: If there is none left.
        """
        seen = self._seen(listener)
        if seen and seen[-1][1] is None:
            trial = seen[-1][0]
            return self._told(self.test.showing(trial, trial.battle), trial.kind, trial.place)
        place = len(seen)
        if place == self.config.length:
            raise VoteError("You have answered everything. Thank you.")
        kind = self.order(listener)[place]
        battle, flipped = self._choose(kind, [trial for trial, _ in seen], listener)
        shown = self.test.show(battle, listener, kind, place, flipped, self._first(seen))
        return self._told(shown, kind, place)

    def _told(self, shown: dict[str, Any], kind: str, place: int) -> dict[str, Any]:
        return shown | {"practice": kind == "practice", "place": place, "of": self.config.length}

    def _choose(self, kind: Kind, before: list[Trial], listener: str) -> tuple[Battle, bool | None]:
        """The battle of the next trial, and whether its sides are flipped."""
        if kind == "practice":
            return self.pairs[0], None
        if kind == "catch":
            return self.catches[sum(trial.kind == "catch" for trial in before)], None
        rng = self._draw(f"pair {listener} {len(before)}")
        if kind == "repeat":
            again = {trial.battle_id for trial in before if trial.kind == "repeat"}
            first = [t for t in before[:-1] if t.kind == "normal" and t.battle_id not in again]
            chosen = rng.choice(first or [t for t in before if t.kind == "normal"])
            return chosen.battle, not chosen.flipped
        known = {trial.battle_id for trial in before}
        left = [battle for battle in self.pairs[1:] if battle.id not in known]
        shown = self.test.database.showings([battle.id for battle in left])
        rng.shuffle(left)
        battle = min(left, key=lambda one: shown[one.id][0])
        total, flips = shown[battle.id]
        return battle, None if 2 * flips == total else 2 * flips < total

    def _first(self, seen: list[tuple[Trial, Vote | None]]) -> str:
        """The side that plays first, as often A as B for each listener."""
        lead = sum(1 if trial.first == "A" else -1 for trial, _ in seen)
        return secrets.choice("AB") if lead == 0 else "B" if lead > 0 else "A"
