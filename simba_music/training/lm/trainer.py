"""Language-model training: every architecture on the same batches, resumable, on many processes."""

import json
import logging
import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm import tqdm

from simba_music.files import read_json
from simba_music.models.checkpoint import save_language_model
from simba_music.models.config import CodecRef
from simba_music.models.lm import MusicLM
from simba_music.models.mamba2 import kernels_of
from simba_music.training.devices import fast_bfloat16
from simba_music.training.lm.batches import Batch, Pick, Stream, batches, collate
from simba_music.training.lm.endless import Encoding
from simba_music.training.lm.guards import (
    check_loss,
    check_weights,
    describe,
    open_splits,
    resume,
)
from simba_music.training.lm.history import history_row, speed
from simba_music.training.lm.loss import VALID_CROPS, book_losses, forward_flops, mean_loss
from simba_music.training.lm.optimiser import RATE, make_optimisers
from simba_music.training.lm.preset import Architecture, LMPreset, make_config
from simba_music.training.lm.start import exported_start, start_from_codebooks, with_books
from simba_music.training.ranks import Ranks
from simba_music.training.record import write_training_record
from simba_music.training.resume import write_state

logger = logging.getLogger(__name__)

SAVE_EVERY_S = 150.0


def schedule(step: int, preset: LMPreset) -> float:
    """Share of the learning rate at a step: warm-up, stable, linear fall to nothing."""
    falling = (preset.steps - step) / max(1.0, preset.decay_share * preset.steps)
    return min(1.0, (step + 1) / preset.warmup_steps, falling)


