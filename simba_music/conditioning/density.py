"""Density condition: how many notes are played, as the prompt asks, as features of every frame.

A caption says it in one word of many, which a text encoder hardly keeps; of a composed crop it is
known from its notes, by onsets a second of each player.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from simba_music.conditioning.reading.denials import refused
from simba_music.conditioning.reading.densities import DENSITIES, named_density
from simba_music.conditioning.request import Crop, Request
from simba_music.conditioning.types import Condition, Span


class Density(Condition[str]):
    """Sparse, moderate or busy, where it is known."""

    name: ClassVar[str] = "density"
    drop: ClassVar[float] = 0.3

    @property
    def width(self) -> int:
        """See `Condition`."""
        return len(DENSITIES)

    def from_prompt(self, request: Request) -> str | None:
        """What the prompt asks for."""
        return named_density(request.prompt)

    def from_negative(self, request: Request) -> str | None:
        """What is refused, by the negative prompt or in the prompt, else the prompt's."""
        return named_density(refused(request.prompt, request.negative)) or self.wanted(request)

    def from_crop(self, crop: Crop, caption: str | None) -> str | None:
        """Density of the crop."""
        return crop.density if crop.density in DENSITIES else None

    def features(self, values: Sequence[str | None], span: Span) -> Tensor:
        """`[B, 1, F]`: which of the three."""
        found = torch.zeros(len(values), self.width)
        for row, value in zip(found, values, strict=True):
            if value is not None:
                row[DENSITIES.index(value)] = 1
        return found[:, None].to(span.first.device)

    def describe(self, value: str) -> str:
        """Such as "sparse"."""
        return value
