"""Batch: the values of all conditions of some requests or crops, and the features they have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from simba_music.conditioning.request import Request
from simba_music.conditioning.text import Text, mean_states
from simba_music.conditioning.types import AnyCondition, Conditioning, Span, TextEmbedding
from simba_music.files import StrictModel


@dataclass(frozen=True)
class ConditionBatch:
    """For every condition of a model: one value per row, and the level of its features.

    text: token states of all rows; null: rows without text `[B]`, bool; values: by condition, None
    where a row has none; levels: by condition `[B]`.
    """

    conditions: Mapping[str, AnyCondition]
    text: TextEmbedding
    null: Tensor
    values: Mapping[str, Sequence[object | None]]
    levels: Mapping[str, Tensor]

    def conditioning(self, frames: int, frame_rate: float, first: int = 0) -> Conditioning:
        """Features of `frames` frames from number `first` on, on the device of the text."""
        device = self.null.device
        span = Span(torch.full((len(self.null),), first, device=device), frames, frame_rate)
        features = {
            name: condition.features(self.values[name], span)
            # Features are linear in the model's input, so a level scales what a condition says.
            * self.levels[name].to(device)[:, None, None]
            for name, condition in self.conditions.items()
        }
        return Conditioning(self.text, self.null, span.numbers, features)


def encoded(text: TextEmbedding, null: Tensor) -> list[Tensor | None]:
    """Values of the text condition: the mean token state of every row, None in null rows."""
    pairs = zip(mean_states(text), null.tolist(), strict=True)
    return [None if missing else mean for mean, missing in pairs]


def texts_of(
    conditions: Mapping[str, AnyCondition], requests: Sequence[Request], guided: bool
) -> list[str | None]:
    """What is to be encoded: each request's prompt and, if guided, its negative prompt or None."""
    text = conditions[Text.name]
    found = [text.from_prompt(request) for request in requests]
    return found + [text.from_negative(request) for request in requests] if guided else found


def of_requests(
    conditions: Mapping[str, AnyCondition],
    requests: Sequence[Request],
    guided: bool,
    text: TextEmbedding,
    null: Tensor,
) -> ConditionBatch:
    """Conditions of B requests; with guidance, B rows of the unconditional branch follow.

    Args:
        conditions: those of the model, by name.
        requests: B of them.
        guided: whether there is an unconditional branch.
        text: the encoded `texts_of` these requests; any text may stand where that is None.
        null: rows without text, `[B]` or `[2 B]`.
    """
    count = len(requests)
    values: dict[str, Sequence[object | None]] = {Text.name: encoded(text, null)}
    levels = dict[str, Tensor]()
    for name, condition in conditions.items():
        level = [condition.guided] * count
        if name != Text.name:
            found = [condition.wanted(request) for request in requests]
            if guided:
                found += [condition.from_negative(request) for request in requests]
            values[name] = found
        if guided:
            # Second half: the unconditional branch. One batch of 2 B, so that weights are read
            # once.
            level += [condition.unguided] * count
        levels[name] = torch.tensor(level)
    return ConditionBatch(conditions, text, null, values, levels)


class ReadCondition(StrictModel):
    """What one condition is given, in words, and the levels of both branches of guidance."""

    value: str
    guided: float
    unguided: float


def read_from(conditions: Mapping[str, AnyCondition], request: Request) -> dict[str, ReadCondition]:
    """What the branch with the prompt is given, by condition, where words can say it."""
    found = dict[str, ReadCondition]()
    for name, condition in conditions.items():
        value = condition.wanted(request)
        if value is None:
            continue
        if words := condition.describe(value):
            levels = {"guided": condition.guided, "unguided": condition.unguided}
            found[name] = ReadCondition(value=words, **levels)
    return found


def drawn_from(conditions: Mapping[str, AnyCondition], request: Request) -> dict[str, str]:
    """Which of these values the seed drew, or a part of them, in short words."""
    found = dict[str, str]()
    for name, condition in conditions.items():
        value = condition.wanted(request)
        if value is not None and condition.is_drawn(request):
            found[name] = condition.brief(value)
    return {name: words for name, words in found.items() if words}
