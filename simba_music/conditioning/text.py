"""Text condition: the mean state of the prompt's tokens, or that there is no prompt."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from simba_music.conditioning.reading.denials import refused
from simba_music.conditioning.request import Crop, Request
from simba_music.conditioning.types import Condition, Span, TextEmbedding


class Text(Condition[str | Tensor]):
    """Prompt or caption; once encoded, its mean token state `[D_text]`.

    The token states themselves are read as a prefix or by cross-attention; every frame gets their
    mean, one feature that says that there is a text, and one that says that there is none.
    """

    name: ClassVar[str] = "text"
    initial_std: ClassVar[float] = 0.02
    drop: ClassVar[float] = 0.1
    states: int = Field(gt=0, le=8192)  # width of the text encoder, D_text

    @property
    def width(self) -> int:
        """See `Condition`."""
        return self.states + 2

    def from_prompt(self, request: Request) -> str | None:
        """The prompt."""
        return request.prompt

    def from_negative(self, request: Request) -> str | None:
        """The negative prompt and what the prompt refuses, None where there is neither."""
        return refused(request.prompt, request.negative) or None

    def from_crop(self, crop: Crop, caption: str | None) -> str | None:
        """The caption."""
        return caption

    def features(self, values: Sequence[str | Tensor | None], span: Span) -> Tensor:
        """`[B, 1, D_text + 2]` of mean token states."""
        found = torch.zeros(len(values), self.width, device=span.first.device)
        for row, value in zip(found, values, strict=True):
            assert not isinstance(value, str), "a text is encoded before it has features"
            if value is None:
                row[-1] = 1
            else:
                row[:-2], row[-2] = value, 1
        return found[:, None]


def mean_states(text: TextEmbedding) -> Tensor:
    """Mean of the unmasked token states `[B, D_text]`."""
    # The mean over words: the same for any padding, and as MiniLM was trained to be read.
    count = text.mask.sum(1, keepdim=True).clamp(min=1)
    return (text.states * text.mask[..., None]).sum(1) / count
