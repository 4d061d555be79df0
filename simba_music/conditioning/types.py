"""What conditions share: frames of a batch, what a model reads, and what a condition is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from simba_music.conditioning.request import Crop, Request
from simba_music.files import StrictModel

Value = TypeVar("Value")


class TextEmbedding(NamedTuple):
    """Token states `[B, L, D_text]`, left-padded, and their mask `[B, L]` (False on padding)."""

    states: Tensor
    mask: Tensor


class Span(NamedTuple):
    """Frames of a batch: the first of each row `[B]`, how many, and how many there are a second."""

    first: Tensor
    frames: int
    frame_rate: float

    @property
    def numbers(self) -> Tensor:
        """Number of every frame in its music `[B, S]`."""
        return self.first[:, None] + torch.arange(self.frames, device=self.first.device)

    @property
    def seconds(self) -> Tensor:
        """Time of every frame in its music `[B, S]`, s."""
        return self.numbers / self.frame_rate


class Conditioning(NamedTuple):
    """All conditions of a batch as a language model reads them.

    text: states `[B, L, D_text]` and mask; null: rows without text `[B]`, bool; numbers: of the
    frames `[B, S]`; features: by condition `[B, S, F]`, or `[B, 1, F]` where all frames have the
    same.
    """

    text: TextEmbedding
    null: Tensor
    numbers: Tensor
    features: Mapping[str, Tensor]

    def to(self, device: str | torch.device) -> "Conditioning":
        """The same on another device."""
        return Conditioning(
            TextEmbedding(self.text.states.to(device), self.text.mask.to(device)),
            self.null.to(device),
            self.numbers.to(device),
            {name: found.to(device) for name, found in self.features.items()},
        )


class Condition(StrictModel, ABC, Generic[Value]):
    """One thing that frames are conditioned on, as config.json names and sets it.

    `guided` and `unguided` are the levels of its features in the branch with the prompt and in
    the unconditional branch of classifier-free guidance; models are trained at level 1. Between
    the two a level acts as guidance of this condition alone (compare Brooks et al. 2023, arXiv
    2211.09800, sec. 3.2, with a scale for each condition).
    """

    name: ClassVar[str]
    initial_std: ClassVar[float] = 0.0  # a model that had none may go on learning with it
    drop: ClassVar[float] = 0.0  # share of the training crops that lack it, unless a preset says
    # Settings that only generation reads: weights may go on with other ones.
    generation_only: ClassVar[frozenset[str]] = frozenset({"guided", "unguided"})
    guided: float = Field(default=1.0, ge=0, le=10)
    unguided: float = Field(default=1.0, ge=0, le=10)

    @property
    @abstractmethod
    def width(self) -> int:
        """Features a frame, F."""

    @abstractmethod
    def from_prompt(self, request: Request) -> Value | None:
        """What the prompt asks for; None if nothing."""

    def draw(self, request: Request) -> Value | None:
        """What the seed draws where the prompt asks for nothing; None if it stays open.

        By prompt and seed alone, not by the condition's settings, so that all models have the same.
        """
        return None

    def is_drawn(self, request: Request) -> bool:
        """Whether the seed draws the value, or a part of it."""
        return self.from_prompt(request) is None

    def wanted(self, request: Request) -> Value | None:
        """What the branch with the prompt is given: what it asks for, else what is drawn."""
        found = self.from_prompt(request)
        return self.draw(request) if found is None and request.draw else found

    def from_negative(self, request: Request) -> Value | None:
        """What the unconditional branch is given: the prompt's value, unless said otherwise."""
        return self.wanted(request)

    @abstractmethod
    def from_crop(self, crop: Crop, caption: str | None) -> Value | None:
        """What a training crop has, with this caption or without any."""

    @abstractmethod
    def features(self, values: Sequence[Value | None], span: Span) -> Tensor:
        """`[B, S, F]` or, alike for all frames, `[B, 1, F]`; zeros in rows without a value."""

    def describe(self, value: Value) -> str:
        """A value in words, for card and recipe; "" if it says nothing of its own."""
        return ""

    def brief(self, value: Value) -> str:
        """A value that was drawn in words, "" if it says nothing of its own."""
        return self.describe(value)


AnyCondition = Condition[Any]
