"""Rows of a benchmark, and the file that holds each as soon as it is measured."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Generic, Literal, Protocol, TypeVar

import numpy as np
from pydantic import Field, ValidationError

from simba_music.errors import CheckpointError
from simba_music.files import StrictModel, first_problem, read_json, write_json
from simba_music.training.benchmark.machine import Machine

RERUN, MUSICGEN, MAMBA2 = "the whole sequence again", "MusicGen", "Mamba-2"
_DIGITS = 4  # that are kept of a figure


def figure(value: float) -> float:
    """A number as it stands in the file."""
    return float(f"{value:.{_DIGITS}g}")


class Spread(StrictModel):
    """Median and quartiles of n measurements."""

    median: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Those of some measurements."""
        low, median, high = (figure(float(q)) for q in np.percentile(values, (25, 50, 75)))
        return cls(median=median, low=low, high=high, n=len(values))


class Row(StrictModel):
    """A line of a table; rows of equal `key` are one row, measured again."""

    identity: ClassVar[tuple[str, ...]]

    @property
    def key(self) -> tuple[object, ...]:
        """What sets it apart from all other rows."""
        return (type(self).__name__, *(getattr(self, name) for name in self.identity))


class DecodingRow(Row):
    """A step of decoding: a code for one listener, guidance and sampling included.

    `system` decodes by an `engine` with weights in a `dtype`; `read_mb` of weights and `state_mb`
    of state or cache move in the mean step, at the `bandwidth_gb_s` that this machine was measured
    to read so much with.
    """

    identity = ("size", "system", "engine", "dtype")
    group: Literal["decoding"] = "decoding"
    size: str
    system: str
    engine: str
    dtype: str
    shape: str
    threads: int
    frame_rate: int
    steps: int
    ms_per_step: Spread
    weights_mb: float
    state_mb: float
    bandwidth_gb_s: float

    @property
    def headline(self) -> bool:
        """Whether it stands in README: ours in float32 and int8, and MusicGen in float32."""
        if self.system == MUSICGEN:
            return (self.engine, self.dtype) == ("transformers", "float32")
        return self.engine == "compiled" and self.dtype != "bfloat16"

    @property
    def tokens_per_s(self) -> float:
        """Codes a second."""
        return 1000 / self.ms_per_step.median

    @property
    def times_real_time(self) -> float:
        """Seconds of music a second, were decoding all."""
        return self.tokens_per_s / self.frame_rate

    @property
    def floor_ms(self) -> float:
        """What a step takes if it does nothing but read, ms."""
        return (self.weights_mb + self.state_mb) / self.bandwidth_gb_s

    @property
    def of_floor(self) -> float:
        """Share of the bandwidth that a step makes use of."""
        return self.floor_ms / self.ms_per_step.median


class TrafficRow(Row):
    """Bytes that a step moves, computed: SiMBA's state against the Transformer's cache.

    `state_mb` are read and written at every step; `cache_mb_per_frame` are read for every frame
    that came before. Both in float32, for the two rows of guidance.
    """

    identity = ("size",)
    group: Literal["traffic"] = "traffic"
    size: str
    d_state: int
    frame_rate: int
    weights_mb: float
    state_mb: float
    cache_mb_per_frame: float

    @property
    def break_even(self) -> float:
        """Frames after which a step of the Transformer moves more than one of SiMBA."""
        return self.state_mb / self.cache_mb_per_frame


class LatencyRow(Row):
    """What a listener waits: until the first sound, and until both clips are there with scores.

    start: "first" generation of a process, its "second", or "warm".
    """

    identity = ("start", "users", "cores", "duration_s", "neighbour")
    group: Literal["latency"] = "latency"
    start: Literal["first", "second", "warm"]
    users: int
    cores: int
    neighbour: bool = False  # whether another process kept one of the cores busy
    duration_s: float
    engine: str
    first_audio_s: Spread
    total_s: Spread


