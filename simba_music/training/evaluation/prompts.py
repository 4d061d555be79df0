"""Evaluation on the frozen benchmark: adherence, alignment, health and distance of both models."""

import logging
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from simba_music.audio import SAMPLE_RATE, Waveform, resample
from simba_music.errors import RequestError
from simba_music.files import read_json
from simba_music.generation.pipeline import Pipeline
from simba_music.generation.prompt_files import Prompt
from simba_music.generation.request import SIDES
from simba_music.models.codec import Codec
from simba_music.scoring.score import Scorer
from simba_music.training.corpus.bench import BenchItem, read_bench
from simba_music.training.evaluation.adherence import (
    DURATION_S,
    Asked,
    adherence_rows,
    listen,
    make_asked,
)
from simba_music.training.evaluation.clip_store import (
    SETTINGS,
    ClipStore,
    first_draw_rows,
    make_both_sides,
)
from simba_music.training.evaluation.distances import distance_rows, similarity_rows, together
from simba_music.training.evaluation.health import (
    degenerate_row,
    flatness_rows,
    run_limit,
    sound_rows,
    token_rows,
)
from simba_music.training.evaluation.measures import Row, flatness, in_order, mean_row, row_of
from simba_music.training.evaluation.musical import musical_rows
from simba_music.training.evaluation.report import update_report
from simba_music.training.judges.tagger import load_tagger, tagger_weights

logger = logging.getLogger(__name__)

REAL, TRIP = "real piece", "codec round trip of the real piece"
Heard = tuple[np.ndarray, np.ndarray]  # the tagger's embeddings [W, E] and tags [W, L]


def _excerpt(sound: np.ndarray, start_s: float) -> np.ndarray:
    start = round(start_s * SAMPLE_RATE)
    return sound[start : start + round(DURATION_S * SAMPLE_RATE)]


def _beside(folder: Path, prompts: Sequence[Prompt]) -> dict[str, ClipStore]:
    """Clips of an earlier run of the same prompts, by model and folder.

    Raises:
        RequestError: If they are of other prompts.
    """
    path, texts = folder / SETTINGS, [prompt.text for prompt in prompts]
    found = read_json(path) if path.exists() else {}
    if (found.get("prompts"), found.get("duration_s")) != (texts, DURATION_S):
        raise RequestError(f"{folder} holds no clips of the same prompts; make them first.")
    stores = (ClipStore(part) for part in sorted(folder.iterdir()) if part.is_dir())
    return {f"{store.folder.name}, {folder.name}": store for store in stores}


def embed_clips(scorer: Scorer, clips: Sequence[np.ndarray]) -> torch.Tensor:
    """Unit vectors `[N, E]` of clips `[T]` at 24 kHz."""
    waves = (Waveform(torch.from_numpy(clip)[None], SAMPLE_RATE) for clip in clips)
    return torch.stack([scorer.embed_wave(wave) for wave in waves])


def alignment_rows(
    scorer: Scorer, asked: Sequence[Asked], sounds: dict[str, list[np.ndarray]]
) -> list[Row]:
    """Cosine of every system's clips with their prompts, and with those of other clips.

    And with the pieces that the prompts were made from, in the space of this scorer.
    """
    text = scorer.embed_prompts([one.prompt.text for one in asked])
    embedded = {name: embed_clips(scorer, clips) for name, clips in sounds.items()}
    own, others = list[Row](), list[Row]()
    for name, audio in embedded.items():
        for rows, metric, vectors in (
            (own, "alignment (cosine)", text),
            (others, "alignment with the next clip's prompt", text.roll(1, 0)),
        ):
            rows.append(mean_row(metric, name, (audio * vectors).sum(-1).tolist()))
    found = {name: list(audio.numpy()) for name, audio in embedded.items()}
    return own + others + similarity_rows(found, REAL, "scorer")


class HeldPieces:
    """Renderings of the benchmark's pieces, and what a codec makes of them.

    Of so many books as a model generates; tokens `[S]` are the first book's.
    """

    def __init__(self, items: Sequence[BenchItem]):
        self.sounds = [item.render(SAMPLE_RATE) for item in items]
        self._trips = dict[tuple[str | None, int], tuple[list[np.ndarray], list[np.ndarray]]]()

    def through(self, codec: Codec, books: int = 1) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """(samples at 24 kHz, tokens) of every piece."""
        key = codec.ref.sha256, books
        if key not in self._trips:
            tokens, made = [], []
            for sound in self.sounds:
                ids = codec.encode(Waveform(torch.from_numpy(sound)[None], SAMPLE_RATE), books)
                (wave,) = codec.decode(ids)
                tokens.append(ids[0, 0].numpy())
                made.append(resample(wave, SAMPLE_RATE).samples[0].numpy())
            self._trips[key] = made, tokens
        return self._trips[key]


