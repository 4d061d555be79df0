"""Corpus stages: compose scores with facts, render them to audio, and write captions."""

import functools
import json
import logging
import math
import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pretty_midi

from simba_music.training.corpus.captions import captions
from simba_music.training.corpus.compose import compose
from simba_music.training.corpus.facts import crop_facts

logger = logging.getLogger(__name__)

MANIFEST = "manifest.jsonl"
SAMPLE_RATE = 24_000
PIECES_PER_SHARD = 100
CROP_S = 10.0
TAIL_S = 1.0
GRID_S = 0.5


def split_of(seed: int) -> str:
    """train, valid or test (90, 5, 5 %), by piece."""
    value = random.Random(f"split{seed}").random()
    return "train" if value < 0.9 else "valid" if value < 0.95 else "test"


def _piece(seed: int) -> tuple[pretty_midi.PrettyMIDI, dict[str, Any]]:
    score, plan = compose(seed)
    total_s = min(30.0, math.ceil((score.get_end_time() + TAIL_S) / GRID_S) * GRID_S)
    spans = [(0.0, total_s)]
    rng = random.Random(f"crops{seed}")
    if total_s > CROP_S:
        starts = [round(rng.uniform(0, total_s - CROP_S) / GRID_S) * GRID_S for _ in range(2)]
        spans += [(0.0, CROP_S), *((s, s + CROP_S) for s in starts)]
    crops = []
    for start_s, end_s in spans:
        try:
            crops.append(crop_facts(score, plan, start_s, end_s))
        except ValueError:
            continue
    return score, {"seed": seed, "split": split_of(seed), "duration_s": total_s, "crops": crops}


def compose_corpus(hours: float, seed: int, out: Path) -> None:
    """Write `hours` of scores (MIDI) and `manifest.jsonl`, one line of facts a piece."""
    (out / "midi").mkdir(parents=True, exist_ok=True)
    rows, total_s, piece = [], 0.0, seed
    while total_s < hours * 3600:
        score, row = _piece(piece)
        score.write(str(out / "midi" / f"{piece}.mid"))
        rows.append(row)
        total_s += row["duration_s"]
        piece += 1
    write_rows(out / MANIFEST, rows)
    logger.info("%d pieces, %.1f h", len(rows), total_s / 3600)


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a JSON-lines file."""
    with path.open() as lines:
        for line in lines:
            yield json.loads(line)


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write JSON lines through a temporary file."""
    part = path.with_suffix(".part")
    part.write_text("".join(json.dumps(row) + "\n" for row in rows))
    part.replace(path)


@functools.cache
def _renderer() -> Any:
    """One synthesiser a process: loading the soundfonts takes seconds."""
    from simba_music.training.corpus.render import Renderer

    return Renderer(SAMPLE_RATE)


def render_shard(out: Path, shard: int, rows: list[dict[str, Any]]) -> int:
    """Render one shard of pieces to `audio/NNNN.npy`, int16 `[T]`, pieces end to end."""
    path = out / "audio" / f"{shard:04d}.npy"
    if path.exists():
        return shard
    parts = []
    for row in rows:
        score = pretty_midi.PrettyMIDI(str(out / "midi" / f"{row['seed']}.mid"))
        samples = _renderer().render(score, row["duration_s"], row["seed"])
        parts.append((samples * 32767).clip(-32768, 32767).astype(np.int16))
    with path.with_suffix(".part").open("wb") as file:
        np.save(file, np.concatenate(parts))
    path.with_suffix(".part").replace(path)
    return shard


def shards(out: Path) -> list[list[dict[str, Any]]]:
    """Manifest rows grouped by audio shard."""
    rows = list(read_rows(out / MANIFEST))
    return [rows[i : i + PIECES_PER_SHARD] for i in range(0, len(rows), PIECES_PER_SHARD)]


def render_corpus(out: Path, workers: int) -> None:
    """Render every shard that is not there yet, `workers` at a time."""
    (out / "audio").mkdir(exist_ok=True)
    groups = shards(out)
    with ProcessPoolExecutor(workers) as pool:
        jobs = [pool.submit(render_shard, out, i, rows) for i, rows in enumerate(groups)]
        for job in jobs:
            logger.info("shard %d of %d rendered", job.result() + 1, len(groups))


def shard_audio(out: Path, shard: int) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Every piece of a rendered shard: its manifest row and its int16 samples `[T]`."""
    samples, at = np.load(out / "audio" / f"{shard:04d}.npy", mmap_mode="r"), 0
    for row in shards(out)[shard]:
        length = round(row["duration_s"] * SAMPLE_RATE)
        yield row, samples[at : at + length]
        at += length


def piece_audio(out: Path) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Every piece of the corpus: its manifest row and its int16 samples `[T]`."""
    for shard in range(len(shards(out))):
        yield from shard_audio(out, shard)


def caption_corpus(out: Path) -> None:
    """Write `captions.jsonl`: per piece, per crop, three captions."""
    rows = []
    for row in read_rows(out / MANIFEST):
        texts = [captions(crop, row["seed"] * 16 + i) for i, crop in enumerate(row["crops"])]
        rows.append({"seed": row["seed"], "captions": texts})
    write_rows(out / "captions.jsonl", rows)