class TogetherRow(Row):
    """Clips a minute of several clients who want both clips each: in slots, and one by one."""

    identity = ("users", "cores", "duration_s")
    group: Literal["together"] = "together"
    users: int
    cores: int
    duration_s: float
    engine: str
    slots: int
    apart: Spread
    together: Spread

    @property
    def ratio(self) -> float:
        """How many times as many clips there are through slots."""
        return self.together.median / self.apart.median


class LengthRow(Row):
    """A step far into a clip.

    how: "decoded" up to there, "set up" with a cache filled to there, or "computed" from other
    rows. `state_mb` is held there, `moved_mb` of it move in a step; `peak_mb` is what the process
    grew by, None where it was not measured.
    """

    identity = ("system", "seconds")
    group: Literal["length"] = "length"
    system: str
    seconds: float
    frame_rate: int
    engine: str
    how: Literal["decoded", "set up", "computed"]
    ms_per_step: Spread
    state_mb: float
    moved_mb: float
    peak_mb: float | None = None


class PartRow(Row):
    """A part of making a clip other than the language models."""

    identity = ("part",)
    group: Literal["parts"] = "parts"
    part: str
    audio_s: float
    seconds: Spread


_Rows = DecodingRow | TrafficRow | LatencyRow | TogetherRow | LengthRow | PartRow
AnyRow = Annotated[_Rows, Field(discriminator="group")]


class Kept(StrictModel):
    """What the file of every run has; a run is not `complete` if it was cut.

    `missing` says what could not be measured, and why.
    """

    schema_version: Literal[1] = Field(alias="schema")
    commit: str
    complete: bool = False
    minutes: float = 0.0
    missing: dict[str, str] = Field(default_factory=dict)


class Results(Kept):
    """What a run measured on this machine."""

    plan: str
    machine: Machine
    weights: dict[str, str]
    rows: tuple[AnyRow, ...] = ()


class Keyed(Protocol):
    """A row, with what sets it apart from all others."""

    @property
    def key(self) -> tuple[object, ...]:
        """What sets it apart."""


OneRow = TypeVar("OneRow", bound=Keyed)
Run = TypeVar("Run", bound=Kept)


class RunBook(Generic[OneRow, Run]):
    """The results of a run, written whole whenever a row comes in."""

    def __init__(self, path: Path, begun: Run, say: Callable[[str], None]):
        self._path, self._begun, self._say = path, begun, say
        self._rows, self._missing = dict[tuple[object, ...], OneRow](), dict[str, str]()
        self._started = time.monotonic()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._write()

    @property
    def elapsed_s(self) -> float:
        """Since the run began."""
        return time.monotonic() - self._started

    def put(self, row: OneRow) -> None:
        """Keep a row, in the place of the one with its key if there is one."""
        self._rows[row.key] = row
        self._write()

    def done(self, what: str) -> None:
        """Say how far it is."""
        self._say(f"{self.elapsed_s:4.0f} s: {what}")

    def miss(self, what: str, why: str) -> None:
        """Keep that something could not be measured."""
        if what not in self._missing:
            self._missing[what] = why
            self.done(f"not measured: {what}: {why}")
            self._write()

    def close(self) -> Run:
        """The results, complete."""
        self._begun = self._begun.model_copy(update={"complete": True})
        return self._write()

    def _write(self) -> Run:
        update = {
            "rows": tuple(self._rows.values()),
            "missing": self._missing,
            "minutes": figure(self.elapsed_s / 60),
        }
        found = self._begun.model_copy(update=update)
        write_json(self._path, found.model_dump(by_alias=True))
        return found


class Book(RunBook[AnyRow, Results]):
    """The results of a run on this machine's CPU."""


def read_run(path: Path, kind: type[Run], command: str) -> Run:
    """The results of a kind in a file that a command writes.

    Raises:
        CheckpointError: If it is missing or none of that kind.
    """
    try:
        return kind.model_validate(read_json(path))
    except ValidationError as error:
        where, what = first_problem(error, "the file")
        raise CheckpointError(
            f"{path} is not a benchmark's: {where}: {what}. Write it with {command}."
        ) from error


def read_results(path: Path) -> Results:
    """The results in a file; see `read_run`."""
    return read_run(path, Results, "simba-music bench")
