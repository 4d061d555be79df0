"""Codec crops: endless batches of training audio, cut at random from folders or as it is made."""

from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simba_music.errors import RequestError
from simba_music.training.codec.model import CodecShape
from simba_music.training.corpus.endless import Endless, Maker, accompaniment_of, compose_seed
from simba_music.training.corpus.store import corpus_sample_rate, piece_audio, rendered_hours
from simba_music.training.record import describe_corpus

POOL = 128  # composed pieces to cut from at a time
FIRST = 32  # of them before the first crop
PIECE_S = 36.0  # mean length of a composed piece
USES = 1.0  # how often each second of a composed piece is used, on average
FOLDER_SHARE = 0.25  # of the crops, where there are folders beside an endless corpus
# Peak of a crop that is not silent, and the share of silent ones that is kept: codes must cover
# silence too, but all of it would take a good part of the batches.
LOUD, SILENT_SHARE = 0.01, 0.1


def crop_samples(shape: CodecShape, crop_s: float) -> int:
    """Samples of a crop, a whole number of the codec's frames."""
    return round(crop_s * shape.sample_rate) // shape.hop * shape.hop


class RandomCrops(Iterator[Tensor]):
    """Endless batches `[B, T]` of training audio, nine in ten of them louder than silence.

    Batch `n` is the same however many were drawn in this process: its random numbers come from
    (seed, n), and an endless corpus moves on by a piece after as many crops as use its every
    second `USES` times. Folders are pooled, each second as likely as any other.
    """

    def __init__(
        self,
        corpora: Sequence[Path],
        shape: CodecShape,
        batch: int,
        crop_s: float,
        seed: int,
        first: int = 0,
        workers: int = 1,
        make: Maker | None = None,
    ):
        """Open corpora at batch `first`: folders, and at most one `compose:SEED`.

        Raises:
            RequestError: If a folder was rendered at another sample rate, there are several
                endless corpora, or nothing can be rendered here.
        """
        endless = [c for c in corpora if compose_seed(c) is not None]
        seeds = [s for s in map(compose_seed, endless) if s is not None]
        if len(seeds) > 1:
            raise RequestError("Of endless corpora, compose:SEED and mma:SEED, there can be one.")
        self._folders = [c for c in corpora if compose_seed(c) is None]
        self._rate, self._batch, self._seed, self._next = shape.sample_rate, batch, seed, first
        self._length = crop_samples(shape, crop_s)
        self._fixed = _Pieces(self._length, None)
        for samples in self._audio():
            self._fixed.add(samples)
        self._per_piece = max(1, round(USES * PIECE_S / crop_s))  # crops until the next piece
        self._pool = _Pieces(self._length, POOL)
        self._from = self._entered = max(0, self._due(first * batch) - POOL)
        self._made_s, self._composed = 0.0, None  # made_s: seconds of pieces since `_from`
        if seeds:
            accompanied = accompaniment_of(endless[0])
            task = (seeds[0], workers, self._rate, self._from, make, accompanied)
            self._composed = Endless(*task)
        elif not self._fixed:
            raise RequestError(f"No training piece of {corpora[0]} is longer than {crop_s} s.")

    def __next__(self) -> Tensor:
        """The next batch, float32 `[B, T]`."""
        rng = np.random.default_rng((self._seed, self._next))
        crops = [self._crop(rng, self._next * self._batch + i) for i in range(self._batch)]
        self._next += 1
        return torch.from_numpy(np.stack(crops))

    def close(self) -> None:
        """End the processes of an endless corpus."""
        if self._composed is not None:
            self._composed.close()

    @property
    def waited_s(self) -> float:
        """Seconds waited for pieces that were not ready."""
        return self._composed.waited_s if self._composed is not None else 0.0

    def describe(self) -> list[dict[str, Any]]:
        """What training.json says of the corpora; of an endless one, what was used of it so far."""
        found = [describe_corpus(folder) for folder in self._folders]
        if self._composed is not None:
            found.append(
                {
                    "name": self._composed.name,
                    "first_seed": self._composed.seed,
                    "pieces": self._entered,
                    "hours": {"train": self._composed_hours()},
                    "sources": self._composed.sources,
                }
            )
        return found

    def hours(self) -> dict[str, float]:
        """Hours of audio that each corpus has given, by name."""
        found = {folder.name: rendered_hours(folder) for folder in self._folders}
        if self._composed is not None:
            found[self._composed.name] = self._composed_hours()
        return found

    def _composed_hours(self) -> float:
        """Of all pieces since batch 0; of those that an earlier process used, the mean counts."""
        mean_s = self._made_s / max(1, self._entered - self._from)
        return round(self._entered * mean_s / 3600, 2)

    def _audio(self) -> Iterator[np.ndarray]:
        """int16 samples of the folders' training pieces."""
        for folder in self._folders:
            if (its_rate := corpus_sample_rate(folder)) != self._rate:
                raise RequestError(
                    f"{folder} holds audio at {its_rate} Hz, the codec wants {self._rate} Hz. "
                    f"Render it again: simba-music corpus render --sample-rate {self._rate}."
                )
            yield from (a for row, a in piece_audio(folder) if row["split"] == "train")

    def _due(self, crop: int) -> int:
        """Pieces that have entered the pool when a crop is cut."""
        return FIRST + crop // self._per_piece

    def _crop(self, rng: np.random.Generator, number: int) -> np.ndarray:
        """Crop `number` since batch 0, float32 `[T]`."""
        if self._composed is not None:
            while self._entered < self._due(number):
                samples = next(self._composed).samples
                self._pool.add(samples)
                self._entered += 1
                self._made_s += len(samples) / self._rate
        while True:
            folder = not self._pool or (bool(self._fixed) and rng.random() < FOLDER_SHARE)
            crop = (self._fixed if folder else self._pool).cut(rng)
            if np.abs(crop).max() > LOUD or rng.random() < SILENT_SHARE:
                return crop


class _Pieces:
    """Pieces to cut crops of `length` samples from, the latest `most` of them, or all."""

    def __init__(self, length: int, most: int | None):
        self._length = length
        self._pieces = deque[np.ndarray](maxlen=most)
        self._ends: np.ndarray | None = None  # of the crops that each piece can give, end to end

    def __bool__(self) -> bool:
        return any(len(piece) > self._length for piece in self._pieces)

    def add(self, samples: np.ndarray) -> None:
        """Add a piece, int16 `[T]`; the oldest leaves where there are too many."""
        self._pieces.append(samples)
        self._ends = None

    def cut(self, rng: np.random.Generator) -> np.ndarray:
        """One crop, float32 `[T]`; every place in every piece is as likely as any other."""
        if self._ends is None:
            self._ends = np.cumsum([max(0, len(p) - self._length) for p in self._pieces])
        at = int(rng.integers(self._ends[-1]))
        place = int(np.searchsorted(self._ends, at, side="right"))
        start = int(self._ends[place]) - at - 1
        return self._pieces[place][start : start + self._length].astype(np.float32) / 32768
