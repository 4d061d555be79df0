"""LM endless: crops of pieces that are composed and encoded while a language model trains."""

import functools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from simba_music.audio import Waveform
from simba_music.models.codec import Codec
from simba_music.models.text_encoder import TextEncoder
from simba_music.training.corpus.build import captions_of, compose_piece
from simba_music.training.corpus.composing.mma import Accompaniment
from simba_music.training.corpus.endless import (
    Endless,
    Made,
    Maker,
    compose_and_render,
    name_of,
    sources_of,
)
from simba_music.training.corpus.store import Row, crop_audio, write_array
from simba_music.training.corpus.tokens import MINILM, CropTokens, Example, TokenCorpus, codec_ref
from simba_music.training.corpus.tokens.access import by_length
from simba_music.training.corpus.tokens.encode import crop_lengths, encode_texts
from simba_music.training.corpus.tokens.packed import fingerprint
from simba_music.training.lm.preset import LMPreset
from simba_music.training.record import describe_corpus

POOL = 192  # pieces to draw from at a time
FIRST = 48  # of them before the first step
PIECE_S = 36.0  # mean length of a composed piece
USES = 2.0  # how often each second of a piece is used, on average
FOLDER_SHARE = 0.25  # of the parts of steps, where a folder has pieces to train on


class Encoding(NamedTuple):
    """What an endless corpus is encoded with: the codec's folder, its books, processes, device.

    On a CPU the processes that compose encode too, and keep codes in the folder `kept`, so that
    the other model of a pair, and a training that goes on, need not render again; an accelerator
    encodes in this process.
    """

    codec: Path
    books: int = 1
    workers: int = 1
    device: str = "cpu"
    kept: Path | None = None


@functools.cache
def _tools(folder: Path, device: str) -> tuple[Codec, TextEncoder]:
    """One of each a process."""
    return Codec.load(folder, codec_ref(folder), device), TextEncoder.load(MINILM, device)


def codes_of(row: Row, samples: np.ndarray, encoding: Encoding) -> np.ndarray:
    """Codes `[K, S]` of all crops of a rendered piece, end to end, uint16."""
    codec, _ = _tools(encoding.codec, encoding.device)
    rate, parts = codec.ref.sample_rate, list[np.ndarray]()
    for crop in crop_audio(row, samples, rate):
        wave = Waveform(torch.from_numpy(crop)[None], rate)
        parts.append(codec.encode(wave, encoding.books)[0].cpu().numpy().astype(np.uint16))
    return np.concatenate(parts, axis=1)


def captioned(row: Row, codes: np.ndarray, encoding: Encoding) -> Made:
    """A piece as its manifest row, captions, text states and lengths added, and its codes.

    `states` has `[L, D_text]` of each caption of each crop, float16.
    """
    codec, encoder = _tools(encoding.codec, encoding.device)
    said = captions_of(row, musicians=True)
    # In an order of their own: which texts share a batch may move the last digit of their states.
    texts = sorted({t for crop in said for t in crop}, key=lambda text: (len(text), text))
    states = encode_texts(encoder, texts)
    more = {"captions": said, "states": [[states[t] for t in crop] for crop in said]}
    return row | more | {"lengths": crop_lengths([row], codec.ref)}, codes


def encoded(made: Made, encoding: Encoding) -> Made:
    """A rendered piece with its codes in place of its sound, see `captioned`."""
    row, samples = made
    return captioned(row, codes_of(row, samples, encoding), encoding)


@dataclass(frozen=True)
class Compose:
    """Makes a piece and encodes it, in a process of its own; what is kept is not made again."""

    encoding: Encoding
    accompaniment: Accompaniment = "own"

    def __call__(self, seed: int, sample_rate: int) -> Made:
        """Row and codes, see `captioned`."""
        torch.set_num_threads(1)
        codec, _ = _tools(self.encoding.codec, self.encoding.device)
        row, path = compose_piece(seed, accompaniment=self.accompaniment), self.encoding.kept
        if path is not None:
            # By all that is known of it too: another composer makes another piece of a seed.
            made_from = fingerprint([row], {})[:12], (codec.ref.sha256 or "")[:12]
            path = path / f"{seed}-{'-'.join(made_from)}-{self.encoding.books}.npy"
            if path.exists():
                return captioned(row, np.load(path), self.encoding)
        row, samples = compose_and_render(seed, sample_rate, self.accompaniment)
        codes = codes_of(row, samples, self.encoding)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_array(path, codes)
        return captioned(row, codes, self.encoding)


