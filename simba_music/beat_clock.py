"""Beat clock: the tempo that a prompt names, and its beats as features of every frame.

A text encoder cannot tell 92 from 120 beats a minute, so the number is read from the prompt and
given to the models as what musicians play to: a click. Beat-synchronous conditions of this kind are
those of MusiConGen (Lan et al. 2024, arXiv 2407.15060).
"""

import math
import re
from typing import NamedTuple

import torch
from torch import Tensor

SLOWEST_BPM, FASTEST_BPM = 30.0, 300.0
CYCLES = (0.25, 0.5, 1.0, 2.0, 3.0, 4.0)  # a beat: four beats, two, one, halves, triplets, quarters
FEATURES = 2 * len(CYCLES) + 2
_REFERENCE_BPM = 110.0

_NUMBER = r"(?P<bpm>\d{2,3}(?:\.\d+)?)"
_FORMS = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        rf"(?<![\d.]){_NUMBER}\s*-?\s*(?:bpm\b|beats?\s*(?:per|a|each|every|/)\s*min)",
        rf"\b(?:bpm|tempo|metronome(?:\s+mark(?:ing)?)?|M\.?\s?M\.?)"
        rf"(?:\s*(?:of|at|about|around|is|[:=~]))*\s*{_NUMBER}(?![\d.]*\d)",
        rf"(?:\b(?:crotchet|quarter(?:[\s-]note)?)|[♩𝅘𝅥])\s*(?:=|at|of)\s*{_NUMBER}(?![\d.]*\d)",
    )
)


def named_tempo(prompt: str) -> float:
    """The first tempo that a prompt gives as a number, in beats a minute; 0 if there is none.

    Understands "96 bpm", "around 96 beats per minute", "tempo 96", "♩ = 96", "metronome at 96".
    """
    found = [match for form in _FORMS for match in form.finditer(prompt)]
    for match in sorted(found, key=lambda match: match.start()):
        bpm = float(match["bpm"])
        if SLOWEST_BPM <= bpm <= FASTEST_BPM:
            return bpm
    return 0.0


class BeatClock(NamedTuple):
    """Beats of every row of a batch: `tempo` `[B]` in beats a minute, 0 where it is not known.

    `beat` `[B]` is where in the music the first frame lies, in beats from its beginning.
    """

    tempo: Tensor
    beat: Tensor

    @classmethod
    def none(cls, batch: int, device: torch.device) -> "BeatClock":
        """A clock that says nothing."""
        zeros = torch.zeros(batch, device=device)
        return cls(zeros, zeros)

    def features(self, frames: Tensor, frame_rate: float) -> Tensor:
        """`[B, S, FEATURES]` at frames `[B, S]` after the first; all 0 where no tempo is known."""
        beats = self.beat[:, None] + frames / frame_rate * self.tempo[:, None] / 60
        angle = 2 * math.pi * beats[..., None] * beats.new_tensor(CYCLES)
        known = self.tempo > 0
        level = torch.log2(torch.where(known, self.tempo, _REFERENCE_BPM) / _REFERENCE_BPM)
        constant = torch.stack([torch.ones_like(level), level], -1)[:, None]
        found = torch.cat(
            [angle.sin(), angle.cos(), constant.expand(-1, frames.shape[1], -1)], dim=-1
        )
        return found * known[:, None, None]
