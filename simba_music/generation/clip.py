"""Clip: a finished take, and the progress of one that is being made."""

from dataclasses import dataclass
from typing import Any

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
    """A finished take: sound at playing level, its tokens `[K, S]`, recipe, score and speed."""

    side: str
    name: str
    take: int
    waveform: Waveform
    tokens: Tensor
    recipe: dict[str, Any]
    score: Score | None
    stopped_early: bool
    seconds: float

    @property
    def tokens_per_s(self) -> float:
        """Tokens written a second, codec included."""
        return self.tokens.shape[-1] / self.seconds

    @property
    def times_real_time(self) -> float:
        """Seconds of audio made a second."""
        return self.waveform.duration_s / self.seconds
