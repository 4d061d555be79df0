"""Language-model training: both backbones on the same batches, in the same order."""

import json
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from simba_music.checkpoint import save_language_model
from simba_music.config import CodecRef, LMConfig
from simba_music.lm import MusicLM
from simba_music.text_encoder import TextEmbedding
from simba_music.training.record import write_training_record
from simba_music.training.tokens import MINILM, TokenCorpus, stack_text

logger = logging.getLogger(__name__)

IGNORE = -100
EMBEDDING_SCALE, HEAD_SCALE = 0.3, 0.03  # of unit-variance code vectors
VALID_CROPS = 32
LENGTH_BUCKETS = 4  # a batch holds crops of one bucket, so that little is padding
CAPTION_DRAWS = 60  # divisible by every number of captions up to 6


@dataclass(frozen=True)
class LMPreset:
    """Sizes and schedule; `d_ff` differs by backbone so that parameters match within 2 %."""

    d_model: int
    n_layers: int
    d_state: int
    simba_heads: int
    transformer_heads: int
    d_ff: dict[str, int]
    steps: int
    tokens_per_batch: int
    learning_rate: float
    warmup_steps: int = 60
    weight_decay: float = 0.1
    drop_text: float = 0.1
    seed: int = 0


PRESETS = {
    "cpu": LMPreset(192, 5, 64, 6, 3, {"simba": 512, "transformer": 776}, 700, 4_000, 2e-3),
    "bundle": LMPreset(
        384, 8, 64, 12, 6, {"simba": 880, "transformer": 1330}, 12_000, 32_000, 1e-3
    ),
}


class Batch(NamedTuple):
    """Tokens `[B, 1, S]`, targets the same with -100 on padding, and the conditions."""

    tokens: Tensor
    targets: Tensor
    text: TextEmbedding
    null: Tensor
    total_s: Tensor


def make_config(backbone: str, preset: LMPreset, codec: CodecRef) -> LMConfig:
    """The config of one side of the pair."""
    transformer = backbone == "transformer"
    return LMConfig.model_validate(
        {
            "schema": 1,
            "backbone": backbone,
            "channel_mixer": "mlp",
            "conditioning": "prefix",
            "d_model": preset.d_model,
            "n_layers": preset.n_layers,
            "d_state": None if transformer else preset.d_state,
            "n_heads": preset.transformer_heads if transformer else preset.simba_heads,
            "d_ff": preset.d_ff[backbone],
            "positions": "rope" if transformer else "none",
            "vocab": codec.codebook_size,
            "n_codebooks": 1,
            "special_ids": {"bos": codec.codebook_size},
            "text_encoder": MINILM.model_dump(),
            "codec": codec.model_dump(),
            "max_trained_s": 30.0,
            "licence": "Apache-2.0",
        }
    )


def collate(corpus: TokenCorpus, picks: list[tuple[int, int]], null: list[bool]) -> Batch:
    """Crops (index, caption) as one batch, padded on the right."""
    examples = [corpus.example(index, caption) for index, caption in picks]
    longest = max(len(e.tokens) for e in examples)
    tokens = torch.zeros(len(examples), 1, longest, dtype=torch.long)
    targets = torch.full_like(tokens, IGNORE)
    for i, example in enumerate(examples):
        ids = torch.from_numpy(example.tokens)
        tokens[i, 0, : len(ids)] = ids
        targets[i, 0, : len(ids)] = ids
    return Batch(
        tokens,
        targets,
        stack_text([e.text for e in examples]),
        torch.tensor(null),
        torch.tensor([e.duration_s for e in examples]),
    )


def batches(corpus: TokenCorpus, preset: LMPreset, start: int) -> Iterator[Batch]:
    """Batches from step `start` on; step n is the same for every backbone and after a resume."""
    lengths = np.array([crop.length for crop in corpus.crops])
    order = np.argsort(lengths, kind="stable")
    step = start
    while True:
        rng = np.random.default_rng((preset.seed, step))
        pool = np.array_split(order, LENGTH_BUCKETS)[int(rng.integers(LENGTH_BUCKETS))]
        picks: list[tuple[int, int]] = []
        budget = preset.tokens_per_batch
        while budget > 0:
            index = int(rng.choice(pool))
            picks.append((index, int(rng.integers(CAPTION_DRAWS))))
            budget -= lengths[index]
        yield collate(corpus, picks, [bool(x) for x in rng.random(len(picks)) < preset.drop_text])
        step += 1


