"""Corpus stages: compose scores with facts, render them to audio, and write captions."""

import functools
import logging
import math
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from simba_music.audio import SAMPLE_RATE
from simba_music.training.corpus.captioning.captions import captions
from simba_music.training.corpus.captioning.musician import musician
from simba_music.training.corpus.composing.compose import compose, compose_again
from simba_music.training.corpus.composing.mma import Accompaniment, find_mma
from simba_music.training.corpus.facts import piece_facts
from simba_music.training.corpus.rendering.production import produce
from simba_music.training.corpus.store import (
    CAPTIONS,
    MANIFEST,
    Row,
    check_composed,
    claim_sample_rate,
    read_rows,
    shard_path,
    shards,
    to_int16,
    write_array,
    write_rows,
)

logger = logging.getLogger(__name__)

PIECES_PER_SHARD = 50
CAPTION_SEEDS = 64  # more than a piece has crops


def compose_piece(seed: int, out: Path | None = None, accompaniment: Accompaniment = "own") -> Row:
    """Compose one piece, write its MIDI to `out/midi`, and return its manifest row."""
    score, _, draft = compose(seed, accompaniment)
    if out is not None:
        score.write(str(out / "midi" / f"{seed}.mid"))
    return piece_facts(score, draft)


def compose_corpus(
    hours: float, seed: int, out: Path, workers: int, accompaniment: Accompaniment = "own"
) -> None:
    """Write `hours` of scores (MIDI) and the manifest, one line of facts a piece.

    Piece `i` has the seed `seed + i`; the manifest comes last, so an interrupted run starts over.

    Raises:
        RequestError: If the accompaniment is mma's, which is not installed.
    """
    if accompaniment == "mma":
        find_mma()
    (out / "midi").mkdir(parents=True, exist_ok=True)
    rows, total_s = list[Row](), 0.0
    task = functools.partial(compose_piece, out=out, accompaniment=accompaniment)
    with (
        ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool,
        tqdm(total=hours * 3600, unit="s", unit_scale=True, desc="compose", disable=None) as bar,
    ):
        while total_s < hours * 3600:
            first = seed + len(rows)
            count = max(workers, min(1000, math.ceil((hours * 3600 - total_s) / 33)))
            for row in pool.map(task, range(first, first + count), chunksize=10):
                if total_s < hours * 3600:
                    rows.append(row | {"shard": len(rows) // PIECES_PER_SHARD})
                    total_s += row["duration_s"]
                    bar.update(min(row["duration_s"], bar.total - bar.n))
                else:  # composed ahead of need
                    (out / "midi" / f"{row['id']}.mid").unlink()
    write_rows(out / MANIFEST, rows)
    logger.info(
        "%d pieces, %.2f h, splits %s",
        len(rows),
        total_s / 3600,
        dict(Counter(row["split"] for row in rows)),
    )


@functools.cache
def renderer(sample_rate: int) -> Any:
    """One synthesiser a process: loading the soundfonts takes seconds."""
    from simba_music.training.corpus.rendering.render import Renderer

    return Renderer(sample_rate)


def render_piece(row: Row, sample_rate: int) -> np.ndarray:
    """Compose a piece again from its seed and render it, int16 `[T]`."""
    score, plan, _ = compose_again(row)
    production = produce(plan)
    return to_int16(renderer(sample_rate).render(score, production, row["duration_s"]))


def render_shard(out: Path, rows: list[Row], sample_rate: int) -> float:
    """Render one shard of pieces that is not there yet; returns its length in seconds."""
    path = shard_path(out, rows[0]["shard"])
    if not path.exists():
        write_array(path, np.concatenate([render_piece(row, sample_rate) for row in rows]))
    return sum(float(row["duration_s"]) for row in rows)


def first_hours(groups: list[list[Row]], hours: float | None) -> list[list[Row]]:
    """The first shards that hold `hours` of audio; None is all."""
    total_s, kept = 0.0, []
    for rows in groups:
        if hours is not None and total_s >= hours * 3600:
            break
        kept.append(rows)
        total_s += sum(row["duration_s"] for row in rows)
    return kept


def render_corpus(
    out: Path, workers: int, hours: float | None = None, sample_rate: int = SAMPLE_RATE
) -> None:
    """Render the first `hours` of pieces, shard by shard; a second run goes on where one stopped.

    Raises:
        RequestError: If the corpus holds audio at another rate, or nothing can be rendered here.
    """
    check_composed(out, "rendering")
    groups = first_hours(shards(out), hours)
    renderer(sample_rate)  # fails here, with its advice, rather than in every worker
    claim_sample_rate(out, sample_rate)
    total_s = sum(row["duration_s"] for rows in groups for row in rows)
    with (
        ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool,
        tqdm(total=total_s, unit="s", unit_scale=True, desc="render", disable=None) as bar,
    ):
        started = time.monotonic()
        jobs = [pool.submit(render_shard, out, rows, sample_rate) for rows in groups]
        try:
            for job in jobs:
                bar.update(job.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    speed = total_s / (time.monotonic() - started)
    logger.info("%.2f h, %.0f times real time on %d workers", total_s / 3600, speed, workers)


def captions_of(row: Row, musicians: bool = False) -> list[list[str]]:
    """Six captions of every crop of a composed piece, and a musician's, if that is wanted."""
    # A seed a crop, so that captions do not change when other pieces join.
    seeds = [row["seed"] * CAPTION_SEEDS + i for i in range(len(row["crops"]))]
    more = [[musician(c, s)] if musicians else [] for c, s in zip(row["crops"], seeds, strict=True)]
    own = [captions(crop, seed) for crop, seed in zip(row["crops"], seeds, strict=True)]
    return [a + b for a, b in zip(own, more, strict=True)]


def caption_corpus(out: Path, musicians: bool = False) -> None:
    """Write `captions.jsonl`: per piece, per crop, the captions of `captions_of`."""
    check_composed(out, "writing captions")
    rows = []
    for row in tqdm(list(read_rows(out / MANIFEST)), unit="piece", desc="caption", disable=None):
        rows.append({"id": row["id"], "captions": captions_of(row, musicians)})
    write_rows(out / CAPTIONS, rows)
