"""Clip: a finished take, and the progress of one that is being made."""

from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simba_music.audio import Waveform
from simba_music.scoring.score import Score


@dataclass(frozen=True)
class Progress:
    """How far one take of one side is, in frames, after `elapsed_s` seconds."""

    side: str
    name: str
    take: int
    frames: int
    total_frames: int
    elapsed_s: float


@dataclass(frozen=True)
class Clip:
    """A finished take: sound at playing level, its codes `[K, S]`, recipe, score and speed."""

    side: str
    name: str
    take: int
    waveform: Waveform
    codes: Tensor
    recipe: dict[str, Any]
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