class Pool:
    """Crops of some pieces, in memory, read as those of a `TokenCorpus`."""

    def __init__(self, pieces: Sequence[Made], codec: dict[str, Any]):
        self.codec = codec
        self.crops, self._parts = list[CropTokens](), list[tuple[np.ndarray, list[np.ndarray]]]()
        for row, codes in pieces:
            at = 0
            for number, length in enumerate(row["lengths"]):
                self.crops.append(_crop(row, number, length))
                self._parts.append((codes[:, at : at + length], row["states"][number]))
                at += length
        self.lengths = np.array([crop.length for crop in self.crops], np.int32)
        self.buckets = by_length(self.lengths)

    def example(self, index: int, caption: int) -> Example:
        """Crop `index` with its caption number `caption`."""
        crop, (codes, states) = self.crops[index], self._parts[index]
        number = caption % len(crop.captions)
        text = states[number].astype(np.float32)
        said = crop.captions[number]
        return Example(codes.astype(np.int64), text, said, crop.duration_s, crop.facts)


def _crop(row: Row, number: int, length: int) -> CropTokens:
    crop = row["crops"][number]
    return CropTokens(
        row["id"],
        number,
        crop["start_s"],
        crop["end_s"],
        round(row["duration_s"] - crop["start_s"], 2),
        crop["ends"],
        crop,
        tuple(row["captions"][number]),
        length,
    )


class EndlessTokens:
    """What a language model draws from at each step: the latest pieces, and a folder's.

    What step n draws from depends on n alone, so that a training goes on bit for bit, and all
    architectures see the same.
    """

    def __init__(
        self,
        seed: int,
        preset: LMPreset,
        encoding: Encoding,
        beside: TokenCorpus | None = None,
        accompaniment: Accompaniment = "own",
    ):
        """Nothing is made before the first step is asked for.

        Raises:
            RequestError: If nothing can be rendered here.
        """
        self.seed, self.preset, self.encoding, self.beside = seed, preset, encoding, beside
        self.accompaniment, self.sources = accompaniment, sources_of(accompaniment)
        # The processes encode too, unless this one has something faster to do it with.
        self._in_workers = encoding.device == "cpu"
        ref = codec_ref(encoding.codec)
        self.codec: dict[str, Any] = ref.model_dump()
        self._rate, self._frame_rate = ref.sample_rate, ref.frame_rate
        self._stream: Endless | None = None
        self._pieces, self._pool = deque[Made](maxlen=POOL), Pool([], self.codec)
        self._from = self._entered = 0
        self._made_frames = 0

    def due(self, step: int) -> int:
        """Pieces that have entered the pool when a step is made."""
        drawn = step * self.preset.tokens_per_batch / self.preset.n_codebooks
        drawn *= 1 - (FOLDER_SHARE if self.beside else 0)
        return FIRST + int(drawn / (self._frame_rate * PIECE_S * USES))

    def at(self, step: int, rng: np.random.Generator) -> "Pool | TokenCorpus":
        """What a part of a step is drawn from."""
        if self.beside is not None and rng.random() < FOLDER_SHARE:
            return self.beside
        wanted = self.due(step)
        if self._stream is None:
            self._from = self._entered = max(0, wanted - POOL)
            make: Maker | None = None
            if self._in_workers:
                make = Compose(self.encoding, self.accompaniment)
            task = (self.seed, self.encoding.workers, self._rate, self._from)
            self._stream = Endless(*task, make, self.accompaniment)
        if self._entered < wanted:
            while self._entered < wanted:
                self._enter(self._stream)
            self._pool = Pool(list(self._pieces), self.codec)
        return self._pool

    def _enter(self, stream: Endless) -> None:
        piece = next(stream)
        found = piece.row, piece.samples
        found = found if self._in_workers else encoded(found, self.encoding)
        self._pieces.append(found)
        self._entered += 1
        self._made_frames += sum(found[0]["lengths"])

    @property
    def waited_s(self) -> float:
        """Seconds waited for pieces that were not ready."""
        return self._stream.waited_s if self._stream else 0.0

    @property
    def frames(self) -> int:
        """Frames that were there to draw from so far; of an earlier process' pieces the mean."""
        mean = self._made_frames / max(1, self._entered - self._from)
        return round(self._entered * mean) + (self.beside.frames if self.beside else 0) or 1

    @property
    def hours(self) -> float:
        """Hours of crops that were there to draw from so far."""
        return round(self.frames / self._frame_rate / 3600, 2)

    def describe(self) -> list[dict[str, Any]]:
        """What training.json says of the corpora."""
        folders = self.beside.folders if self.beside else []
        own = round(self.hours - (self.beside.hours if self.beside else 0), 2)
        name = name_of(self.seed, self.accompaniment)
        made = {"name": name, "first_seed": self.seed, "pieces": self._entered}
        return [
            made | {"hours": {"train": own}, "sources": self.sources},
            *map(describe_corpus, folders),
        ]

    def close(self) -> None:
        """End the processes."""
        if self._stream is not None:
            self._stream.close()