def _token_health(
    pipeline: Pipeline,
    side: str,
    held: HeldPieces,
    sounds: Sequence[np.ndarray],
    tokens: Sequence[np.ndarray],
) -> list[Row]:
    """Rows of a model's tokens beside those of held-out pieces in its own codec.

    Both are compared with one half of the pieces, so that the pieces themselves can be.
    """
    model, name = pipeline.models[side], pipeline.names()[side]
    codec, books = model.codec, model.lm.config.n_codebooks
    known, vocab = held.through(codec, books)[1], codec.ref.codebook_size
    half = [known[0::2], known[1::2]]
    limit = run_limit(known)
    rows = token_rows(name, tokens, half[1], vocab)
    rows.append(degenerate_row(name, sounds, tokens, limit))
    if side == SIDES[0]:
        rows += token_rows(TRIP, half[0], half[1], vocab)
        rows.append(row_of("longest run allowed", TRIP, limit, limit, limit, len(known)))
    return rows


def _sounds(
    asked: Sequence[Asked],
    stores: dict[str, ClipStore],
    held: HeldPieces,
    trips: Sequence[np.ndarray],
) -> dict[str, list[np.ndarray]]:
    """Samples `[T]` at 24 kHz of every model, of the codec and of the truth, a clip a prompt."""
    sounds = {
        name: [store.samples(one.prompt.id) for one in asked] for name, store in stores.items()
    }
    for name, wholes in ((TRIP, trips), (REAL, held.sounds)):
        sounds[name] = [_excerpt(s, one.start_s) for s, one in zip(wholes, asked, strict=True)]
    return sounds


def prompts_table(
    scorer: Scorer | None,
    asked: Sequence[Asked],
    sounds: dict[str, list[np.ndarray]],
    heard: dict[str, list[Heard]],
    labels: Sequence[str],
) -> list[Row]:
    """Have every system's clips what the prompts ask for?"""
    listened = {
        name: listen(clips, np.stack([tags.mean(0) for _, tags in heard[name]]), labels)
        for name, clips in sounds.items()
    }
    rows = adherence_rows(asked, listened, TRIP, labels)
    vectors = {name: [own.mean(0) for own, _ in found] for name, found in heard.items()}
    rows += similarity_rows(vectors, REAL, "tagger")
    return rows if scorer is None else rows + alignment_rows(scorer, asked, sounds)


def health_table(
    asked: Sequence[Asked],
    sounds: dict[str, list[np.ndarray]],
    ended: dict[str, Sequence[np.ndarray]],
    heard: dict[str, list[Heard]],
) -> list[Row]:
    """Are every system's clips sound, and how far are they from the real pieces?

    `ended` has whole pieces in place of excerpts, which do not end.
    """
    tagged = {name: together(found) for name, found in heard.items()}
    flat = {name: [flatness(clip) for clip in clips] for name, clips in sounds.items()}
    drums = [bool(one.facts["drums"]) for one in asked]
    rows = list[Row]()
    for name, clips in sounds.items():
        rows += sound_rows(name, ended.get(name, clips))
        rows += musical_rows(name, clips)
        rows += flatness_rows(name, flat[name], flat[REAL], drums)
        if name != REAL:
            rows += distance_rows(name, tagged[name], tagged[REAL])
    return rows


def evaluate_prompts(
    pipeline: Pipeline,
    out: Path,
    bench: Path,
    report: Path,
    beside: Sequence[Path] = (),
    limit: int | None = None,
) -> None:
    """Fill the report's tables `prompts` and `health` from prompts made of the benchmark's facts.

    Clips of ten seconds go to `out`; a run that was stopped goes on. The ceiling is the middle of
    the real pieces after the codec of the left side.

    Args:
        pipeline: the checkpoints and the scorer.
        out: folder for clips.
        bench: frozen benchmark; FluidSynth renders it.
        report: REPORT.json.
        beside: folders of earlier runs, whose clips are measured as well.
        limit: only the first prompts, which leaves the report as it is.

    Raises:
        RequestError: If FluidSynth is missing, or a folder holds clips of other settings.
    """
    if shutil.which("fluidsynth") is None:
        raise RequestError("FluidSynth is not installed, so the benchmark cannot be rendered.")
    started, everything = time.monotonic(), {item.id: item for item in read_bench(bench)}
    asked = make_asked(list(everything.values()))[:limit]
    prompts = [one.prompt for one in asked]
    earlier = [_beside(folder, prompts) for folder in beside]
    stores = make_both_sides(pipeline, prompts, DURATION_S, out)
    for found in earlier:
        stores |= found
    held = HeldPieces([everything[one.piece_id] for one in asked])
    left = pipeline.models["left"]
    trips, _ = held.through(left.codec, left.lm.config.n_codebooks)
    sounds, tagger = _sounds(asked, stores, held, trips), load_tagger()
    heard = {name: [tagger.listen(clip) for clip in clips] for name, clips in sounds.items()}
    fitting = prompts_table(pipeline.scorer, asked, sounds, heard, tagger.config.labels)
    healthy = health_table(asked, sounds, {TRIP: trips, REAL: held.sounds}, heard)
    for side, name in pipeline.names().items():
        tokens = [np.array(stores[name].rows[prompt.id]["codes"][0]) for prompt in prompts]
        healthy += _token_health(pipeline, side, held, sounds[name], tokens)
        healthy += first_draw_rows(name, stores[name], [prompt.id for prompt in prompts])
    if limit is None:
        tables = {"prompts": in_order(fitting), "health": in_order(healthy)}
        update_report(report, tables, pipeline.weights() | tagger_weights())
    logger.info("prompts in %.1f min", (time.monotonic() - started) / 60)
