"""Evaluation on prompts: clips of any prompt file, scored and compared with a reference set."""

import itertools
import logging
import shutil
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
from scipy import stats

from simba_music.audio import SAMPLE_RATE, SUFFIXES
from simba_music.errors import RequestError
from simba_music.files import write_atomic, write_json
from simba_music.files.names import Folder
from simba_music.generation.pipeline import Pipeline
from simba_music.generation.prompt_files import Prompt, read_prompts
from simba_music.models.report import ReportTable, source_line, table
from simba_music.training.corpus.own.recordings import decode
from simba_music.training.corpus.own.wanted import every_recording
from simba_music.training.evaluation import distances
from simba_music.training.evaluation.clip_store import (
    SEEDS,
    VARIED_PROMPTS,
    ClipStore,
    first_draw_rows,
    make_both_sides,
)
from simba_music.training.evaluation.distances import (
    Tagged,
    distance_rows,
    mean_cosine_distance,
    together,
)
from simba_music.training.evaluation.measures import Row, in_order, mean_row, row_of
from simba_music.training.evaluation.musical import musical_rows, real_rows
from simba_music.training.judges.tagger import Tagger, load_tagger
from simba_music.training.record import git_commit, machine

logger = logging.getLogger(__name__)

SCORES = {"alignment (cosine)": "cosine", "percentile among mismatched prompts": "percentile"}
DISTANCES = "FAD, KAD, KL"  # what is missing without a reference set


def reference_sounds(folder: Path | None, bench: Path) -> tuple[str, list[np.ndarray]]:
    """(what they are, samples `[T]`) of a folder of audio, or renderings of the benchmark.

    Raises:
        RequestError: If there is no audio, or no synthesiser for the benchmark.
    """
    if folder is not None:
        return folder.name, _sounds_of(folder)
    if shutil.which("fluidsynth") is None:
        raise RequestError("FluidSynth is not installed, so the benchmark cannot be rendered")
    from simba_music.training.evaluation.codec import bench_sounds

    return bench.name, [sound.samples for sound in bench_sounds(bench)]


def _sounds_of(folder: Path) -> list[np.ndarray]:
    """Every recording of a folder that can be read, `[T]`; others are logged with their reason."""
    wanted, left = every_recording(Folder(folder))
    sounds, problems = list[np.ndarray](), [f"{row['file']}: {row['reason']}" for row in left]
    for entry in wanted:
        try:
            sounds.append(decode(folder / entry.file, SAMPLE_RATE)[0])
        except RequestError as error:
            problems.append(str(error))
    for problem in problems:
        logger.warning("left out of the reference: %s", problem)
    if not sounds:
        why = f" {problems[0]}" if problems else ""
        raise RequestError(f"{folder} holds no audio ({', '.join(SUFFIXES)}).{why}")
    return sounds


def model_rows(
    name: str, store: ClipStore, prompts: list[Prompt], tagger: Tagger, reference: Tagged | None
) -> list[Row]:
    """Every measure of one model's clips."""
    rows, scores = [], [store.rows[p.id]["score"] for p in prompts]
    for metric, key in SCORES.items():
        values = [s[key] for s in scores if s and s[key] is not None]
        if len(values) > 1:
            rows.append(mean_row(metric, name, values))
    sounds = {identifier: store.samples(identifier) for identifier in store.rows}
    heard = {k: tagger.listen(sound) for k, sound in sounds.items()}
    mean = {k: vectors.mean(0) for k, (vectors, _) in heard.items()}
    families = [
        [mean[k] for k in (p.id, *(f"{p.id}-seed{i}" for i in range(1, SEEDS)))]
        for p in prompts[:VARIED_PROMPTS]
    ]
    same = [mean_cosine_distance(np.stack(family)) for family in families]
    if len(same) > 1:
        rows.append(mean_row("distance of seeds of one prompt", name, same))
        across = mean_cosine_distance(np.stack([mean[p.id] for p in prompts]))
        rows.append(row_of("distance of prompts", name, across, across, across, len(prompts)))
    speeds = [len(sounds[k]) / SAMPLE_RATE / row["seconds"] for k, row in store.rows.items()]
    rows.append(mean_row("seconds of audio per second, in batches", name, speeds))
    rows += musical_rows(name, [sounds[p.id] for p in prompts])
    rows += first_draw_rows(name, store, [p.id for p in prompts])
    own = together([heard[p.id] for p in prompts])
    return rows + (distance_rows(name, own, reference) if reference else [])


def _paired_row(stores: dict[str, ClipStore], prompts: list[Prompt]) -> list[Row]:
    """Mean difference of alignment of the two models over the same prompts (Student's t)."""
    (first, a), (second, b) = stores.items()
    scores = [(a.rows[p.id]["score"], b.rows[p.id]["score"]) for p in prompts]
    cosines = [(x["cosine"], y["cosine"]) for x, y in scores if x and y]
    pairs = [x - y for x, y in cosines if x is not None and y is not None]
    if len(pairs) < 3 or np.ptp(pairs) == 0:
        return []
    interval = stats.ttest_1samp(pairs, 0).confidence_interval()
    name = f"{first} minus {second}"
    mean = float(np.mean(pairs))
    return [row_of("alignment (cosine)", name, mean, interval.low, interval.high, len(pairs))]


