"""Beat condition: the tempo that a prompt names, and its beats as features of every frame.

A text encoder cannot tell 92 from 120 beats a minute, so the number is read from the prompt and
its beats are given to every frame. Where there is no number, a tempo word says roughly which.
Beat-synchronous conditions of this kind are those of MusiConGen (Lan et al. 2024, arXiv
2407.15060).
"""

import math
import re
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from simba_music.conditioning.request import Crop, Request
from simba_music.conditioning.types import Condition, Span

SLOWEST_BPM, FASTEST_BPM = 30.0, 300.0
CYCLES = (0.25, 0.5, 1.0, 2.0, 3.0, 4.0)  # a beat: four beats, two, one, halves, triplets, quarters
ALIKE = 1.5  # tempos whose ratio is larger contradict each other
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
# Italian terms at the middle of their usual range on a metronome; the others at the median of the
# composed pieces that are called so.
_WORDS = {
    r"largo|lento": 52,
    r"slow(?!\s+(?:build|attack|fade|release|decay|swell))|slow-paced|unhurried": 62,
    r"adagio": 68,
    r"andante": 84,
    r"mid-?tempo|(?:medium|moderate)(?:\s|-)tempo|moderately\s+paced": 90,
    r"moderato": 108,
    r"upbeat|lively|brisk": 122,
    r"allegro": 132,
    r"fast(?!\s+(?:attack|fade|release|decay))|fast-paced|quick": 155,
    r"vivace": 160,
    r"presto": 180,
}
_TEMPO_WORDS = {
    re.compile(rf"(?<!\bnot\s)(?<!\btoo\s)\b(?:{words})\b", re.IGNORECASE): float(bpm)
    for words, bpm in _WORDS.items()
}


def named_tempo(prompt: str) -> float:
    """The tempo that a prompt names, in beats a minute; 0 if it names none.

    The first number counts: "96 bpm", "around 96 beats per minute", "tempo 96", "♩ = 96",
    "metronome at 96". Without a number the first word does, such as "slow" or "allegro", unless
    another contradicts it.
    """
    found = [match for form in _FORMS for match in form.finditer(prompt)]
    for match in sorted(found, key=lambda match: match.start()):
        bpm = float(match["bpm"])
        if SLOWEST_BPM <= bpm <= FASTEST_BPM:
            return bpm
    said = sorted(
        (match.start(), bpm)
        for words, bpm in _TEMPO_WORDS.items()
        for match in words.finditer(prompt)
    )
    tempos = [bpm for _, bpm in said]
    return tempos[0] if tempos and max(tempos) <= ALIKE * min(tempos) else 0.0


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

    def from_negative(self, request: Request) -> Pulse | None:
        """The tempo that the negative prompt names, else the prompt's."""
        bpm = named_tempo(request.negative)
        return Pulse(bpm) if bpm else self.from_prompt(request)

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
