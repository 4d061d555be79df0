"""Codec training: autoencoder, k-means, EMA quantisation, then the discriminator; resumable."""

import itertools
import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from simba_music.files import read_json
from simba_music.training.codec.books_step import BooksTrainer
from simba_music.training.codec.crops import RandomCrops, crop_samples
from simba_music.training.codec.model import write_codec
from simba_music.training.codec.preset import CodecPreset
from simba_music.training.codec.step import CodecTrainer
from simba_music.training.evaluation.figures import draw_round_trips
from simba_music.training.ranks import joined
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
    processes make. Processes that `torchrun` started share every batch.

    Beside the weights: `history.jsonl`, losses every 50 steps, and `spectrogram.png`.
    """
    with joined(device) as ranks:
        kind = BooksTrainer if preset.shape.books > 1 else CodecTrainer
        trainer = kind(preset, ranks.device, start, ranks)
        if state.exists():
            trainer.restore(state)
            logger.info("resumed at step %d, %.1f min", trainer.steps, trainer.seconds / 60)
        ranks.check_same("the step that they go on from", trainer.steps)
        crops = _Crops(corpora, trainer, workers)
        try:
            _train(trainer, crops, out, state, start, steps)
        finally:
            crops.close()


class _Crops(Iterator[Tensor]):
    """The batches of `RandomCrops`, which the first rank alone makes."""

    def __init__(self, corpora: Sequence[Path], trainer: CodecTrainer, workers: int):
        preset, self._ranks = trainer.preset, trainer.ranks
        self.made = None
        if self._ranks.first:
            self.made = RandomCrops(
                corpora,
                preset.shape,
                preset.batch,
                preset.crop_s,
                preset.seed,
                trainer.steps,
                workers,
            )
        self._shape = preset.batch, crop_samples(preset.shape, preset.crop_s)

    def __next__(self) -> Tensor:
        """The next batch, `[B, T]`, on every rank."""
        own = torch.empty(self._shape) if self.made is None else next(self.made)
        return self._ranks.of_first(own)

    def close(self) -> None:
        """See `RandomCrops`."""
        if self.made is not None:
            logger.info("waited %.0f s for audio", self.made.waited_s)
            self.made.close()


def _train(
    trainer: CodecTrainer,
    crops: _Crops,
    out: Path,
    state: Path,
    start: Path | None,
    steps: int | None,
) -> None:
    """Steps until the time or their number is over; the first rank writes."""
    preset, first = trainer.preset, trainer.ranks.first
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
        if first and trainer.steps % HISTORY_EVERY == 0:
            row = {"step": trainer.steps, "minutes": round(trainer.seconds / 60, 2)}
            row |= {k: round(v, 4) for k, v in running.items()}
            with (out / "history.jsonl").open("a") as history:
                history.write(json.dumps(row) + "\n")
            logger.info("%s", row)
        if trainer.ranks.number_of_first(time.monotonic() - saved) > SAVE_EVERY_S:
            trainer.save(state)
            if first:
                _keep(trainer, crops, out, start, shown)
            saved = time.monotonic()
    if not trainer.quantising:
        trainer.start_quantising(batches)
    trainer.save(state)
    if first:
        _keep(trainer, crops, out, start, shown)


def _keep(
    trainer: CodecTrainer,
    crops: _Crops,
    out: Path,
    start: Path | None,
    shown: Tensor,
) -> None:
    """Write the codec so far, its record and a sheet into `out`.

    Before there are codes there is no codec yet.
    """
    preset, made = trainer.preset, crops.made
    if not trainer.quantising or made is None:
        return
    write_codec(trainer.exported(), out, start if preset.decoder_only else None)
    write_training_record(
        out,
        stage="codec",
        steps=trainer.steps,
        seconds=trainer.seconds,
        device=trainer.device,
        corpora=made.describe(),
        preset=asdict(preset),
        started_from=read_json(start / "training.json") if start else None,
        rendered_hours=made.hours(),
        processes=trainer.ranks.count,
    )
    rate, path = preset.shape.sample_rate, out / "spectrogram.png"
    draw_round_trips(shown.cpu(), trainer.round_trip(shown), trainer.steps, rate, path)
