"""Measure: precision and recall of what is read from prompts, condition by condition."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from pydantic import ConfigDict, Field, ValidationError

from simba_music.conditioning.reading.prompt import Reading
from simba_music.errors import RequestError
from simba_music.files import StrictModel, first_problem

FIELDS = ("wanted", "denied", "tempo", "key", "metre", "chords", "cannot")


class Expected(StrictModel):
    """A prompt and what should be read from it; what is left out is nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    prompt: str = Field(min_length=1)
    wanted: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    tempo: float | None = None
    key: str = ""
    metre: str = ""
    chords: tuple[str, ...] = ()
    cannot: tuple[str, ...] = ()


class Found(NamedTuple):
    """How many facts were read rightly, read wrongly, and missed; and what, by prompt."""

    right: int
    wrong: int
    missed: int
    mistakes: tuple[str, ...]

    @property
    def precision(self) -> float:
        """Share of what is read that should be; 1 where nothing is read."""
        return _share(self.right, self.wrong)

    @property
    def recall(self) -> float:
        """Share of what should be read that is; 1 where nothing should be."""
        return _share(self.right, self.missed)


def _share(right: int, other: int) -> float:
    return right / (right + other) if right + other else 1.0


def read_expected(text: str, source: str) -> list[Expected]:
    """Prompts of a JSONL file with what should be read.

    Raises:
        RequestError: If a line is none; says which.
    """
    found = list[Expected]()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            found.append(Expected.model_validate_json(line))
        except ValidationError as error:
            where, problem = first_problem(error)
            raise RequestError(
                f"{source}, line {number}: {where or 'not a JSON object'}: {problem}. Give one "
                f"object a line with prompt and, if they are to be read, {', '.join(FIELDS)}."
            ) from error
    if not found:
        raise RequestError(f"{source} holds no prompt.")
    return found


def _facts(one: Expected | Reading, name: str) -> set[str]:
    """What stands in a field, as separate facts; a progression is one."""
    value = getattr(one, name)
    if name == "chords":
        return {" ".join(value)} - {""}
    if isinstance(value, tuple):
        return set(value)
    return {f"{value:g}" if isinstance(value, float) else str(value)} - {"", "None", "0"}


def measure(expected: Sequence[Expected], read: Callable[[str], Reading]) -> Mapping[str, Found]:
    """Of every condition, what was read and missed over all prompts."""
    readings = [read(one.prompt) for one in expected]
    found = dict[str, Found]()
    for name in FIELDS:
        right = wrong = missed = 0
        mistakes = list[str]()
        for one, reading in zip(expected, readings, strict=True):
            should, did = _facts(one, name), _facts(reading, name)
            right, wrong = right + len(should & did), wrong + len(did - should)
            missed += len(should - did)
            if should != did:
                mistakes.append(f"{one.prompt!r}: should be {sorted(should)}, is {sorted(did)}")
        found[name] = Found(right, wrong, missed, tuple(mistakes))
    return found
