"""Key condition: the key that a prompt names, as features of every frame.

A text encoder hardly distinguishes "minor" from "major", and a mode without its tonic says next to
nothing about the next code: in a corpus of all keys, no pitch class is likelier in minor. So key
and mode are read from the prompt and given as tonic and scale. Where a prompt names a mode
alone, the seed draws the tonic. Where it names neither, a mood does: "happy" is major, "sad" minor;
and where nothing does, the seed draws both.
Conditions on harmony of this kind are those of MusiConGen (Lan et al. 2024, arXiv 2407.15060).
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from simba_music.conditioning.reading.denials import refused
from simba_music.conditioning.reading.drawing import drawn_key
from simba_music.conditioning.reading.keys import full_key, named_key
from simba_music.conditioning.reading.scales import NOTES, SCALES, Key
from simba_music.conditioning.request import Crop, Request
from simba_music.conditioning.types import Condition, Span


class KeySignature(Condition[Key]):
    """Tonic and scale, where a key is known."""

    name: ClassVar[str] = "key"
    drop: ClassVar[float] = 0.3

    @property
    def width(self) -> int:
        """See `Condition`."""
        return 2 * len(NOTES)

    def from_prompt(self, request: Request) -> Key | None:
        """The key that the prompt names."""
        return named_key(request.prompt, request.seed)

    def draw(self, request: Request) -> Key | None:
        """A key that suits the prompt's chords, genres and moods, unless it wants none."""
        return drawn_key(request.prompt, request.seed)

    def is_drawn(self, request: Request) -> bool:
        """Whether the seed draws at least the tonic."""
        return full_key(request.prompt) is None

    def from_negative(self, request: Request) -> Key | None:
        """The key that is refused, by the negative prompt or in the prompt, else the prompt's."""
        key = named_key(refused(request.prompt, request.negative), request.seed)
        return key or self.wanted(request)

    def from_crop(self, crop: Crop, caption: str | None) -> Key | None:
        """Key of the piece."""
        if crop.key is None or crop.mode is None:
            return None
        return Key(NOTES.index(crop.key), crop.mode)

    def features(self, values: Sequence[Key | None], span: Span) -> Tensor:
        """`[B, 1, F]`: tonic, and pitch classes of the scale."""
        found = torch.zeros(len(values), self.width)
        for row, key in zip(found, values, strict=True):
            if key is not None:
                row[key.tonic] = 1
                # The scale's pitch classes besides: modes that share tones then have features in
                # common.
                row[[len(NOTES) + (key.tonic + step) % 12 for step in SCALES[key.scale]]] = 1
        return found[:, None].to(span.first.device)

    def describe(self, value: Key) -> str:
        """Such as "E minor"."""
        return str(value)
