"""Training-step clips: what each model generated for the same prompts as its training went on."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch

from simba_music.conditioning.request import Request
from simba_music.errors import RequestError
from simba_music.files import read_json, sha256, write_json
from simba_music.generation.clip import pack_codes
from simba_music.generation.decoding import generate
from simba_music.generation.engines.reference import ReferenceEngine
from simba_music.hub.places import CONFIG, WEIGHTS
from simba_music.models.checkpoint import load_language_model
from simba_music.models.text_encoder import TextEncoder
from simba_music.training.record import lineage

SCHEMA = 2
CHOSEN = 4  # training steps, the first and the last that there are among them


def steps_before(record: dict[str, Any]) -> int:
    """Steps that a training's weights had behind them when it began, by its training.json."""
    return sum(int(training["steps"]) for training in lineage(record)[1:])


def _ends(record: dict[str, Any]) -> set[int]:
    """Steps at which a training ended, and those that led to its start."""
    return set(accumulate(int(training["steps"]) for training in reversed(lineage(record))))


def _stages(run: Path) -> list[tuple[int, Path]]:
    """(step, checkpoint) of a training run's snapshots and of its end, earlier steps counted."""
    record = read_json(run / "training.json")
    before, end = steps_before(record), int(record["steps"])
    found = sorted((int(p.name), p) for p in (run / "snapshots").glob("*") if p.is_dir())
    return [(before + step, folder) for step, folder in [*found, (end, run)]]


def _spread(steps: Sequence[int]) -> list[int]:
    """`CHOSEN` of some rising steps, about as many times the one before each."""
    left, chosen = list(steps), list[int]()
    for wanted in np.geomspace(steps[0], steps[-1], CHOSEN)[[0, -1, *range(1, CHOSEN - 1)]]:
        if left:
            chosen.append(min(left, key=lambda step: abs(np.log(step / wanted))))
            left.remove(chosen[-1])
    return sorted(chosen)


def read_steps(path: Path) -> dict[str, Any]:
    """What `write_step_clips` wrote; of schema 1, one book a clip, in the present form."""
    found: dict[str, Any] = read_json(path)
    if found["schema"] == 1:
        for stages in found["models"].values():
            for stage in stages:
                stage["codes_b64"], stage["n_codebooks"] = stage.pop("ids"), 1
    return found | {"schema": SCHEMA}


def _earlier(path: Path, made: dict[str, Any], name: str, run: Path) -> list[dict[str, Any]]:
    """Stages of the training that `run` goes on from, if `path` holds them for these prompts.

    Its stages are that training's if they end where `run`, or one that led to its start, ended.
    """
    record = read_json(run / "training.json")
    before = steps_before(record)
    known = read_steps(path) if before and path.exists() else {"models": {}}
    if any(known.get(key) != value for key, value in made.items()):
        return []
    found = known["models"].get(name, [])
    if not found or found[-1]["step"] not in _ends(record):
        return []
    return [stage for stage in found if stage["step"] <= before]


def write_step_clips(
    runs: dict[str, Path], prompts: Sequence[str], duration_s: float, path: Path
) -> None:
    """Let four stages of some training runs write every prompt, with seed i for prompt i.

    Keeps codes, not sound: `models[name][k]` has `step`, `sha256` of the weights, and `codes_b64`,
    a clip a prompt as `pack_codes` writes it. They belong to the codec `codec_sha256`. Of runs
    that went on from exported weights, stages before that stay if `path` holds them.

    Raises:
        RequestError: If the runs have other steps, or another codec, than each other.
    """
    codecs = {read_json(run / CONFIG)["codec"]["sha256"] for run in runs.values()}
    if len(codecs) != 1:
        raise RequestError("The runs were trained on different codecs.")
    made = {
        "schema": SCHEMA,
        "codec_sha256": codecs.pop(),
        "duration_s": duration_s,
        "prompts": list(prompts),
    }
    kept = {name: _earlier(path, made, name, run) for name, run in runs.items()}
    stages = {name: _stages(run) for name, run in runs.items()}
    steps = {
        name: [stage["step"] for stage in kept[name]] + [step for step, _ in stages[name]]
        for name in runs
    }
    if len({tuple(found) for found in steps.values()}) != 1:
        raise RequestError(f"The runs have snapshots at other steps than each other: {steps}.")
    requests = [Request(text, duration_s=duration_s, seed=i) for i, text in enumerate(prompts)]
    for name, written in kept.items():
        chosen = _spread(steps[name])
        written[:] = [stage for stage in written if stage["step"] in chosen]
        for step, folder in stages[name]:
            if step not in chosen:
                continue
            model, _ = load_language_model(str(folder))
            encoder = TextEncoder.load(model.config.text_encoder)
            blocks = list(generate(ReferenceEngine(model), model.config, encoder, requests))
            codes = torch.cat(blocks, dim=-1)
            entry = {
                "step": step,
                "sha256": sha256(folder / WEIGHTS),
                "n_codebooks": codes.shape[1],
            }
            written.append(entry | {"codes_b64": [pack_codes(row) for row in codes]})
    write_json(path, made | {"models": kept})
