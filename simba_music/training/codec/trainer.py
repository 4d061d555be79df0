"""Codec training: autoencoder, k-means, EMA quantisation, then the discriminator; resumable."""

import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from torch import Tensor

from simba_music.files import read_json
from simba_music.training.codec.books_step import BooksTrainer
from simba_music.training.codec.crops import random_crops
from simba_music.training.codec.model import write_codec
from simba_music.training.codec.preset import CodecPreset
from simba_music.training.codec.step import CodecTrainer
from simba_music.training.corpus.store import rendered_hours
from simba_music.training.evaluation.figures import draw_round_trips
from simba_music.training.record import write_training_record

logger = logging.getLogger(__name__)

HISTORY_EVERY = 50  # steps
SAVE_EVERY_S = 180.0
GIVE_UP_AFTER = 20  # steps in a row whose gradients are not finite


def train_codec(
    corpora: Sequence[Path],
    out: Path,
    preset: CodecPreset,
    state: Path,
    steps: int | None = None,
    device: str = "cpu",
    start: Path | None = None,
) -> None:
    """Train for the preset's minutes (or `steps`), resume from `state`, export to `out`.

    A new training may `start` from the weights of an exported codec of the same shape.

    Several corpora are pooled, each second of audio as likely as any other.

    Beside the weights: `history.jsonl`, losses every 50 steps, and `spectrogram.png`.
    """
    trainer = (BooksTrainer if preset.shape.books > 1 else CodecTrainer)(preset, device, start)
    if state.exists():
        trainer.restore(state)
        logger.info("resumed at step %d, %.1f min", trainer.steps, trainer.seconds / 60)

    def crops(seed: int) -> Iterator[Tensor]:
        rng = np.random.default_rng(seed)
        return random_crops(corpora, preset.shape, preset.batch, preset.crop_s, rng)

    batches, shown = crops(preset.seed + trainer.steps), next(crops(preset.seed))
    saved, running = time.monotonic(), dict[str, float]()
    while trainer.fraction < 1 and (steps is None or trainer.steps < steps):
        began = trainer.clock()
        if not trainer.quantising and trainer.fraction >= preset.warmup_fraction:
            trainer.start_quantising(batches)
        batch = next(batches)
        trainer.seconds += trainer.clock() - began
        losses = trainer.step(batch)
        if trainer.skipped >= GIVE_UP_AFTER:
            logger.error(
                "step %d: gradients are not finite; the weights before stay", trainer.steps
            )
            break
        if not trainer.skipped:
            running = {k: 0.95 * running.get(k, v) + 0.05 * v for k, v in losses.items()}
        if trainer.steps % HISTORY_EVERY == 0:
            row = {"step": trainer.steps, "minutes": round(trainer.seconds / 60, 2)}
            row |= {k: round(v, 4) for k, v in running.items()}
            with (out / "history.jsonl").open("a") as history:
                history.write(json.dumps(row) + "\n")
            logger.info("%s", row)
        if time.monotonic() - saved > SAVE_EVERY_S:
            _keep(trainer, corpora, out, state, start, shown)
            saved = time.monotonic()
    if not trainer.quantising:
        trainer.start_quantising(batches)
    _keep(trainer, corpora, out, state, start, shown)


def _keep(
    trainer: CodecTrainer,
    corpora: Sequence[Path],
    out: Path,
    state: Path,
    start: Path | None,
    shown: Tensor,
) -> None:
    """Write the state to resume from and, into `out`, the codec so far, its record and a sheet.

    Before there are codes there is no codec yet.
    """
    preset = trainer.preset
    trainer.save(state)
    if not trainer.quantising:
        return
    write_codec(trainer.exported(), out, start if preset.decoder_only else None)
    write_training_record(
        out,
        stage="codec",
        steps=trainer.steps,
        seconds=trainer.seconds,
        device=trainer.device,
        corpora=corpora,
        preset=asdict(preset),
        started_from=read_json(start / "training.json") if start else None,
        rendered_hours={corpus.name: rendered_hours(corpus) for corpus in corpora},
    )
    rate, path = preset.shape.sample_rate, out / "spectrogram.png"
    draw_round_trips(shown, trainer.round_trip(shown), trainer.steps, rate, path)
