"""Clips of prompts: generated in batches into a folder, so that a run that was stopped goes on."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from simba_music import audio
from simba_music.audio import SAMPLE_RATE, Waveform, mono, resample
from simba_music.conditioning.request import Request
from simba_music.errors import RequestError
from simba_music.files import read_json, write_json
from simba_music.generation.pipeline import Pipeline
from simba_music.generation.prompt_files import Prompt
from simba_music.generation.service import generate_many
from simba_music.generation.streaming.redrawing import why_empty
from simba_music.training.corpus.store import read_rows
from simba_music.training.evaluation.measures import Row, share_row

BATCH = 8
SEED = 0
VARIED_PROMPTS, SEEDS = 8, 3  # for diversity: so many prompts, each with so many seeds
SAMPLING = ("temperature", "top_k", "top_p", "guidance", "draw")
CLIPS, SETTINGS = "clips.jsonl", "settings.json"


Job = tuple[str, str, int]  # a clip's id, its prompt and seed


class ClipStore:
    """Clips of one model on disk, so that a run that was stopped goes on."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / CLIPS
        rows = list(read_rows(path)) if path.exists() else []
        self.rows: dict[str, Row] = {
            row["id"]: row for row in rows if (folder / f"{row['id']}.wav").exists()
        }

    def add(self, identifier: str, wave: Waveform, row: Row) -> None:
        """Write a clip, then say that it is there."""
        audio.write(self.folder / f"{identifier}.wav", wave)
        self.rows[identifier] = row | {"id": identifier}
        with (self.folder / CLIPS).open("a") as file:
            file.write(json.dumps(self.rows[identifier]) + "\n")

    def samples(self, identifier: str) -> np.ndarray:
        """Mono samples `[T]` at 24 kHz."""
        wave = audio.read(self.folder / f"{identifier}.wav")
        found: np.ndarray = resample(mono(wave), SAMPLE_RATE).samples[0].numpy()
        return found


def varied(prompts: list[Prompt]) -> list[Job]:
    """Each prompt once, the first few with more seeds."""
    jobs = [(prompt.id, prompt.text, SEED + i) for i, prompt in enumerate(prompts)]
    for i, prompt in enumerate(prompts[:VARIED_PROMPTS]):
        for k in range(1, SEEDS):
            jobs.append((f"{prompt.id}-seed{k}", prompt.text, SEED + i + 1000 * k))
    return jobs


def make_clips(
    pipeline: Pipeline, side: str, jobs: list[Job], duration_s: float, store: ClipStore
) -> None:
    """Generate what is missing, in batches, with a progress bar: first draws, however empty."""
    missing = [job for job in jobs if job[0] not in store.rows]
    requests = [
        pipeline.validate((side,), prompt=text, duration_s=duration_s, seed=seed, subseed=0)
        for _, text, seed in missing
    ]
    rate = pipeline.models[side].codec.frame_rate
    clips = tqdm(
        generate_many(pipeline, requests, side, BATCH),
        total=len(missing),
        desc=pipeline.names()[side],
        unit="clip",
        disable=None,
    )
    for (identifier, text, seed), clip in zip(missing, clips, strict=True):
        score = clip.score.as_dict() if clip.score else None
        empty = why_empty(clip.waveform, clip.recipe.gain_db, clip.codes, rate)
        row = {"prompt": text, "seed": seed, "score": score, "seconds": clip.seconds}
        own = row | {"empty": empty, "codes": clip.codes.tolist()}
        store.add(identifier, clip.waveform, own)


def first_draw_rows(name: str, store: ClipStore, identifiers: Sequence[str]) -> list[Row]:
    """Share of clips that `generate` would have drawn again; nothing of clips of before that."""
    found = [store.rows[one].get("empty") for one in identifiers]
    if None in found:
        return []
    return [share_row("first draws nearly empty", name, sum(map(bool, found)), len(found))]


def make_both_sides(
    pipeline: Pipeline,
    prompts: list[Prompt],
    duration_s: float,
    out: Path,
    jobs: list[Job] | None = None,
    **settings: object,
) -> dict[str, ClipStore]:
    """Clips of both sides in a folder of their own in `out`, by the model's name.

    Those of `varied` unless `jobs` says which; `settings` are what the folder is for besides.

    Raises:
        RequestError: If `out` holds clips of something else.
    """
    texts = [prompt.text for prompt in prompts]
    made_of = {"prompts": texts, "duration_s": duration_s, "models": pipeline.digests()}
    claim_folder(out, made_of | settings)
    stores = {}
    for side, name in pipeline.names().items():
        stores[name] = ClipStore(out / name)
        own = varied(prompts) if jobs is None else jobs
        make_clips(pipeline, side, own, duration_s, stores[name])
    return stores


def claim_folder(out: Path, settings: dict[str, Any]) -> None:
    """Say what the folder's clips are made of, sampling included; it may be said once.

    Raises:
        RequestError: If it holds clips of something else.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / SETTINGS
    defaults = Request("").as_dict()
    settings = settings | {"sampling": {name: defaults[name] for name in SAMPLING}}
    if path.exists() and read_json(path) != settings:
        raise RequestError(f"{out} holds clips of other settings. Choose another --out.")
    write_json(path, settings)