class LMTrainer:
    """Model, its moving average, and optimiser; `step` is one update, `save`/`restore` resume."""

    def __init__(
        self,
        architecture: Architecture,
        preset: LMPreset,
        codec: CodecRef,
        codebooks: Tensor,
        device: str,
    ):
        torch.manual_seed(preset.seed)
        # Decays of an SSM run into denormals, with which many CPUs are far slower.
        torch.set_flush_denormal(True)
        self.preset = preset
        bfloat16 = preset.precision == "auto" and fast_bfloat16(device)
        self.accelerator = Accelerator(
            cpu=device == "cpu",
            mixed_precision="bf16" if bfloat16 else "no",
        )
        self.device = str(self.accelerator.device)
        number, count = self.accelerator.process_index, self.accelerator.num_processes
        self.ranks = Ranks(number, count, self.device)
        model = MusicLM(make_config(architecture, preset, codec)).train()
        start_from_codebooks(model, codebooks)
        self.average = MusicLM(model.config).requires_grad_(False).to(self.device)
        self.average.load_state_dict(model.state_dict())
        self.raw = model
        prepared = torch.compile(model) if preset.compile else model
        self.model, *self.optimisers = self.accelerator.prepare(
            prepared, *make_optimisers(model, preset)
        )
        self.steps, self.tokens, self.seconds = 0, 0, 0.0
        self.history = list[dict[str, Any]]()
        self.before, self.last = dict[str, Any](), 0.0
        self.made_with, self.changes = dict[str, Any](), list[dict[str, Any]]()

    def start_from(self, folder: Path) -> None:
        """Begin with the weights of an exported checkpoint; the optimiser begins anew.

        Its history goes on in this one's.

        Raises:
            RequestError: If it has another config.
        """
        weights, self.history = exported_start(folder, self.raw.config)
        weights = with_books(weights, self.raw)
        for model in (self.raw, self.average):
            model.load_state_dict(model.state_dict() | weights)
        self.before = self.history[-1] if self.history else {}

    def step(self, parts: list[Batch]) -> list[float]:
        """One update on the parts of a step, of which this process takes its share.

        Returns:
            Loss in nats a code of each book, over all processes.
        """
        started, accelerator = time.monotonic(), self.accelerator
        processes = accelerator.num_processes
        count = sum(part.n_targets for part in parts)
        rate = self.preset.learning_rate * schedule(self.steps, self.preset)
        for group in (g for optimiser in self.optimisers for g in optimiser.param_groups):
            group["lr"] = rate * group[RATE]
        mine = [(1, part) for part in parts[accelerator.process_index :: processes]]
        if len(mine) < math.ceil(len(parts) / processes):
            # All wait for each other's last part: who has none left computes one for nothing.
            mine.append((0, parts[-1]))
        books = self.raw.config.n_codebooks
        summed = torch.zeros(books, device=self.device)
        for i, (weight, part) in enumerate(mine):
            # Gradients are averaged over processes, with the last part.
            last = i + 1 == len(mine)
            with nullcontext() if last else accelerator.no_sync(self.model):
                # Accelerate takes the mean over processes, and the loss is a sum over all targets.
                loss = weight * book_losses(self.model, part.to(self.device))
                accelerator.backward(loss.sum() * processes / count)
            summed += loss.detach()
        norm = accelerator.clip_grad_norm_(self.raw.parameters(), 1.0)
        reduced: Tensor = accelerator.reduce(summed, "sum")
        found = [book / (count // books) for book in reduced.tolist()]
        check_loss(mean_loss(found), norm, self.steps + 1, self.last)
        self.last = mean_loss(found)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad()
        self.steps += 1
        self.tokens += count
        self._follow()
        self.seconds += time.monotonic() - started
        return found

    @torch.no_grad()
    def _follow(self) -> None:
        # A short average at first: it would else be of the random start for a long time.
        decay = min(self.preset.ema_decay, (1 + self.steps) / (10 + self.steps))
        for slow, fast in zip(self.average.parameters(), self.raw.parameters(), strict=True):
            slow.lerp_(fast, 1 - decay)

    def save(self, path: Path) -> None:
        """Write the state to resume from; every rank calls this.

        Raises:
            RequestError: If its weights are no numbers; the state before is left as it was.
        """
        check_weights(self.steps, self.raw, self.average)
        state = {
            "model": self.raw.state_dict(),
            "average": self.average.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "planned": self.preset.steps,
            "steps": self.steps,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "history": self.history,
            "before": self.before,
            "made_with": self.made_with,
            "changes": self.changes,
        }
        write_state(path, state, self.ranks)

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `save` wrote."""
        self.raw.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        for optimiser, found in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(found)
        self.steps, self.tokens = state["steps"], state["tokens"]
        self.seconds, self.history = state["seconds"], state["history"]
        self.before, self.changes = state["before"], state.get("changes", [])


def train_lm(
    corpus_dir: Path,
    out: Path,
    architecture: Architecture,
    preset: LMPreset,
    codec: CodecRef,
    codebooks: Tensor,
    device: str = "cpu",
    limit_steps: int | None = None,
    start: Path | None = None,
    also: Sequence[Path] = (),
    encoding: Encoding | None = None,
) -> None:
    """Train for the preset's steps, resuming from `out/resume.state`; export the moving average.

    A new training may `start` from an exported checkpoint (`exported_start`); its history goes on
    in the new one. Corpora are pooled; pieces of compose:SEED are encoded by `encoding`.

    Writes `history.jsonl` (losses, tokens, seconds, FLOPs at every validation) and, at the
    preset's snapshot steps, whole checkpoints under `snapshots/`.

    Raises:
        RequestError: See `open_splits`, `start_from`, `resume`, `check_loss`.
    """
    corpora, state = [corpus_dir, *also], out / "resume.state"
    train, valid = open_splits(corpora, preset, codec, encoding)
    trainer = LMTrainer(architecture, preset, codec, codebooks, device)
    trainer.made_with = describe(preset, architecture.name, corpora)
    resume(trainer, state, start)
    trainer.ranks.check_same("frames and step", (train.frames, len(valid.crops), trainer.steps))
    sample = collate(valid, [Pick(0, 1)], trainer.raw.config.conditions).to(trainer.device)
    flops = 3 * forward_flops(trainer.average, sample)  # backward is twice forward
    mean = list[float]()
    if start is not None and not trainer.steps:
        trainer.history.append(history_row(trainer, mean, valid, flops, train))
    fall = preset.steps - round(preset.decay_share * preset.steps)
    last = min(preset.steps, limit_steps or preset.steps)
    stream, saved = batches(train, preset, trainer.steps), time.monotonic()
    bar = tqdm(total=preset.steps, initial=trainer.steps, unit="step", disable=None)
    while trainer.steps < last:
        loss = trainer.step(next(stream))
        mean = [0.95 * m + 0.05 * x for m, x in zip(mean or loss, loss, strict=True)]
        bar.set_postfix(loss=f"{mean_loss(mean):.3f}", **speed(trainer, flops), refresh=False)
        bar.update()
        first, done = trainer.ranks.first, trainer.steps == last
        if first and (trainer.steps % preset.validate_every == 0 or done):
            trainer.history.append(history_row(trainer, mean, valid, flops, train))
            logger.info("%s %s", architecture.name, trainer.history[-1])
        if first and trainer.steps in preset.snapshots:
            save_language_model(out / "snapshots" / str(trainer.steps), trainer.average)
        if trainer.steps == fall:
            trainer.save(state.with_name("stable.state"))
        if trainer.ranks.number_of_first(time.monotonic() - saved) > SAVE_EVERY_S or done:
            trainer.save(state)
            saved = time.monotonic()
    bar.close()
    if trainer.ranks.first:
        _export(out, trainer, train, architecture, start)


def _export(
    out: Path,
    trainer: LMTrainer,
    train: Stream,
    architecture: Architecture,
    start: Path | None,
) -> None:
    check_weights(trainer.steps, trainer.average)
    save_language_model(out, trainer.average)
    lines = (json.dumps(row) + "\n" for row in trainer.history)
    (out / "history.jsonl").write_text("".join(lines))
    write_training_record(
        out,
        stage="lm",
        steps=trainer.steps,
        seconds=trainer.seconds,
        device=trainer.device,
        corpora=train.describe(),
        preset=asdict(trainer.preset),
        architecture=architecture.name,
        parameters=sum(p.numel() for p in trainer.raw.parameters()),
        tokens=trainer.tokens,
        tokenised_hours=train.hours,
        changes=trainer.changes,
        processes=trainer.accelerator.num_processes,
        kernels=kernels_of(trainer.raw),
        started_from=read_json(start / "training.json") if start else None,
        held_out_crops=VALID_CROPS,
    )
