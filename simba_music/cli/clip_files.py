"""Clip files: one prompt, or a CSV of them, to WAV files and recipes."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from simba_music import audio
from simba_music.conditioning.request import Request
from simba_music.errors import RequestError
from simba_music.files import write_json
from simba_music.generation.clip import Clip, Progress
from simba_music.generation.pipeline import Pipeline
from simba_music.generation.prompt_files import read_batch
from simba_music.generation.recipe import Recipe, tags_of
from simba_music.generation.service import generate_many

MANIFEST = "manifest.jsonl"


def make_folder(path: Path) -> None:
    """Make it if it is missing.

    Raises:
        RequestError: If it cannot be written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(
            f"Cannot write to {path}: {error.strerror}. Choose another folder with --out."
        ) from error
    if not os.access(path, os.W_OK):
        raise RequestError(f"Cannot write to {path}: no permission. Choose another with --out.")


def generate_one(
    pipeline: Pipeline, prompt: str, options: dict[str, Any], model: str, out: Path
) -> None:
    """One prompt to a WAV file a clip and `recipe.json`; Ctrl-C keeps what was made so far.

    Args:
        pipeline: the loaded models.
        prompt: in words.
        options: settings of the request that were given, under the names of Request.
        model: left, right, both, or a checkpoint's name.
        out: folder.

    Raises:
        RequestError: If the request is out of range or the folder cannot be written to.
    """
    sides = pipeline.choose(model)
    request = pipeline.validate(sides, prompt=prompt, **options)
    make_folder(out)
    stopped: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, _frame: stopped.append(number))
    rows: dict[tuple[int, int], tuple[str, dict[str, Any]]] = {}
    running: dict[str, Progress] = {}
    try:
        for event in pipeline.generate(request, sides, lambda: bool(stopped)):
            if isinstance(event, Progress):
                running[event.side] = event
                sys.stderr.write(_progress([running[s] for s in sides if s in running]))
            if not isinstance(event, Clip):
                continue
            name = f"{event.name}{f'-take{event.take + 1}' if request.takes > 1 else ''}.wav"
            write_clip(out / name, event)
            rows[sides.index(event.side), event.take] = name, _row(event)
            running.pop(event.side, None)
            sys.stderr.write("\n")
            print(_describe(out / name, event))
    finally:
        signal.signal(signal.SIGINT, previous)
    # In the order of sides and takes, whichever was done first.
    clips = dict(row for _, row in sorted(rows.items()))
    write_json(out / "recipe.json", {"schema": 2, "clips": clips})


def _progress(running: list[Progress]) -> str:
    """One line for all sides that are being generated, over the line before."""
    each = (f"{e.name}: {e.frames}/{e.total_frames} tokens, {e.elapsed_s:.1f} s" for e in running)
    return f"\r{'; '.join(each)} "


def _row(clip: Clip) -> dict[str, Any]:
    """A clip as recipe.json has it."""
    return {
        "recipe": clip.recipe.as_json(),
        "codes": clip.codes.numel(),
        "seconds": round(clip.seconds, 3),
        "tokens_per_s": round(clip.tokens_per_s, 1),
        "stopped_early": clip.stopped_early,
    }


def write_clip(path: Path, clip: Clip) -> None:
    """The sound of a clip, with its recipe.

    Raises:
        RequestError: If it cannot be written.
    """
    try:
        audio.write(path, clip.waveform, tags_of(clip.recipe))
    except OSError as error:
        raise RequestError(
            f"Cannot write {path}: {error.strerror}. Choose another --out."
        ) from error


def _describe(path: Path, clip: Clip) -> str:
    """One line a clip for the terminal."""
    score = clip.score
    fit = (
        "not scored"
        if score is None
        else (
            f"not scored ({score.reason})"
            if score.cosine is None
            else f"score {score.cosine:.3f}, above {score.percentile:g} % of mismatched prompts"
        )
    )
    fit += f" ({score.note})" if score and score.note else ""
    fit += "".join(f", {said}" for said in _said(clip.recipe))
    if clip.recipe.request.subseed:
        fit += f", draw {clip.recipe.request.subseed + 1}, as those before it were nearly empty"
    return (
        f"{path}: {clip.waveform.duration_s:g} s of audio in {clip.seconds:.1f} s "
        f"({clip.times_real_time:.1f} s of audio per second, {clip.tokens_per_s:.0f} tokens/s), "
        f"seed {clip.recipe.request.seed}, {fit}"
        f"{', stopped early' if clip.stopped_early else ''}"
    )


