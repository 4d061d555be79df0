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
from simba_music.training.evaluation.clip_store import SETTINGS, ClipStore, claim_folder, make_clips
from simba_music.training.evaluation.health import (
    degenerate_row,
    flatness_rows,
    run_limit,
    sound_rows,
    token_rows,
)
from simba_music.training.evaluation.measures import Row, flatness, in_order, mean_row, row_of
from simba_music.training.evaluation.prompt_lists import distance_rows, together
from simba_music.training.evaluation.report import update_report
from simba_music.training.judges.tagger import load_tagger, tagger_weights

logger = logging.getLogger(__name__)

REAL, TRIP = "real piece", "codec round trip of the real piece"


def _excerpt(sound: np.ndarray, start_s: float) -> np.ndarray:
    start = round(start_s * SAMPLE_RATE)
    return sound[start : start + round(DURATION_S * SAMPLE_RATE)]


def _beside(folder: Path, settings: dict[str, object]) -> dict[str, ClipStore]:
    """Clips of an earlier run of the same prompts, by model and folder.

    Raises:
        RequestError: If they are of other prompts.
    """
    path = folder / SETTINGS
    if not path.exists() or any(
        read_json(path)[key] != settings[key] for key in ("prompts", "duration_s")
    ):
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
    """Cosine of every system's clips with their prompts, and with those of other clips."""
    text = scorer.embed_prompts([one.prompt.text for one in asked])
    own, others = list[Row](), list[Row]()
    for name, clips in sounds.items():
        audio = embed_clips(scorer, clips)
        for rows, metric, vectors in (
            (own, "alignment (cosine)", text),
            (others, "alignment with the next clip's prompt", text.roll(1, 0)),
        ):
            rows.append(mean_row(metric, name, (audio * vectors).sum(-1).tolist()))
    return own + others


class HeldPieces:
    """Renderings of the benchmark's pieces, and what a codec makes of them, tokens `[S]` too."""

    def __init__(self, items: Sequence[BenchItem]):
        self.sounds = [item.render(SAMPLE_RATE) for item in items]
        self._trips = dict[str | None, tuple[list[np.ndarray], list[np.ndarray]]]()

    def through(self, codec: Codec) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """(samples at 24 kHz, tokens) of every piece."""
        if codec.ref.sha256 not in self._trips:
            tokens, made = [], []
            for sound in self.sounds:
                ids = codec.encode(Waveform(torch.from_numpy(sound)[None], SAMPLE_RATE))
                (wave,) = codec.decode(ids)
                tokens.append(ids.flatten().numpy())
                made.append(resample(wave, SAMPLE_RATE).samples[0].numpy())
            self._trips[codec.ref.sha256] = made, tokens
        return self._trips[codec.ref.sha256]


def _health(
    pipeline: Pipeline,
    side: str,
    held: HeldPieces,
    sounds: Sequence[np.ndarray],
    tokens: Sequence[np.ndarray],
) -> list[Row]:
    """Rows of a model's tokens beside those of held-out pieces in its own codec.

    Both are compared with one half of the pieces, so that the pieces themselves can be.
    """
    codec, name = pipeline.models[side].codec, pipeline.names()[side]
    known, vocab = held.through(codec)[1], codec.ref.codebook_size
    half = [known[0::2], known[1::2]]
    limit = run_limit(known)
    rows = token_rows(name, tokens, half[1], vocab)
    rows.append(degenerate_row(name, sounds, tokens, limit))
    if side == SIDES[0]:
        rows += token_rows(TRIP, half[0], half[1], vocab)
        rows.append(row_of("longest run allowed", TRIP, limit, limit, limit, len(known)))
    return rows


def evaluate_adherence(
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
    digests = pipeline.digests()
    settings = {"prompts": [p.text for p in prompts], "duration_s": DURATION_S, "models": digests}
    claim_folder(out, settings)
    stores = {pipeline.names()[side]: ClipStore(out / pipeline.names()[side]) for side in SIDES}
    for side in SIDES:
        make_clips(pipeline, side, prompts, DURATION_S, stores[pipeline.names()[side]])
    for folder in beside:
        stores |= _beside(folder, settings)
    held = HeldPieces([everything[one.piece_id] for one in asked])
    trips, _ = held.through(pipeline.models["left"].codec)
    sounds = {name: [store.samples(p.id) for p in prompts] for name, store in stores.items()}
    for name, wholes in ((TRIP, trips), (REAL, held.sounds)):
        sounds[name] = [_excerpt(s, one.start_s) for s, one in zip(wholes, asked, strict=True)]
    tagger = load_tagger()
    labels = tagger.config.labels
    heard = {name: [tagger.listen(clip) for clip in clips] for name, clips in sounds.items()}
    tagged = {name: together(found) for name, found in heard.items()}
    listened = {
        name: listen(clips, np.stack([tags.mean(0) for _, tags in heard[name]]), labels)
        for name, clips in sounds.items()
    }
    fitting = adherence_rows(asked, listened, TRIP, labels)
    if pipeline.scorer is not None:
        fitting += alignment_rows(pipeline.scorer, asked, sounds)
    healthy, ended = list[Row](), {TRIP: trips, REAL: held.sounds}  # excerpts of these do not end
    flat = {name: [flatness(clip) for clip in clips] for name, clips in sounds.items()}
    drums = [bool(one.facts["drums"]) for one in asked]
    for name, clips in sounds.items():
        healthy += sound_rows(name, ended.get(name, clips))
        healthy += flatness_rows(name, flat[name], flat[REAL], drums)
        if name != REAL:
            healthy += distance_rows(name, tagged[name], tagged[REAL])
    for side in SIDES:
        store = stores[pipeline.names()[side]]
        tokens = [np.array(store.rows[p.id]["tokens"]) for p in prompts]
        healthy += _health(pipeline, side, held, sounds[pipeline.names()[side]], tokens)
    if limit is None:
        tables = {"prompts": fitting, "health": healthy}
        weights = pipeline.weights() | tagger_weights()
        update_report(report, {name: in_order(rows) for name, rows in tables.items()}, weights)
    logger.info("prompts in %.1f min", (time.monotonic() - started) / 60)
