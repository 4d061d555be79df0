"""Batches for language models: the same crops in the same order for every architecture."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from simba_music.conditioning.batch import ConditionBatch, encoded
from simba_music.conditioning.registry import read_conditions
from simba_music.conditioning.request import Crop
from simba_music.conditioning.text import Text
from simba_music.conditioning.types import AnyCondition, Conditioning
from simba_music.training.corpus.tokens import CropTokens, Example, stack_text
from simba_music.training.lm.preset import LMPreset, condition_settings

IGNORE = -100  # what cross_entropy ignores by default
CAPTION_DRAWS = 60  # divisible by every number of captions up to 6
# Endings are one crop in many: a model that sees few of them does not learn to end on time.
TAILS_S = (2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0)
WINDOWS_S = (3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0)
MISHEARD = 0.3  # of a crop's frames, at most, but for the last span
LONGEST_SPAN = 64  # frames


class Pick(NamedTuple):
    """A crop to train on: its index, its caption or no text, its frames, conditions it lacks."""

    crop: int
    caption: int
    null: bool = False
    frames: slice = slice(None)
    dropped: frozenset[str] = frozenset()


class Batch(NamedTuple):
    """Codes `[B, K, S]` as inputs, those to predict (-100 on padding), and the conditions."""

    codes: Tensor
    targets: Tensor
    given: Conditioning

    @property
    def n_targets(self) -> int:
        """Codes to predict."""
        return int((self.targets != IGNORE).sum())

    def to(self, device: str) -> "Batch":
        """The same on another device."""
        return Batch(self.codes.to(device), self.targets.to(device), self.given.to(device))


def _crop_of(known: CropTokens, first_s: float) -> Crop:
    """Facts of the music from `first_s` seconds into a crop on."""
    facts = known.facts
    return Crop(
        start_s=known.start_s + first_s,
        remaining_s=known.remaining_s - first_s,
        tempo=facts.get("tempo"),
        key=facts.get("key"),
        mode=facts.get("mode"),
        chords=tuple((start_s, symbol) for start_s, symbol in facts.get("chords", ())),
        density=facts.get("density"),
    )


class Source(Protocol):
    """Crops that a part of a step is drawn from."""

    codec: dict[str, Any]
    lengths: np.ndarray

    @property
    def crops(self) -> Sequence[CropTokens]:
        """What is known of each."""

    @property
    def buckets(self) -> list[np.ndarray]:
        """Their indices, those of about one length together."""

    def example(self, index: int, caption: int) -> Example:
        """A crop with one of its captions."""


class Stream(Protocol):
    """What a training draws from, step by step."""

    codec: dict[str, Any]

    @property
    def frames(self) -> int:
        """Frames that there were to draw from so far."""

    @property
    def hours(self) -> float:
        """Hours that there were to draw from so far."""

    def describe(self) -> list[dict[str, Any]]:
        """What training.json says of the corpora."""

    def at(self, step: int, rng: np.random.Generator) -> Source:
        """What a part of this step is drawn from."""


def collate(corpus: Source, picks: list[Pick], conditions: Mapping[str, AnyCondition]) -> Batch:
    """Crops as one batch, padded on the right, with what they have of a model's conditions.

    The length of what stops short of its piece's end is the time to that end, so that only what
    ends has an end. Beats are counted from the beginning of the piece.
    """
    codes, texts, values = list[Tensor](), list[np.ndarray](), defaultdict[str, list[Any]](list)
    rate = corpus.codec["frame_rate"]
    for pick in picks:
        example = corpus.example(pick.crop, pick.caption)
        first, _, _ = pick.frames.indices(example.codes.shape[-1])
        codes.append(torch.from_numpy(example.codes[:, pick.frames]).T)
        texts.append(example.text)
        crop = _crop_of(corpus.crops[pick.crop], first / rate)
        caption = None if pick.null else example.caption
        for name, condition in conditions.items():
            value = None if name in pick.dropped else condition.from_crop(crop, caption)
            values[name].append(value)
    padded = torch.nn.utils.rnn.pad_sequence(codes, batch_first=True, padding_value=IGNORE)
    # Inputs on padding are code 0, any id that has an embedding; targets there are ignored.
    targets = padded.transpose(1, 2).contiguous()
    text, null = stack_text(texts), torch.tensor([pick.null for pick in picks])
    values[Text.name] = encoded(text, null)
    # Trained at level 1, so that other levels at generation act as guidance.
    levels = {name: torch.ones(len(picks)) for name in conditions}  # guidance alone has others
    given = ConditionBatch(conditions, text, null, values, levels)
    return Batch(targets.clamp(min=0), targets, given.conditioning(targets.shape[-1], rate))


def mishear(batch: Batch, share: float, rng: np.random.Generator) -> Batch:
    """In a share of the crops, spans of the input codes are another crop's; targets stay.

    Data noising (Xie et al. 2017, arXiv 1703.02573), by spans. What a model generates goes wrong
    at times and is its own input: so it learns to go on from there as the text asks.
    """
    lengths = (batch.targets[:, 0] != IGNORE).sum(-1).tolist()
    if not share or len(lengths) == 1:
        return batch
    codes = batch.codes.clone()
    for row, length in enumerate(lengths):
        left = length * MISHEARD * rng.random() if rng.random() < share else 0.0
        while left > 0:
            other = (row + int(rng.integers(1, len(lengths)))) % len(lengths)
            # Log-uniform up to the longest: slips of a frame are as frequent as whole phrases.
            span = min(length, lengths[other], int(LONGEST_SPAN ** rng.random()))
            at, source = (int(rng.integers(n - span + 1)) for n in (length, lengths[other]))
            codes[row, :, at : at + span] = batch.targets[other, :, source : source + span]
            left -= span
    return batch._replace(codes=codes)


def batches(corpus: Stream, preset: LMPreset, start: int) -> Iterator[list[Batch]]:
    """The parts of every step from step `start` on.

    A part holds whole crops of about one length, the last seconds of some among them, or, in
    `window_share` of the parts, windows of one length, half of them from a crop's start. Windows
    are there for the text: it is learned where the music begins, and there are many more
    beginnings to as many tokens.

    Step n is the same for every architecture, after a resume, and on any number of processes.
    """
    rate = corpus.codec["frame_rate"]
    step, conditions = start, read_conditions(condition_settings(preset))
    while True:
        # Seeded by the step, not carried on, so that a resume has no random state to restore, and
        # two architectures see the same however much either draws.
        rng = np.random.default_rng((preset.seed, step))
        parts = []
        for _ in range(preset.accumulate):
            source = corpus.at(step, rng)
            # Each bucket holds as many crops, so a crop of a bucket at random is a crop at random.
            pool, window = source.buckets[int(rng.integers(len(source.buckets)))], None
            if rng.random() < preset.window_share:
                window = round(float(rng.choice(WINDOWS_S)) * rate)
            picks: list[Pick] = []
            budget = preset.tokens_per_batch // preset.accumulate
            while budget > 0:
                crop = int(rng.choice(pool))
                length, frames = int(source.lengths[crop]), slice(None)
                if window is not None:
                    spare = max(0, length - window)
                    first = int(rng.integers(spare + 1)) if rng.random() < 0.5 else 0
                    frames = slice(first, first + window)
                elif rng.random() < preset.tail_share and source.crops[crop].ends:
                    frames = slice(-round(float(rng.choice(TAILS_S)) * rate), None)
                caption = int(rng.integers(CAPTION_DRAWS))
                # The unconditional branch of guidance is trained as the same model without text (Ho
                # and Salimans 2022, algorithm 1).
                null = bool(rng.random() < preset.drop_text)
                dropped = frozenset(
                    name for name, share in preset.dropping(conditions) if rng.random() < share
                )
                picks.append(Pick(crop, caption, null, frames, dropped))
                budget -= len(range(*frames.indices(length)))
            parts.append(mishear(collate(source, picks, conditions), preset.mishear_share, rng))
        yield parts
        step += 1
