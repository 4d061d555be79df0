"""Beat condition: the tempo that a prompt names, and its beats as features of every frame.

A text encoder cannot tell 92 from 120 beats a minute, so the number is read from the prompt and
its beats are given to every frame. Where there is no number, a tempo word says roughly which.
Beat-synchronous conditions of this kind are those of MusiConGen (Lan et al. 2024, arXiv
2407.15060).
"""

import math
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from simba_music.conditioning.reading.denials import refused
from simba_music.conditioning.reading.drawing import drawn_tempo
from simba_music.conditioning.reading.tempos import has_no_pulse, named_tempo
from simba_music.conditioning.request import Crop, Request
from simba_music.conditioning.types import Condition, Span

CYCLES = (0.25, 0.5, 1.0, 2.0, 3.0, 4.0)  # a beat: four beats, two, one, halves, triplets, quarters
_REFERENCE_BPM = 110.0


class Pulse(NamedTuple):
    """Tempo in beats a minute, and where in the music frame 0 lies, in beats from its beginning."""

    tempo: float
    beat: float = 0.0


class Beat(Condition[Pulse]):
    """Where in the beat each frame lies, where a tempo is known."""

    name: ClassVar[str] = "beat"
    drop: ClassVar[float] = 0.3

    @property
    def width(self) -> int:
        """See `Condition`."""
        return 2 * len(CYCLES) + 2

    def from_prompt(self, request: Request) -> Pulse | None:
        """The tempo that the prompt names."""
        bpm = named_tempo(request.prompt)
        return Pulse(bpm) if bpm else None

    def draw(self, request: Request) -> Pulse | None:
        """A tempo of the prompt's genres and moods, unless it wants none."""
        if has_no_pulse(request.prompt):
            return None
        return Pulse(drawn_tempo(request.prompt, request.seed))

    def from_negative(self, request: Request) -> Pulse | None:
        """The tempo that is refused, by the negative prompt or in the prompt, else the prompt's."""
        bpm = named_tempo(refused(request.prompt, request.negative))
        return Pulse(bpm) if bpm else self.wanted(request)

    def from_crop(self, crop: Crop, caption: str | None) -> Pulse | None:
        """Tempo of the piece; beats are counted from its beginning."""
        return Pulse(crop.tempo, crop.start_s * crop.tempo / 60) if crop.tempo else None

    def features(self, values: Sequence[Pulse | None], span: Span) -> Tensor:
        """`[B, S, F]`: sine and cosine of every cycle, 1, and the tempo in octaves."""
        device = span.first.device
        tempo, beat = torch.tensor([value or (0.0, 0.0) for value in values], device=device).T
        beats = beat[:, None] + span.seconds * tempo[:, None] / 60
        angle = 2 * math.pi * beats[..., None] * beats.new_tensor(CYCLES)
        known = tempo > 0
        # In octaves, as tempos compare by their ratio; the phases of one frame do not show it.
        pace = torch.log2(torch.where(known, tempo, _REFERENCE_BPM) / _REFERENCE_BPM)
        constant = torch.stack([torch.ones_like(pace), pace], -1)[:, None]
        found = torch.cat([angle.sin(), angle.cos(), constant.expand(-1, span.frames, -1)], dim=-1)
        made: Tensor = found * known[:, None, None]
        return made

    def describe(self, value: Pulse) -> str:
        """Such as "96 beats a minute"."""
        return f"{value.tempo:g} beats a minute"

    def brief(self, value: Pulse) -> str:
        """Such as "96 bpm"."""
        return f"{value.tempo:g} bpm"
