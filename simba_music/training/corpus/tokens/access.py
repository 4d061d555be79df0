"""Access to tokens: crops of one or several tokenised corpora, each read when it is asked for."""

import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from simba_music.conditioning.types import TextEmbedding
from simba_music.errors import RequestError
from simba_music.files import read_json
from simba_music.training.corpus.store import SPLITS
from simba_music.training.corpus.tokens.packed import INDEX, Shard
from simba_music.training.record import describe_corpus

TOKENS, STAMP = "tokens", "tokens.codec.json"
LENGTH_BUCKETS = 4  # a batch holds crops of one bucket, so that little is padding
_OPEN = 256  # shards that are mapped at once; systems allow some 60,000 maps


@dataclass(frozen=True)
class Example:
    """One crop: its codes `[K, S]`, one caption with its token states `[L, D_text]`, its facts."""

    codes: np.ndarray
    text: np.ndarray
    caption: str
    duration_s: float
    facts: dict[str, Any]


@dataclass(frozen=True)
class CropTokens:
    """One crop of a tokenised corpus: its piece, its place in it, its captions and its codes.

    `remaining_s` is the time from its start to the end of its piece, `ends` whether it ends as the
    piece does. `facts` hold what is known beside: of composed pieces a great deal, of recordings
    nothing.
    """

    piece: str
    number: int
    start_s: float
    end_s: float
    remaining_s: float
    ends: bool
    facts: dict[str, Any]
    captions: tuple[str, ...]
    length: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return round(self.end_s - self.start_s, 2)


def by_length(lengths: np.ndarray) -> list[np.ndarray]:
    """Indices of crops of lengths `[N]`, in as many buckets of about one length each."""
    buckets = min(LENGTH_BUCKETS, len(lengths))
    return np.array_split(np.argsort(lengths, kind="stable"), buckets) if buckets else []


class Crops(Sequence[CropTokens]):
    """Crops that are read when they are asked for."""

    def __init__(self, corpus: "TokenCorpus"):
        self._corpus = corpus

    def __len__(self) -> int:
        return len(self._corpus.lengths)

    def __iter__(self) -> Iterator[CropTokens]:
        return (self._corpus.crop(index) for index in range(len(self)))

    def __getitem__(self, index: int) -> CropTokens:  # type: ignore[override]
        return self._corpus.crop(range(len(self))[index])


