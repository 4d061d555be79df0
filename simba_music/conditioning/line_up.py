"""Line-up condition: the instruments that a prompt names, as features of every frame.

A frozen text encoder made for sentences puts "banjo" near "guitar", and "drumless" near "drums". So
the instruments that a model knows by name are read from the prompt and are a condition each. What
it does not know by name reaches it through the text alone.
"""

import functools
import re
from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from simba_music.conditioning.request import Crop, Request
from simba_music.conditioning.types import Condition, Span

Name = Annotated[str, Field(pattern=r"\S", max_length=64)]
Names = tuple[tuple[str, ...], ...]  # for each instrument what it is called, its title first

_DENIED = re.compile(r"\b(?:no|not|without|minus)\s+(?:(?:an?|any|the)\s+)?$")


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[-_]", " ", text.lower()).split())


@functools.cache
def _reader(names: Names) -> tuple[re.Pattern[str], dict[str, list[int]]]:
    """A pattern that finds names, the longest first, and which instruments each may mean."""
    meant = dict[str, list[int]]()
    for i, group in enumerate(names):
        for name in dict.fromkeys(_plain(name) for name in group):
            meant.setdefault(name, []).append(i)
    # An alternation takes the first that fits, so the longest names come first.
    longest = sorted(meant, key=len, reverse=True)
    pattern = rf"(?<!\w)(?P<name>{'|'.join(map(re.escape, longest))})(?:e?s)?(?!\w)"
    return re.compile(pattern), meant


def named_instruments(text: str, names: Names) -> list[int]:
    """Which of the instruments a text names, in the order of `names`.

    Of names within names the longest counts: "electric piano" is no piano, "steel drums" are no
    drums. What is denied ("no piano", "without any strings") is not named, unless the denial is
    itself among the names, as "no drums" may be.
    """
    if not names:
        return []
    (pattern, meant), plain, found = _reader(names), _plain(text), set[int]()
    for match in pattern.finditer(plain):
        if not _DENIED.search(plain, 0, match.start()):
            found.update(meant[match["name"]])
    return sorted(found)


class LineUp(Condition[tuple[int, ...]]):
    """Which of the instruments that a model knows by name are named."""

    name: ClassVar[str] = "line_up"
    drop: ClassVar[float] = 0.3
    names: tuple[Annotated[tuple[Name, ...], Field(min_length=1)], ...] = Field(
        min_length=1, max_length=1024
    )

    @property
    def width(self) -> int:
        """See `Condition`."""
        return len(self.names)

    def from_prompt(self, request: Request) -> tuple[int, ...] | None:
        """Instruments that the prompt names."""
        return self._named(request.prompt)

    def from_negative(self, request: Request) -> tuple[int, ...] | None:
        """Instruments that the negative prompt names."""
        return self._named(request.negative)

    def from_crop(self, crop: Crop, caption: str | None) -> tuple[int, ...] | None:
        """Instruments that the caption names."""
        return self._named(caption or "")

    def _named(self, text: str) -> tuple[int, ...] | None:
        return tuple(named_instruments(text, self.names)) or None

    def features(self, values: Sequence[tuple[int, ...] | None], span: Span) -> Tensor:
        """`[B, 1, F]`: 1 for what is named, else 0."""
        found = torch.zeros(len(values), self.width)
        for row, named in zip(found, values, strict=True):
            row[list(named or ())] = 1
        return found[:, None].to(span.first.device)

    def describe(self, value: tuple[int, ...]) -> str:
        """Titles, such as "piano, drum kit"."""
        return ", ".join(self.names[i][0] for i in value)
