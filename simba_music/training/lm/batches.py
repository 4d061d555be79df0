"""Batches for language models: the same crops in the same order for every architecture."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from simba_music.conditioning.beat import BeatClock
from simba_music.conditioning.key import NOTES, Key, key_features
from simba_music.conditioning.line_up import Names, line_up_features
from simba_music.models.text_encoder import TextEmbedding
from simba_music.training.corpus.tokens import TokenCorpus, stack_text
from simba_music.training.lm.preset import LMPreset, line_up_names

IGNORE = -100
LENGTH_BUCKETS = 4  # a batch holds crops of one bucket, so that little is padding
CAPTION_DRAWS = 60  # divisible by every number of captions up to 6
TAILS_S = (2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0)
WINDOWS_S = (3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0)
MISHEARD = 0.3  # of a crop's tokens, at most
LONGEST_SPAN = 64  # tokens


class Pick(NamedTuple):
    """A crop to train on: its index, its caption or no text, its frames; what is told besides."""

    crop: int
    caption: int
    null: bool = False
    frames: slice = slice(None)
    clock: bool = False
    key: bool = False
    line_up: bool = False


class Batch(NamedTuple):
    """Tokens `[B, 1, S]` to hear, those to predict (-100 on padding), and the conditions."""

    tokens: Tensor
    targets: Tensor
    text: TextEmbedding
    null: Tensor
    total_s: Tensor
    clock: BeatClock
    key: Tensor
    line_up: Tensor | None

    @property
    def n_targets(self) -> int:
        """Tokens to predict."""
        return int((self.targets != IGNORE).sum())

    def to(self, device: str) -> "Batch":
        """The same on another device."""
        text = TextEmbedding(self.text.states.to(device), self.text.mask.to(device))
        clock = BeatClock(*(t.to(device) for t in self.clock))
        moved = {name: t.to(device) for name, t in self._asdict().items() if torch.is_tensor(t)}
        return self._replace(text=text, clock=clock, **moved)


def collate(corpus: TokenCorpus, picks: list[Pick], names: Names = ()) -> Batch:
    """Crops as one batch, padded on the right; the line-up is what the captions say of `names`.

    `total_s` of what stops short of its piece's end is the time to that end, so that only what
    ends is said to end. Beats are counted from the beginning of the piece.
    """
    examples, ids, total_s, tempo, beat, keys = [], [], [], [], [], list[Key | None]()
    rate = corpus.codec["frame_rate"]
    for pick in picks:
        example = corpus.example(pick.crop, pick.caption)
        first, _, _ = pick.frames.indices(len(example.tokens))
        examples.append(example)
        ids.append(torch.from_numpy(example.tokens[pick.frames]))
        total_s.append(corpus.crops[pick.crop].remaining_s - first / rate)
        tempo.append(float(example.facts.get("tempo", 0)) if pick.clock else 0.0)
        beat.append((example.facts["start_s"] + first / rate) * tempo[-1] / 60)
        keyed, facts = pick.key and "key" in example.facts, example.facts
        keys.append(Key(NOTES.index(facts["key"]), facts["mode"]) if keyed else None)
    said = [e.caption if p.line_up else "" for e, p in zip(examples, picks, strict=True)]
    padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=IGNORE)
    targets = padded[:, None]
    return Batch(
        targets.clamp(min=0),
        targets,
        stack_text([e.text for e in examples]),
        torch.tensor([pick.null for pick in picks]),
        torch.tensor(total_s),
        BeatClock.of(torch.tensor(tempo), torch.tensor(beat)),
        key_features(keys),
        line_up_features(said, names) if names else None,
    )


def mishear(batch: Batch, share: float, rng: np.random.Generator) -> Batch:
    """In a share of the crops, spans of the tokens to hear are another crop's; targets stay.

    Data noising (Xie et al. 2017, arXiv 1703.02573), by spans. What a model plays goes wrong at
    times, and it hears what it played: so it learns to go on from there as the text asks.
    """
    lengths = (batch.targets[:, 0] != IGNORE).sum(-1).tolist()
    if not share or len(lengths) == 1:
        return batch
    tokens = batch.tokens.clone()
    for row, length in enumerate(lengths):
        left = length * MISHEARD * rng.random() if rng.random() < share else 0.0
        while left > 0:
            other = (row + int(rng.integers(1, len(lengths)))) % len(lengths)
            span = min(length, lengths[other], int(LONGEST_SPAN ** rng.random()))
            at, source = (int(rng.integers(n - span + 1)) for n in (length, lengths[other]))
            tokens[row, :, at : at + span] = batch.targets[other, :, source : source + span]
            left -= span
    return batch._replace(tokens=tokens)


def batches(corpus: TokenCorpus, preset: LMPreset, start: int) -> Iterator[list[Batch]]:
    """The parts of every step from step `start` on.

    A part holds whole crops of about one length, the last seconds of some among them, or, in
    `window_share` of the parts, windows of one length, half of them from a crop's start. Windows
    are there for the text: it is learned where the music begins, and there are many more
    beginnings to as many tokens.

    Step n is the same for every architecture, after a resume, and on any number of processes.
    """
    rate = corpus.codec["frame_rate"]
    lengths = np.array([crop.length for crop in corpus.crops])
    buckets = min(LENGTH_BUCKETS, len(lengths))
    pools = np.array_split(np.argsort(lengths, kind="stable"), buckets)
    step, names = start, line_up_names() if preset.line_up else ()
    while True:
        rng = np.random.default_rng((preset.seed, step))
        parts = []
        for _ in range(preset.accumulate):
            pool, window = pools[int(rng.integers(buckets))], None
            if rng.random() < preset.window_share:
                window = round(float(rng.choice(WINDOWS_S)) * rate)
            picks: list[Pick] = []
            budget = preset.tokens_per_batch // preset.accumulate
            while budget > 0:
                crop = int(rng.choice(pool))
                length, frames = int(lengths[crop]), slice(None)
                if window is not None:
                    spare = max(0, length - window)
                    first = int(rng.integers(spare + 1)) if rng.random() < 0.5 else 0
                    frames = slice(first, first + window)
                elif rng.random() < preset.tail_share and corpus.crops[crop].facts["ends"]:
                    frames = slice(-round(float(rng.choice(TAILS_S)) * rate), None)
                caption = int(rng.integers(CAPTION_DRAWS))
                null = bool(rng.random() < preset.drop_text)
                clock = preset.beat_clock and rng.random() >= preset.drop_tempo
                key = preset.key_signature and rng.random() >= preset.drop_key
                line_up = preset.line_up and rng.random() >= preset.drop_line_up
                picks.append(Pick(crop, caption, null, frames, clock, key, line_up))
                budget -= len(range(*frames.indices(length)))
            parts.append(mishear(collate(corpus, picks, names), preset.mishear_share, rng))
        yield parts
        step += 1
