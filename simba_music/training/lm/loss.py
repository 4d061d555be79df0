"""Loss of a language model on batches: to train on, on held-out crops, and its cost in FLOPs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from simba_music.conditioning.length import Length
from simba_music.conditioning.text import Text
from simba_music.models.lm import MusicLM
from simba_music.training.corpus.tokens import TokenCorpus
from simba_music.training.lm.batches import Batch, Pick, collate

VALID_CROPS = 32


def book_losses(model: Any, batch: Batch) -> Tensor:
    """Cross-entropy in nats of each book `[K]`, summed over its targets."""
    # Sums, which the trainer divides by the targets of all parts: crops weigh by their tokens.
    logits = model(batch.codes, batch.given, apart=True)
    # The softmax over V in float32, whatever the model computes in.
    books = [
        F.cross_entropy(own.flatten(0, 1).float(), targets.flatten(), reduction="sum")
        for own, targets in zip(logits, batch.targets.unbind(1), strict=True)
    ]
    return torch.stack(books)


def total_loss(model: Any, batch: Batch) -> Tensor:
    """Cross-entropy in nats, summed over all targets; books weigh alike."""
    return book_losses(model, batch).sum()


def mean_loss(books: Sequence[float]) -> float:
    """Nats a code, of as many codes of every book."""
    return sum(books) / len(books)


@torch.no_grad()
def validate(model: MusicLM, corpus: TokenCorpus, device: str) -> list[float]:
    """Loss in nats a code of each book, over a fixed spread of held-out crops.

    Of all conditions it gets their captions alone.

    Conditions that captions do not hold are left out, so that losses compare between models that
    have them and models that have not.
    """
    model.eval()
    conditions = model.config.conditions
    facts = frozenset(conditions) - {Text.name, Length.name}
    size = min(VALID_CROPS, len(corpus.crops))
    # The same crops for every model at every step, so that curves differ by the model alone.
    indices = np.linspace(0, len(corpus.crops) - 1, size).astype(int)
    summed, count = [0.0] * model.config.n_codebooks, 0
    for group in np.array_split(indices, -(-size // 8)):
        picks = [Pick(int(i), 1, dropped=facts) for i in group]
        batch = collate(corpus, picks, conditions).to(device)
        summed = [a + b for a, b in zip(summed, book_losses(model, batch).tolist(), strict=True)]
        count += batch.n_targets // len(summed)
    model.train()
    return [book / count for book in summed]


def forward_flops(model: MusicLM, batch: Batch) -> float:
    """Multiply-adds x 2 of a forward pass, per target (matrix products only)."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        total_loss(model, batch)
    found: float = counter.get_total_flops() / batch.n_targets
    return found
