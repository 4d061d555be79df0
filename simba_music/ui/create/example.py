"""Example: a pair of the gallery that is ready to play before anything was generated."""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simba_music import audio
from simba_music.errors import CheckpointError
from simba_music.files import read_json, write_json
from simba_music.generation.pipeline import Pipeline
from simba_music.generation.request import SIDES
from simba_music.hub.places import short_name
from simba_music.listening.gallery import EXAMPLE, GALLERY, codecs_of, decoded
from simba_music.scoring.score import Score
from simba_music.ui.create.verdict import level, share, verdict
from simba_music.ui.look.words import say, words
from simba_music.ui.opening import BACKBONES

logger = logging.getLogger(__name__)
VERSION = 1  # of what is kept of it


@dataclass(frozen=True)
class Example:
    """What the page needs to show the pair; `files` are WAV files, of A and B."""

    shown: dict[str, Any]
    files: dict[str, Path]


def open_example(pipeline: Pipeline, folder: Path, path: Path = GALLERY) -> Example | None:
    """The pair of the gallery, decoded and scored the first time and kept in `folder`.

    None where there is no gallery, or it belongs to other models than the loaded ones.
    """
    if not path.exists():
        return None
    items = read_json(path)["items"]
    item = items[min(EXAMPLE, len(items) - 1)]
    loaded = {model.origin.sha256 for model in pipeline.models.values()}
    if {item["sides"][side]["model"]["sha256"] for side in SIDES} != loaded:
        return None
    judge = pipeline.scorer.revision if pipeline.scorer else "none"
    made_of = json.dumps([VERSION, item, judge], sort_keys=True)
    folder = folder / hashlib.sha256(made_of.encode()).hexdigest()[:32]
    files = {letter: folder / f"{letter}.wav" for letter in "AB"}
    about = folder / "example.json"
    if not all(one.exists() for one in (*files.values(), about)):
        try:
            scores = _make(item, pipeline, files)
        except CheckpointError as error:
            logger.warning("there is no example to play: %s", error)
            return None
        write_json(about, scores)
    return Example(_shown(item, read_json(about)), files)


def _make(item: dict[str, Any], pipeline: Pipeline, files: dict[str, Path]) -> dict[str, Any]:
    """Write the sound of both clips; their scores by side."""
    codecs, found = codecs_of(pipeline), dict[str, Any]()
    for side, path in zip(SIDES, files.values(), strict=True):
        wave = decoded(item["sides"][side], codecs, item["duration_s"]).waveform
        wave, _, _ = audio.normalise(wave)
        path.parent.mkdir(parents=True, exist_ok=True)
        audio.write(path, wave)
        score = pipeline.scorer.score(wave, item["prompt"]) if pipeline.scorer else None
        found[side] = score.as_dict() if score else None
    return found


def _score(raw: dict[str, Any] | None) -> Score | None:
    return None if raw is None else Score(**raw | {"timeline": tuple(raw["timeline"])})


def _shown(item: dict[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
    scores = {side: _score(kept[side]) for side in SIDES}
    names, matches = {}, {}
    for letter, side in zip("AB", SIDES, strict=True):
        name = short_name(item["sides"][side]["checkpoint"])
        title = BACKBONES.get(name, name)
        about = words()["kinds"].get(name, "")
        names[letter] = {"title": title, "about": about, "tone": side}
        matches[letter] = {"match": say("match", level(scores[side])), "share": share(scores[side])}
    titles = names["A"]["title"], names["B"]["title"]
    request = {"prompt": item["prompt"], "seed": item["seed"], "duration_s": item["duration_s"]}
    return {
        "names": names,
        "matches": matches,
        "verdict": verdict(titles, scores["left"], scores["right"]),
        "request": request | item["sampling"],
        "models": {
            letter: item["sides"][s]["model"]["id"] for letter, s in zip("AB", SIDES, strict=True)
        },
    }
