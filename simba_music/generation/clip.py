"""Clip: a finished take, and what there is of one that is being made."""

from base64 import b64decode, b64encode
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from simba_music.audio import Waveform
from simba_music.generation.recipe import Recipe
from simba_music.scoring.score import Score


@dataclass(frozen=True)
class Queued:
    """A run that waits for a place among others, `place` 1 being the next one to begin."""

    place: int


@dataclass(frozen=True)
class Progress:
    """How far one take of one side is, in frames, `elapsed_s` seconds after that take began.

    With `subseed` over 0 it began anew, since the draws before it were nearly empty.
    """

    side: str
    name: str
    take: int
    frames: int
    total_frames: int
    elapsed_s: float
    subseed: int = 0


@dataclass(frozen=True)
class AudioChunk:
    """The next sound of a take, before the gain that brings the whole clip to playing level.

    seq counts a take's chunks from 0; start_sample is where `waveform` begins in it. All chunks of
    a take end to end are its sound; the one with `last` ends it and may be empty.
    """

    side: str
    take: int
    seq: int
    start_sample: int
    waveform: Waveform
    last: bool = False


@dataclass(frozen=True)
class Clip:
    """A finished take: sound at playing level, its codes `[K, S]`, recipe, score and speed."""

    side: str
    name: str
    take: int
    waveform: Waveform
    codes: Tensor
    recipe: Recipe
    score: Score | None
    stopped_early: bool
    seconds: float

    @property
    def tokens_per_s(self) -> float:
        """Codes generated a second, all books counted, codec included."""
        return self.codes.numel() / self.seconds

    @property
    def times_real_time(self) -> float:
        """Seconds of audio made a second."""
        return self.waveform.duration_s / self.seconds


def pack_codes(codes: Tensor) -> str:
    """Codes `[K, S]` as base64 of little-endian 16-bit words, book after book."""
    return b64encode(codes.numpy().astype("<u2").tobytes()).decode()


def unpack_codes(text: str, n_codebooks: int = 1) -> Tensor:
    """Codes `[K, S]` of `pack_codes`."""
    found = np.frombuffer(b64decode(text), "<u2").astype(np.int64)
    return torch.from_numpy(found).view(n_codebooks, -1)
