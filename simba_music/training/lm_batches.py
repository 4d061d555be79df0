"""Batches for language models: the same crops in the same order for every architecture."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from simba_music.text_encoder import TextEmbedding
from simba_music.training.lm_preset import LMPreset
from simba_music.training.tokens import TokenCorpus, stack_text

IGNORE = -100
LENGTH_BUCKETS = 4  # a batch holds crops of one bucket, so that little is padding
CAPTION_DRAWS = 60  # divisible by every number of captions up to 6
TAILS_S = (2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0)


class Pick(NamedTuple):
    """A crop to train on: its index, its caption, no text at all, or only its last seconds."""

    crop: int
    caption: int
    null: bool = False
    tail_s: float | None = None


class Batch(NamedTuple):
    """Tokens `[B, 1, S]`, targets the same with -100 on padding, and the conditions."""

    tokens: Tensor
    targets: Tensor
    text: TextEmbedding
    null: Tensor
    total_s: Tensor

    @property
    def n_targets(self) -> int:
        """Tokens to predict."""
        return int((self.targets != IGNORE).sum())

    def to(self, device: str) -> "Batch":
        """The same on another device."""
        text = TextEmbedding(self.text.states.to(device), self.text.mask.to(device))
        tensors = (t.to(device) for t in (self.tokens, self.targets, self.null, self.total_s))
        tokens, targets, null, total_s = tensors
        return Batch(tokens, targets, text, null, total_s)


def collate(corpus: TokenCorpus, picks: list[Pick]) -> Batch:
    """Crops as one batch, padded on the right.

    `total_s` of a crop that stops short of its piece's end is the time to that end, so that only
    what ends is said to end.
    """
    examples, ids, total_s = [], [], []
    for pick in picks:
        example = corpus.example(pick.crop, pick.caption)
        tokens, seconds = example.tokens, corpus.crops[pick.crop].remaining_s
        if pick.tail_s is not None and pick.tail_s < example.duration_s:
            frames = round(pick.tail_s * len(tokens) / example.duration_s)
            tokens, seconds = tokens[-frames:], pick.tail_s
        examples.append(example)
        ids.append(torch.from_numpy(tokens))
        total_s.append(seconds)
    padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=IGNORE)
    targets = padded[:, None]
    return Batch(
        targets.clamp(min=0),
        targets,
        stack_text([e.text for e in examples]),
        torch.tensor([pick.null for pick in picks]),
        torch.tensor(total_s),
    )


def batches(corpus: TokenCorpus, preset: LMPreset, start: int) -> Iterator[list[Batch]]:
    """The parts of every step from step `start` on.

    Step n is the same for every architecture, after a resume, and on any number of processes.
    """
    lengths = np.array([crop.length for crop in corpus.crops])
    buckets = min(LENGTH_BUCKETS, len(lengths))
    pools = np.array_split(np.argsort(lengths, kind="stable"), buckets)
    step = start
    while True:
        rng = np.random.default_rng((preset.seed, step))
        parts = []
        for _ in range(preset.accumulate):
            pool = pools[int(rng.integers(buckets))]
            picks: list[Pick] = []
            budget = preset.tokens_per_batch // preset.accumulate
            while budget > 0:
                crop = int(rng.choice(pool))
                caption = int(rng.integers(CAPTION_DRAWS))
                tail = float(rng.choice(TAILS_S)) if rng.random() < preset.tail_share else None
                tail = tail if corpus.crops[crop].facts["ends"] else None
                picks.append(Pick(crop, caption, bool(rng.random() < preset.drop_text), tail))
                budget -= lengths[crop]
            parts.append(collate(corpus, picks))
        yield parts
        step += 1
