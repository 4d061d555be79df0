"""Training on a GPU: tokens a second of both backbones, and the share of the card's FLOPs."""

import time
from collections.abc import Iterator

import torch

from simba_music.models.mamba2 import kernels_of
from simba_music.training.benchmark.gpu.decoding import peak_gb, synchronise
from simba_music.training.benchmark.gpu.models import Models, read
from simba_music.training.benchmark.gpu.rows import GpuRow
from simba_music.training.benchmark.rows import Spread, figure
from simba_music.training.devices import peak_flops
from simba_music.training.lm.batches import Batch
from simba_music.training.lm.loss import forward_flops, total_loss
from simba_music.training.lm.optimiser import make_optimisers
from simba_music.training.lm.preset import preset_with

_LONGEST_S = 10.0  # of a crop


def _batch(models: Models, system: str) -> Batch:
    """Random codes with the conditions of a prompt, about as many tokens as the scale says."""
    config = models.config(system)
    frames = min(models.scale.train_tokens // 2, round(_LONGEST_S * config.codec.frame_rate))
    rows = max(1, models.scale.train_tokens // frames // 2)  # guidance makes two of each
    given = read(models.lm("random", system), rows, frames, models.device)
    random = torch.Generator().manual_seed(1)
    shape = (len(given.null), config.n_codebooks, frames)
    codes = torch.randint(config.vocab, shape, generator=random).to(models.device)
    return Batch(codes, codes, given)


def training(models: Models, system: str, compiled: bool = False) -> Iterator[GpuRow]:
    """Updates of one batch again and again: bf16, AdamW, gradients of all parameters."""
    device, scale = models.device, models.scale
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    batch, lm = _batch(models, system), models.random(system).train().requires_grad_(True)
    flops = 3 * forward_flops(lm, batch)  # a target; backward is twice forward
    optimisers = make_optimisers(lm, preset_with(scale.preset))
    model = torch.compile(lm) if compiled else lm

    def update() -> None:
        with torch.autocast(device.split(":")[0], torch.bfloat16):
            loss = total_loss(model, batch) / batch.n_targets
        loss.backward()
        torch.nn.utils.clip_grad_norm_(lm.parameters(), 1.0)
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad()

    begun, found = time.perf_counter(), list[float]()
    for i in range(2 + 3 * scale.repeats):
        synchronise(device)
        started = time.perf_counter()
        update()
        synchronise(device)
        if i < 2:  # the first warm up
            continue
        found.append(time.perf_counter() - started)
        spread, peak = Spread.of(found), peak_flops(device)
        tokens = batch.n_targets / spread.median
        yield GpuRow(
            group="training",
            what=system,
            size=models.name("random"),
            engine="torch.compile" if compiled else "eager",
            dtype="bfloat16",
            seconds=spread,
            tokens_per_s=figure(tokens),
            peak_share=figure(tokens * flops / peak) if peak else None,
            peak_gb=peak_gb(device),
            note=f"{batch.n_targets} tokens an update, kernels: {kernels_of(lm)}",
        )
        if time.perf_counter() - begun > 3 * scale.seconds:
            return
