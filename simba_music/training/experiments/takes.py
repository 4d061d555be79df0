"""Evaluation of takes: what is gained when several takes are scored and the best one is kept."""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from simba_music.errors import RequestError
from simba_music.generation.pipeline import Pipeline
from simba_music.training.corpus.bench import read_bench
from simba_music.training.evaluation.adherence import (
    DURATION_S,
    Asked,
    instruments_found,
    make_asked,
)
from simba_music.training.evaluation.clip_store import SEED, ClipStore, make_both_sides
from simba_music.training.evaluation.measures import Row, in_order, mean_row
from simba_music.training.evaluation.report import update_report
from simba_music.training.judges.tagger import Tagger, load_tagger, tagger_weights

logger = logging.getLogger(__name__)

TAKES, PROMPTS = 4, 60
ALIGNMENT, INSTRUMENTS = "alignment (cosine)", "instruments (tagger, AUC)"


def _name(one: Asked, take: int) -> str:
    return f"{one.prompt.id}-take{take}"


def take_rows(name: str, found: Mapping[str, np.ndarray], chosen: np.ndarray) -> list[Row]:
    """Of every measure the mean of first takes, of those that were chosen, and what that adds.

    Args:
        name: of the model.
        found: by measure, `[N, T]` of prompt and take.
        chosen: the take of every prompt that the scorer ranks first, `[N]`.
    """
    rows, prompts = list[Row](), np.arange(len(chosen))
    for metric, values in found.items():
        first, best = values[:, 0], values[prompts, chosen]
        for label, shown in (
            ("first take", first),
            (f"best of {values.shape[1]}", best),
            ("added", best - first),
        ):
            rows.append(mean_row(f"{metric}, {label}", name, shown.tolist()))
    return rows


def _measures(
    store: ClipStore, asked: Sequence[Asked], tagger: Tagger
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Measures `[N, T]` of clips, and the takes that the scorer ranks first, `[N]`.

    A clip that cannot be scored ranks last. Instruments are compared within the clips of one take
    number, so that every prompt is judged beside the same others.
    """
    cosines = np.full((len(asked), TAKES), -1.0)
    tags = list[list[np.ndarray]]()
    for i, one in enumerate(asked):
        tags.append([])
        for take in range(TAKES):
            score = store.rows[_name(one, take)]["score"] or {}
            if score.get("cosine") is not None:
                cosines[i, take] = score["cosine"]
            tags[-1].append(tagger.listen(store.samples(_name(one, take)))[1].mean(0))
    heard = np.array(tags)
    labels = tagger.config.labels
    instruments = [instruments_found(asked, heard[:, take], labels) for take in range(TAKES)]
    found = {ALIGNMENT: cosines, INSTRUMENTS: np.stack(instruments, axis=1)}
    return found, cosines.argmax(1)


def evaluate_takes(
    pipeline: Pipeline, out: Path, bench: Path, report: Path, limit: int | None = None
) -> None:
    """Fill the report's table `takes`: clips of the first prompts, four takes each.

    The scorer ranks the takes of a prompt; its own alignment says how much there was to choose
    from, and the tagger, which did not rank, whether the choice has more of what was asked for.

    Args:
        pipeline: the checkpoints and the scorer.
        out: folder for clips; a run that was stopped goes on.
        bench: frozen benchmark.
        report: REPORT.json.
        limit: prompts, `PROMPTS` if None; given, the report is left as it is.

    Raises:
        RequestError: If there is no scorer, or the folder holds clips of other settings.
    """
    if pipeline.scorer is None:
        raise RequestError("Takes are ranked by the scorer: give --scorer.")
    started = time.monotonic()
    asked = make_asked(list(read_bench(bench)))[: limit or PROMPTS]
    tagger, rows = load_tagger(), list[Row]()
    jobs = [
        (_name(one, take), one.prompt.text, SEED + 1000 * i + take)
        for i, one in enumerate(asked)
        for take in range(TAKES)
    ]
    prompts = [one.prompt for one in asked]
    stores = make_both_sides(pipeline, prompts, DURATION_S, out, jobs, takes=TAKES)
    for name, store in stores.items():
        rows += take_rows(name, *_measures(store, asked, tagger))
    if limit is None:
        weights = pipeline.weights() | tagger_weights()
        update_report(report, {"takes": in_order(rows)}, weights)
    for row in in_order(rows):
        logger.info("%(metric)s, %(model)s: %(value).4f (%(lo).4f to %(hi).4f), n %(n)d", row)
    logger.info("takes in %.1f min", (time.monotonic() - started) / 60)
