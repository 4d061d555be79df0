"""Loss of a language model on batches: to train on, on held-out crops, and its cost in FLOPs."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from simba_music.models.lm import MusicLM
from simba_music.training.corpus.tokens import TokenCorpus
from simba_music.training.lm.batches import IGNORE, Batch, Pick, collate

VALID_CROPS = 32


def total_loss(model: Any, batch: Batch) -> Tensor:
    """Cross-entropy in nats, summed over all targets."""
    first = torch.zeros(len(batch.tokens), dtype=torch.long, device=batch.tokens.device)
    told = (batch.text, batch.null, batch.total_s, first, batch.clock, batch.key, batch.line_up)
    logits = model(batch.tokens, *told)
    targets = batch.targets.flatten()
    return F.cross_entropy(
        logits.flatten(0, 2).float(), targets, ignore_index=IGNORE, reduction="sum"
    )


@torch.no_grad()
def validate(model: MusicLM, corpus: TokenCorpus, device: str) -> float:
    """Loss in nats a token over a fixed spread of held-out crops, with their captions."""
    model.eval()
    size = min(VALID_CROPS, len(corpus.crops))
    indices = np.linspace(0, len(corpus.crops) - 1, size).astype(int)
    summed, count = 0.0, 0
    for group in np.array_split(indices, -(-size // 8)):
        batch = collate(corpus, [Pick(int(i), 1) for i in group]).to(device)
        summed += float(total_loss(model, batch))
        count += batch.n_targets
    model.train()
    return summed / count


def forward_flops(model: MusicLM, batch: Batch) -> float:
    """Multiply-adds x 2 of a forward pass, per target (matrix products only)."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        total_loss(model, batch)
    return counter.get_total_flops() / batch.n_targets