def _draw(stores: dict[str, ClipStore], path: Path) -> None:
    """Histogram of the alignment of each model's clips."""
    import matplotlib

    # No window is wanted, and a server has no screen.
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3.5), dpi=110)
    for name, store in stores.items():
        scores = [row["score"] for row in store.rows.values()]
        values = [s["cosine"] for s in scores if s and s["cosine"] is not None]
        axes.hist(values, bins=20, range=(-0.5, 1), alpha=0.6, label=name)
    axes.set_xlabel("alignment (cosine)")
    axes.set_ylabel("clips")
    axes.legend(loc="upper left")
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def _reference(
    tagger: Tagger, folder: Path | None, bench: Path
) -> tuple[str, list[np.ndarray], Tagged | None, dict[str, str]]:
    """(what, samples `[T]`, what the tagger makes of them, what is missing) of the reference set.

    Raises:
        RequestError: If a `folder` is given that holds no audio.
    """
    try:
        what, sounds = reference_sounds(folder, bench)
    except RequestError as error:
        if folder is not None:
            raise
        return bench.name, [], None, {DISTANCES: str(error)}
    heard = together([tagger.listen(sound) for sound in sounds])
    if (count := len(heard.vectors)) < distances.FEWEST_WINDOWS:
        reason = f"need {distances.FEWEST_WINDOWS} windows of 5 s; the reference {what} has {count}"
        return what, sounds, heard, {DISTANCES: reason}
    return what, sounds, heard, {}


def _halves_rows(what: str, reference: Tagged) -> list[Row]:
    """How far the reference set is from itself: below that, a distance says nothing."""
    # Every second window, so that both halves have some of each piece.
    even = np.arange(len(reference.vectors)) % 2 == 0
    halves = [Tagged(reference.vectors[k], reference.tags[k]) for k in (even, ~even)]
    return distance_rows(f"half of {what} to the other half", *halves)


def _write(out: Path, made: dict[str, Any], title: str) -> None:
    """Write `report.json` and, for reading, `report.md`."""
    write_json(out / "report.json", {"schema": 2, "tables": [made]})
    text = [f"# {title}: {made['prompts']} prompts, {made['duration_s']:g} s each"]
    text += [
        table(made["rows"]),
        source_line(cast(ReportTable, made)),
        f"Scorer: {made['scorer']}.",
    ]
    text += ["![Alignment](alignment.png)"]
    text += [f"Left out: {len(made['left_out'])}."] if made["left_out"] else []
    write_atomic(out / "report.md", ("\n\n".join(text) + "\n").encode())


def evaluate_prompt_list(
    pipeline: Pipeline,
    file: Path,
    out: Path,
    bench: Path,
    reference_folder: Path | None = None,
    duration_s: float = 10.0,
    limit: int | None = None,
    skip: int = 0,
) -> None:
    """Clips of both sides for a prompt file, into `out`: `report.json`, `report.md`, figures.

    Args:
        pipeline: the checkpoints and the scorer.
        file: see `read_prompts`.
        out: folder for clips and reports; a run that was stopped goes on there.
        bench: frozen benchmark, rendered as the reference set unless a folder is given.
        reference_folder: audio that the clips are compared with.
        duration_s: of every clip.
        limit: only the first prompts.
        skip: so many lines or rows of the file are passed over before.

    Raises:
        RequestError: On a bad prompt file, or a folder with other settings.
    """
    started, limits = time.monotonic(), pipeline.limits()
    # All that is given is read before hours are spent on clips.
    prompts, left_out = read_prompts(file, limits.count_tokens, limits.max_text_tokens, limit, skip)
    for line in left_out:
        logger.warning("left out: %s", line)
    tagger = load_tagger()
    what, real, reference, missing = _reference(tagger, reference_folder, bench)
    if missing:
        logger.warning("will be missing: %s", missing)
    stores = make_both_sides(pipeline, prompts, duration_s, out)
    each = (model_rows(*pair, prompts, tagger, reference) for pair in stores.items())
    rows = [*_paired_row(stores, prompts), *itertools.chain(*each)]
    if reference is not None:
        codec = pipeline.models["left"].codec
        rows += _halves_rows(what, reference) + real_rows(what, real, duration_s, codec)
        distant = {row["model"] for row in rows if row["metric"].startswith("FAD")}
        if not missing and not distant & set(stores):
            missing[DISTANCES] = f"need {distances.FEWEST_WINDOWS} windows of 5 s, a model"
    scorer = pipeline.scorer
    made: dict[str, Any] = {
        "id": f"prompts-{file.stem}",
        "machine": machine(),
        "commit": git_commit(),
        "checkpoints": pipeline.digests(),
        "engine": pipeline.engine_now(),
        "scorer": f"{scorer.identifier} {scorer.revision}" if scorer else "none",
        "prompts": len(prompts),
        "left_out": left_out,
        "duration_s": duration_s,
        "missing": missing,
        "rows": in_order(rows),
    }
    _draw(stores, out / "alignment.png")
    _write(out, made, file.name)
    logger.info("%s in %.1f min", out / "report.md", (time.monotonic() - started) / 60)
