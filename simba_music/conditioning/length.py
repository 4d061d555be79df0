"""Length condition: elapsed and total time, and the last seconds counted down."""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from simba_music.conditioning.request import Crop, Request
from simba_music.conditioning.types import Condition, Span

TIME_GRID_S = 0.5  # resolution of elapsed and total time
END_GRID_S, END_BINS = 0.25, 16  # the last four seconds, as the end clock counts them down


class End(NamedTuple):
    """Length of the whole piece and where its end is counted down to, both in s from its start."""

    total_s: float
    end_s: float


def _one_hot(bins: Tensor, count: int) -> Tensor:
    """Long `[...]` to float `[..., count]`; zeros where it is `count` or more."""
    return F.one_hot(bins.clamp(0, count), count + 1)[..., :count].float()


class Length(Condition[End]):
    """Elapsed time, and total time and the end where the length is known.

    The sum of the embeddings of elapsed and total time hardly shows their difference, so the
    last four seconds may be counted down beside them.
    """

    name: ClassVar[str] = "length"
    initial_std: ClassVar[float] = 0.02
    generation_only: ClassVar[frozenset[str]] = Condition.generation_only | {
        "tail_s",
        "earliest_end_s",
        "unguided_lead_s",
    }
    longest_s: float = Field(ge=2, le=3600)  # longer times have the features of this one
    end_clock: bool = False
    tail_s: float = Field(default=0, ge=0, le=10)  # silence at the end of the training pieces
    # At an earlier end a model may generate nothing but the silence of an ending.
    earliest_end_s: float = Field(default=0, ge=0, le=60)
    # The end lies so much later in the unconditional branch, so that guidance leads to the end.
    unguided_lead_s: float = Field(default=0, ge=0, le=60)

    @property
    def bins(self) -> int:
        """Bins of elapsed, and of total time."""
        return int(self.longest_s / TIME_GRID_S) + 1

    @property
    def width(self) -> int:
        """See `Condition`."""
        return 2 * self.bins + (END_BINS if self.end_clock else 0)

    def from_prompt(self, request: Request) -> End:
        """The duration and the silence that training pieces end with."""
        # Training pieces ring out into silence; a total without it would end the music so much too
        # early.
        total_s = max(self.earliest_end_s, request.duration_s + self.tail_s)
        return End(total_s, total_s)

    def from_negative(self, request: Request) -> End:
        """The same, with a later end."""
        total_s, end_s = self.from_prompt(request)
        return End(total_s, end_s + self.unguided_lead_s)

    def from_crop(self, crop: Crop, caption: str | None) -> End | None:
        """The time to the end of the piece, so that only what ends has an end."""
        return None if crop.remaining_s is None else End(crop.remaining_s, crop.remaining_s)

    def features(self, values: Sequence[End | None], span: Span) -> Tensor:
        """`[B, S, F]`: elapsed time one-hot, total time one-hot, end clock one-hot."""
        device, seconds, last = span.first.device, span.seconds, self.bins - 1
        known = torch.tensor([value is not None for value in values], device=device)
        ends = [value or End(0.0, 0.0) for value in values]
        total = torch.tensor([end.total_s for end in ends], device=device)
        elapsed = _one_hot((seconds / TIME_GRID_S).long().clamp(0, last), self.bins)
        whole = _one_hot((total / TIME_GRID_S).long().clamp(0, last), self.bins)
        # Unknown totals leave zeros, elapsed time always shows: it is where the frame is.
        parts = [elapsed, (whole * known[:, None])[:, None].expand(-1, span.frames, -1)]
        if self.end_clock:
            end = torch.tensor([end.end_s for end in ends], device=device)
            left = ((end[:, None] - seconds) / END_GRID_S).long().clamp(0, END_BINS)
            parts.append(_one_hot(left, END_BINS) * known[:, None, None])
        return torch.cat(parts, dim=-1)
