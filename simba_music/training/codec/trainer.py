"""Codec training: autoencoder, k-means, EMA quantisation, then the discriminator; resumable."""

import itertools
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from simba_music.files import read_json
from simba_music.training.codec.books_step import BooksTrainer
from simba_music.training.codec.crops import RandomCrops
from simba_music.training.codec.model import write_codec
from simba_music.training.codec.preset import CodecPreset
from simba_music.training.codec.step import CodecTrainer
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
    workers: int = 1,
) -> None:
    """Train for the preset's minutes (or `steps`), resume from `state`, export to `out`.

    A new training may `start` from the weights of an exported codec of the same shape.

    Corpora are folders, which are pooled, and at most one `compose:SEED`, whose pieces `workers`
    processes make.

    Beside the weights: `history.jsonl`, losses every 50 steps, and `spectrogram.png`.
    """
    trainer = (BooksTrainer if preset.shape.books > 1 else CodecTrainer)(preset, device, start)
    if state.exists():
        trainer.restore(state)
        logger.info("resumed at step %d, %.1f min", trainer.steps, trainer.seconds / 60)

    crops = RandomCrops(
        corpora, preset.shape, preset.batch, preset.crop_s, preset.seed, trainer.steps, workers
    )
    shown = next(crops)
    batches = itertools.chain([shown], crops)
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
            _keep(trainer, crops, out, state, start, shown)
            saved = time.monotonic()
    if not trainer.quantising:
        trainer.start_quantising(batches)
    _keep(trainer, crops, out, state, start, shown)
    crops.close()
    logger.info("waited %.0f s for audio", crops.waited_s)


def _keep(
    trainer: CodecTrainer,
    crops: RandomCrops,
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
        corpora=crops.describe(),
        preset=asdict(preset),
        started_from=read_json(start / "training.json") if start else None,
        rendered_hours=crops.hours(),
    )
    rate, path = preset.shape.sample_rate, out / "spectrogram.png"
    draw_round_trips(shown, trainer.round_trip(shown), trainer.steps, rate, path)
