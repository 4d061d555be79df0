"""Scorer data: log-mels of crops and of their codec round trips, batches, contrasting captions."""

import logging
import math
import random
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from simba_music.audio import SAMPLE_RATE
from simba_music.conditioning.text import mean_states
from simba_music.models.codec import Codec
from simba_music.models.text_encoder import TextEncoder
from simba_music.scoring.bundled import ScorerModel
from simba_music.scoring.score import WINDOW_S
from simba_music.training.corpus.captioning.contrast import contrasts
from simba_music.training.corpus.store import corpus_sample_rate, crop_audio, piece_audio
from simba_music.training.corpus.tokens import TokenCorpus
from simba_music.training.ranks import Ranks

logger = logging.getLogger(__name__)

PHRASE = 2  # which of a crop's captions is a phrase
CAPTION_DRAWS = 60  # divisible by every number of captions up to 6


@torch.no_grad()
def log_mels(
    corpus: TokenCorpus,
    corpus_dir: Path,
    model: ScorerModel,
    codec: Codec,
    trips: int,
    ranks: Ranks,
) -> tuple[dict[int, Tensor], set[int]]:
    """Log-mel `[M, frames]` float16 of every crop; every second through the codec, up to `trips`.

    Ranks take turns on pieces, and then have those of all.

    Returns:
        The log-mels by number of the crop, and which crops went through the codec.
    """
    numbers = {(crop.piece, crop.number): i for i, crop in enumerate(corpus.crops)}
    pieces = {crop.piece for crop in corpus.crops}
    mels, through = dict[int, Tensor](), set[int]()
    own = (pair for pair in piece_audio(corpus_dir) if pair[0]["id"] in pieces)
    for turn, (row, samples) in enumerate(own):
        for k, sound in enumerate(crop_audio(row, samples, corpus_sample_rate(corpus_dir))):
            index = numbers.get((row["id"], k))
            if index is None:  # without a caption
                continue
            # Clips come out of the codec: a scorer of originals alone would score how they sound,
            # not what they play.
            if index % 2 and len(through) < trips:
                through.add(index)
            if turn % ranks.count != ranks.rank:
                continue
            wave = torch.from_numpy(sound)
            if index in through:
                codes = torch.from_numpy(corpus.example(index, 0).codes)
                wave = codec.decode(codes[None])[0].samples[0]
            mels[index] = model.log_mel(wave[None])[0].half()
    return _of_all(mels, model.config.mels, ranks), through


def _of_all(mels: dict[int, Tensor], bands: int, ranks: Ranks) -> dict[int, Tensor]:
    """Log-mels `[M, frames]` of all ranks by number."""
    if ranks.count == 1:
        return mels
    sizes = [[index, mel.shape[1]] for index, mel in mels.items()]
    frames = torch.cat([torch.zeros(bands, 0).half(), *mels.values()], dim=1).T.contiguous()
    tables = ranks.collected(torch.tensor(sizes, dtype=torch.long).view(-1, 2).to(ranks.device))
    found = dict[int, Tensor]()
    for table, part in zip(tables, ranks.collected(frames.to(ranks.device)), strict=True):
        numbers, lengths = table.T.tolist() if len(table) else ([], [])
        found |= dict(zip(numbers, part.cpu().T.split(lengths, dim=1), strict=True))
    return found


def read_batch(
    corpus: TokenCorpus, mels: dict[int, Tensor], picks: np.ndarray, rng: np.random.Generator | None
) -> tuple[Tensor, Tensor]:
    """Log-mels `[B, M, F]` and mean text states `[B, D]`; no rng means the whole crop."""
    rate = SAMPLE_RATE / 480
    seconds = WINDOW_S if rng is None else rng.uniform(4, WINDOW_S)
    frames = round(seconds * rate)
    audio, text = [], []
    for index in picks:
        mel = mels[int(index)]
        if mel.shape[1] < frames:
            # Repeated, not padded: silence would say that the music stops.
            mel = mel.repeat(1, math.ceil(frames / mel.shape[1]))
        start = 0 if rng is None else int(rng.integers(mel.shape[1] - frames + 1))
        audio.append(mel[:, start : start + frames])
        caption = PHRASE if rng is None else int(rng.integers(CAPTION_DRAWS))
        text.append(corpus.states(int(index), caption).mean(0))
    return torch.stack(audio).float(), torch.from_numpy(np.stack(text))


class Contrasts:
    """For every crop, mean text states of captions that are true and of such with one fact wrong.

    They are short captions, so they also teach what a part of the facts sounds like.
    """

    def __init__(self, corpus: TokenCorpus, encoder: TextEncoder, seed: int):
        rng = random.Random(seed)
        self.pairs = [
            [(c.true, c.false) for c in contrasts(crop.facts, rng)] if "genre" in crop.facts else []
            for crop in corpus.crops
        ]
        texts = sorted({text for pairs in self.pairs for pair in pairs for text in pair}, key=len)
        parts = [mean_states(encoder.encode(texts[i : i + 64])) for i in range(0, len(texts), 64)]
        self.states = torch.cat(parts) if parts else torch.zeros(0, encoder.ref.width)
        self.rows = {text: i for i, text in enumerate(texts)}
        logger.info("%d contrasting captions", len(texts))

    def draw(self, picks: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """(places in the batch, true states, false states), one contrast for each crop that has."""
        places = [k for k, index in enumerate(picks) if self.pairs[index]]
        chosen = [
            self.pairs[picks[k]][int(rng.integers(len(self.pairs[picks[k]])))] for k in places
        ]
        rows = torch.tensor([[self.rows[text] for text in pair] for pair in chosen]).view(-1, 2)
        true, false = self.states[rows].unbind(1)
        return torch.tensor(places, dtype=torch.long), true, false