class TokenCorpus:
    """Random access to the captioned crops of a split, to their first `n_codebooks` books.

    Shards are mapped when a crop of them is read; in memory are 13 bytes a crop, so that tens of
    millions of them fit. `lengths` `[N]` are frames; `pieces` counts captioned crops by split.

    Raises:
        RequestError: If it is not tokenised, has fewer books, or no such crops: says what to do.
    """

    def __init__(self, corpora: Path | Sequence[Path], split: str, n_codebooks: int = 1):
        self.folders = [corpora] if isinstance(corpora, Path) else list(corpora)
        self.n_codebooks, self.split = n_codebooks, split
        stamps = [_stamp(folder) for folder in self.folders]
        self.codec = stamps[0]
        for folder, stamp in zip(self.folders, stamps, strict=True):
            if stamp["sha256"] != self.codec["sha256"]:
                raise RequestError(
                    f"{folder} and {self.folders[0]} were tokenised with different codecs; "
                    "run `corpus tokens` with one --codec for both."
                )
        self.shards = list[tuple[Path, str]]()
        lengths, shards, rows = ([np.zeros(0, kind)] for kind in (np.int32, np.int32, np.int32))
        hours, pieces = 0.0, {name: 0 for name in SPLITS}
        for folder, name in (found for each in self.folders for found in _packed(each)):
            found = np.load(folder / TOKENS / f"{name}{INDEX}")
            for number, each in enumerate(SPLITS):
                pieces[each] += int(((found["split"] == number) & (found["captions"] > 0)).sum())
            own = np.flatnonzero((found["split"] == SPLITS.index(split)) & (found["captions"] > 0))
            self.shards.append((folder, name))
            lengths.append(found["length"][own].astype(np.int32))
            shards.append(np.full(len(own), len(self.shards) - 1, np.int32))
            rows.append(own.astype(np.int32))
            hours += float((found["end_s"][own] - found["start_s"][own]).sum()) / 3600
        self.lengths, self._shard, self._row = (
            np.concatenate(parts) for parts in (lengths, shards, rows)
        )
        self.hours, self.crops, self.pieces = round(hours, 2), Crops(self), pieces
        self._open = functools.lru_cache(_OPEN)(self._mapped)
        self._check(pieces)

    def _check(self, crops: dict[str, int]) -> None:
        named = " and ".join(map(str, self.folders))
        if not any(crops.values()):
            raise RequestError(
                f"{named} has no captions, which a language model and a scorer need (a codec does "
                "not). Import it again with --captions, or write them with `corpus caption` if "
                "it is composed; then run `corpus tokens`."
            )
        if not len(self.lengths):
            others = ", ".join(f"{count} in {name}" for name, count in crops.items() if count)
            raise RequestError(
                f'{named} has no crops with captions in the split "{self.split}" ({others}). Put '
                "at least one recording there with the column split of --captions, import and run "
                "`corpus tokens` again."
            )
        if (found := len(self._open(int(self._shard[0])).codes)) < self.n_codebooks:
            raise RequestError(
                f"{named} has codes of {found} codebooks, and {self.n_codebooks} are needed; run "
                f"`corpus tokens --codebooks {self.n_codebooks}` again."
            )

    def describe(self) -> list[dict[str, Any]]:
        """What training.json says of the folders."""
        return [describe_corpus(folder) for folder in self.folders]

    @functools.cached_property
    def buckets(self) -> list[np.ndarray]:
        """Indices of its crops, see `by_length`."""
        return by_length(self.lengths)

    def at(self, step: int, rng: np.random.Generator) -> "TokenCorpus":
        """What a part of a step is drawn from: all of it, at every step."""
        return self

    @property
    def frames(self) -> int:
        """Frames of all crops."""
        return int(self.lengths.sum(dtype=np.int64))

    def _mapped(self, shard: int) -> Shard:
        folder, name = self.shards[shard]
        return Shard.open(folder / TOKENS, name)

    def _found(self, index: int) -> tuple[Shard, np.void]:
        shard = self._open(int(self._shard[index]))
        return shard, shard.crops[self._row[index]]

    def crop(self, index: int) -> CropTokens:
        """What is known of crop `index`."""
        shard, crop = self._found(index)
        first, count = int(crop["first_caption"]), int(crop["captions"])
        said = (shard.string(row["text"]) for row in shard.captions[first : first + count])
        return CropTokens(
            shard.string(crop["piece"]),
            int(crop["number"]),
            float(crop["start_s"]),
            float(crop["end_s"]),
            float(crop["remaining_s"]),
            bool(crop["ends"]),
            json.loads(shard.string(crop["facts"])),
            tuple(said),
            int(crop["length"]),
        )

    def states(self, index: int, caption: int) -> np.ndarray:
        """Token states `[L, D_text]` of caption number `caption` of crop `index`, float32."""
        shard, crop = self._found(index)
        row = shard.captions[int(crop["first_caption"]) + caption % int(crop["captions"])]
        start, end = row["states"]
        return np.asarray(shard.text[int(start) : int(end)]).astype(np.float32)

    def example(self, index: int, caption: int) -> Example:
        """Crop `index` with its caption number `caption`."""
        shard, row = self._found(index)
        crop, at = self.crop(index), int(row["at"])
        codes = shard.codes[: self.n_codebooks, at : at + crop.length]
        return Example(
            np.asarray(codes).astype(np.int64),
            self.states(index, caption),
            crop.captions[caption % len(crop.captions)],
            crop.duration_s,
            crop.facts,
        )


def _stamp(folder: Path) -> dict[str, Any]:
    """Which codec a corpus was tokenised with."""
    if not (folder / STAMP).exists():
        raise RequestError(
            f"{folder} has no tokens. Compose or import a corpus, caption it, then run: "
            f"simba-music corpus tokens {folder}"
        )
    found: dict[str, Any] = read_json(folder / STAMP)
    return found


def _packed(folder: Path) -> list[tuple[Path, str]]:
    """(corpus, shard) of every shard that is finished, in order."""
    names = sorted(p.name.removesuffix(INDEX) for p in (folder / TOKENS).glob(f"*{INDEX}"))
    if not names:
        raise RequestError(
            f"The tokens of {folder} are not finished, or of an earlier version. Run again (codes "
            f"that are there are kept): simba-music corpus tokens {folder}"
        )
    return [(folder, name) for name in sorted(names, key=lambda name: (len(name), name))]


def stack_text(texts: list[np.ndarray]) -> TextEmbedding:
    """Left-padded batch of token states."""
    longest = max(len(t) for t in texts)
    states = torch.zeros(len(texts), longest, texts[0].shape[1])
    mask = torch.zeros(len(texts), longest, dtype=torch.bool)
    for i, text in enumerate(texts):
        states[i, longest - len(text) :] = torch.from_numpy(text)
        mask[i, longest - len(text) :] = True
    return TextEmbedding(states, mask)