def _said(recipe: Recipe) -> list[str]:
    """What was drawn, is left out, cannot be done or hardly understood, if anything."""
    said = [f"drawn: {', '.join(recipe.drawn.values())}"] if recipe.drawn else []
    said += [f"without {', '.join(recipe.denied)}"] if recipe.denied else []
    said += [f"not possible here: {', '.join(recipe.cannot)}"] if recipe.cannot else []
    return said + ([recipe.note] if recipe.note else [])


def _note(manifest: Path, row: dict[str, Any]) -> None:
    """Add a row on a line of its own, whatever a lost current has left of the one before."""
    with manifest.open("ab+") as file:
        file.seek(max(0, file.tell() - 1))
        cut = file.read(1) not in (b"", b"\n")
        file.write(b"\n" * cut + json.dumps(row).encode() + b"\n")


def _done(out: Path, side: str, requests: dict[str, Request], pipeline: Pipeline) -> set[str]:
    """Ids of the clips of a side that the manifest has, each made as it is asked for now.

    Raises:
        RequestError: If one was made with other settings, or by another model.
    """
    found, weights = set[str](), pipeline.models[side].origin.sha256
    lines = (out / MANIFEST).read_text().splitlines() if (out / MANIFEST).exists() else []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:  # cut short by a full disk or a lost current; the clip is made again
            continue
        if not isinstance(row, dict) or "recipe" not in row:
            continue
        identifier = row.get("id")
        if row.get("side") != side or identifier not in requests:
            continue
        made, asked = row["recipe"]["request"], requests[identifier].as_dict()
        said = {k: value for k, value in asked.items() if k in made and value is not None}
        other = {k: made[k] for k, value in said.items() if made[k] != value}
        if row["recipe"]["model"]["sha256"] != weights:
            other = {"model": row["recipe"]["model"]["id"]}
        if other:
            name, value = next(iter(other.items()))
            raise RequestError(
                f"{out} holds {row['file']} with {name} {value!r}, not {asked.get(name, side)!r}. "
                "Choose another --out, or remove what is there."
            )
        found.add(identifier)
    return found


def generate_prompts(
    pipeline: Pipeline, prompts: Path, options: dict[str, Any], model: str, out: Path, batch: int
) -> None:
    """Prompts of a CSV to `<out>/<side>/<id>.wav` and `manifest.jsonl`; skips what is there.

    Args:
        pipeline: the loaded models.
        prompts: CSV with the columns id, prompt and, if a row has its own, duration_s and seed.
        options: settings of every request that were given, under the names of Request.
        model: left, right, both, or a checkpoint's name.
        out: folder.
        batch: prompts decoded together.

    Raises:
        RequestError: If a row or a setting is out of range, the folder cannot be written to, or it
            holds a clip that was made with other settings.
    """
    rows = read_batch(prompts)
    if batch < 1:
        raise RequestError(f"--batch must be at least 1, got {batch}.")
    sides = pipeline.choose(model)
    requests = {i: pipeline.validate(sides, **(options | row)) for i, row in rows.items()}
    for side in sides:
        folder = out / side
        make_folder(folder)
        # Similar lengths together: a batch runs as long as its longest clip.
        done = _done(out, side, requests, pipeline)
        missing = sorted(
            (i for i in requests if i not in done or not (folder / f"{i}.wav").exists()),
            key=lambda i: requests[i].duration_s,
        )
        clips = generate_many(pipeline, [requests[i] for i in missing], side, batch)
        for number, (identifier, clip) in enumerate(zip(missing, clips, strict=True), 1):
            row = {
                "id": identifier,
                "side": side,
                "file": f"{side}/{identifier}.wav",
                "codes": clip.codes.tolist(),
                "recipe": clip.recipe.as_json(),
            }
            # The sound first: a row says that its clip is whole.
            write_clip(folder / f"{identifier}.wav", clip)
            _note(out / MANIFEST, row)
            if number % batch == 0 or number == len(missing):
                print(f"{side}: {number} of {len(missing)} clips")
