"""Chords condition: the progression that a prompt names, as root and tones of every frame.

"chords: Am F C G" and "ii-V-I in D" name a progression, a bar each unless the prompt says
otherwise; it comes round until the clip ends. Frame-synchronous chords as pitch classes are those
of MusiConGen (Lan et al. 2024, arXiv 2407.15060).
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from simba_music.conditioning.chord_symbols import NO_CHORD, parse_symbol, pitch_classes
from simba_music.conditioning.reading.denials import refused
from simba_music.conditioning.reading.progressions import chord_s, named_chords
from simba_music.conditioning.reading.scales import NOTES
from simba_music.conditioning.reading.tempos import named_tempo
from simba_music.conditioning.request import Crop, Request
from simba_music.conditioning.types import Condition, Span


class Progression(NamedTuple):
    """Chord symbols, the start of each in s from frame 0, and how long until they repeat."""

    symbols: tuple[str, ...]
    starts_s: tuple[float, ...]
    period_s: float | None = None


class Chords(Condition[Progression]):
    """Root and tones of the chord at every frame, where a progression is known."""

    name: ClassVar[str] = "chords"
    drop: ClassVar[float] = 0.3

    @property
    def width(self) -> int:
        """See `Condition`."""
        return 2 * len(NOTES)

    def from_prompt(self, request: Request) -> Progression | None:
        """The progression that the prompt names, round and round from the first frame on."""
        return self._named(request.prompt, request)

    def from_negative(self, request: Request) -> Progression | None:
        """The progression that the negative prompt names, else the prompt's."""
        found = self._named(refused(request.prompt, request.negative), request)
        return found or self.wanted(request)

    def _named(self, text: str, request: Request) -> Progression | None:
        symbols = named_chords(text, request.seed)
        if not symbols:
            return None
        each_s = chord_s(text if named_tempo(text) else request.prompt)
        starts = tuple(i * each_s for i in range(len(symbols)))
        return Progression(symbols, starts, len(symbols) * each_s)

    def from_crop(self, crop: Crop, caption: str | None) -> Progression | None:
        """The chords that the piece has there."""
        if not crop.chords:
            return None
        starts = tuple(start_s - crop.start_s for start_s, _ in crop.chords)
        return Progression(tuple(symbol for _, symbol in crop.chords), starts)

    def features(self, values: Sequence[Progression | None], span: Span) -> Tensor:
        """`[B, S, F]`: root, and pitch classes of the chord; zeros where no chord sounds."""
        device, notes = span.first.device, len(NOTES)
        found = torch.zeros(len(values), span.frames, self.width, device=device)
        for row, value, seconds in zip(found, values, span.seconds, strict=True):
            if value is None:
                continue
            table = torch.zeros(len(value.symbols), self.width, device=device)
            for tones, symbol in zip(table, value.symbols, strict=True):
                if symbol != NO_CHORD:
                    tones[parse_symbol(symbol)[0]] = 1
                    tones[[notes + tone for tone in pitch_classes(symbol)]] = 1
            # A prompt's progression goes round; a crop's stands where the piece has it.
            at = seconds if value.period_s is None else seconds % value.period_s
            starts = torch.tensor(value.starts_s, device=device)
            row[:] = table[(torch.searchsorted(starts, at, right=True) - 1).clamp(min=0)]
        return found

    def describe(self, value: Progression) -> str:
        """Such as "chords Am F C G"."""
        return f"chords {' '.join(value.symbols)}"