def loss_of(model: MusicLM, batch: Batch, device: str) -> Tensor:
    """Cross-entropy in nats a token, padding left out."""
    moved = Batch(
        batch.tokens.to(device),
        batch.targets.to(device),
        TextEmbedding(batch.text.states.to(device), batch.text.mask.to(device)),
        batch.null.to(device),
        batch.total_s.to(device),
    )
    first = torch.zeros(len(moved.tokens), dtype=torch.long, device=device)
    logits = model(moved.tokens, moved.text, moved.null, moved.total_s, first)
    return F.cross_entropy(
        logits.flatten(0, 2).float(), moved.targets.flatten(), ignore_index=IGNORE
    )


@torch.no_grad()
def validate(model: MusicLM, corpus: TokenCorpus, device: str) -> float:
    """Loss in nats a token over a fixed spread of held-out crops, with their captions."""
    model.eval()
    indices = np.linspace(0, len(corpus.crops) - 1, VALID_CROPS).astype(int)
    losses = [
        float(
            loss_of(
                model, collate(corpus, [(int(i), 1) for i in group], [False] * len(group)), device
            )
        )
        for group in np.array_split(indices, VALID_CROPS // 8)
    ]
    model.train()
    return sum(losses) / len(losses)


@torch.no_grad()
def start_from_codebook(model: MusicLM, codebook: Tensor) -> None:
    """Start token embedding and head from the codec's code vectors `[V, C]`, whitened.

    Codes that sound alike then begin alike, which a short run cannot learn from a random start.
    """
    centred = (codebook - codebook.mean(0)).float()
    left, _, _ = torch.linalg.svd(centred, full_matrices=False)
    white = left * len(codebook) ** 0.5  # every direction has unit variance
    width, size = model.config.d_model, white.shape[1]
    square = torch.linalg.qr(torch.randn(max(width, size), max(width, size)))[0]
    vectors = white @ square[:size, :width] * (width / size) ** 0.5
    model.token_embedding.weight[: len(vectors)] = EMBEDDING_SCALE * vectors
    model.head.weight.copy_(HEAD_SCALE * vectors)


def train_lm(
    corpus_dir: Path,
    out: Path,
    backbone: str,
    preset: LMPreset,
    codec: CodecRef,
    codebook: Tensor,
    state: Path,
    device: str = "cpu",
    limit_steps: int | None = None,
) -> None:
    """Train one backbone for the preset's steps, resuming from `state`; export to `out`."""
    torch.manual_seed(preset.seed)
    torch.set_flush_denormal(True)
    model = MusicLM(make_config(backbone, preset, codec)).train()
    start_from_codebook(model, codebook)
    model.to(device)
    optimiser = torch.optim.AdamW(
        [
            {
                "params": [p for p in model.parameters() if p.ndim > 1],
                "weight_decay": preset.weight_decay,
            },
            {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=preset.learning_rate,
        betas=(0.9, 0.95),
    )
    step, seconds, history = 0, 0.0, list[dict[str, Any]]()
    if state.exists():
        saved = torch.load(state, map_location=device, weights_only=True)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        step, seconds, history = saved["step"], saved["seconds"], saved["history"]
    train, valid = TokenCorpus(corpus_dir, "train"), TokenCorpus(corpus_dir, "valid")
    if train.codec["sha256"] != codec.sha256:
        raise ValueError("The corpus was tokenised with another codec: run `corpus tokens` again.")
    parameters = sum(p.numel() for p in model.parameters())
    logger.info("%s: %d parameters, from step %d", backbone, parameters, step)
    last = min(preset.steps, limit_steps or preset.steps)
    mean, checked = 0.0, time.monotonic()
    stream = batches(train, preset, step)
    while step < last:
        started = time.monotonic()
        warm = min(1.0, (step + 1) / preset.warmup_steps)
        rate = warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / preset.steps)))
        for group in optimiser.param_groups:
            group["lr"] = preset.learning_rate * rate
        loss = loss_of(model, next(stream), device)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step += 1
        seconds += time.monotonic() - started
        mean = float(loss.detach()) if not mean else 0.95 * mean + 0.05 * float(loss.detach())
        if step % 50 == 0 or step == last:
            history.append(
                {
                    "step": step,
                    "train": round(mean, 4),
                    "seconds": round(seconds, 1),
                    "valid": round(validate(model, valid, device), 4),
                }
            )
            logger.info("%s %s", backbone, history[-1])
        if time.monotonic() - checked > 150 or step == last:
            part = state.with_suffix(".part")
            torch.save(
                {
                    "model": model.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "step": step,
                    "seconds": seconds,
                    "history": history,
                },
                part,
            )
            part.replace(state)
            checked = time.monotonic()
    save_language_model(out, model)
    (out / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in history))
    write_training_record(
        out,
        stage="lm",
        steps=step,
        seconds=seconds,
        device=device,
        corpora=[corpus_dir],
        preset=asdict(preset),
        parameters=parameters,
        held_out_crops=VALID_CROPS,
    )
