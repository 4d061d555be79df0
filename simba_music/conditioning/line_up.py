"""Line-up: the instruments that a prompt names, as features that every frame hears.

A frozen text encoder made for sentences puts "banjo" near "guitar", and hardly tells "drumless"
from "drums". So the instruments that a model knows by name are read from the prompt and given to it
one by one. What it does not know by name reaches it through the text alone.
"""

import functools
import re
from collections.abc import Sequence

import torch
from torch import Tensor

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


def line_up_features(texts: Sequence[str], names: Names) -> Tensor:
    """`[B, len(names)]`: 1 for what a text names, else 0."""
    found = torch.zeros(len(texts), len(names))
    for row, text in zip(found, texts, strict=True):
        row[named_instruments(text, names)] = 1
    return found
