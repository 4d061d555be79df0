"""Rows of a GPU's benchmark, and the file that has each as soon as it is measured."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from simba_music.errors import CheckpointError
from simba_music.files import StrictModel, first_problem, read_json, write_json
from simba_music.training.benchmark.rows import Spread

Group = Literal["parity", "decoding", "latency", "training", "parts"]


class GpuRow(StrictModel):
    """One measurement; what does not apply to its group is None.

    parity: `error` against `limit`. decoding: `prompts` at once, `tokens_per_s` of all of them
    together. training: `tokens_per_s` and the `peak_share` of the card's FLOPs in bf16. latency
    and parts: `seconds`.
    """

    group: Group
    what: str
    size: str = ""
    engine: str = ""
    dtype: str = ""
    prompts: int = 1
    tokens_per_s: float | None = None
    ms_per_step: Spread | None = None
    times_real_time: float | None = None
    seconds: Spread | None = None
    peak_share: float | None = None
    peak_gb: float | None = None
    error: float | None = None
    limit: float | None = None
    note: str = ""

    @property
    def key(self) -> tuple[object, ...]:
        """What sets it apart from all other rows."""
        return self.group, self.what, self.size, self.engine, self.dtype, self.prompts


class GpuResults(StrictModel):
    """What a run measured; not `complete` if it was cut. `missing` says what was not, and why."""

    schema_version: Literal[1] = Field(alias="schema")
    card: str
    date: str
    commit: str
    libraries: dict[str, str]
    minutes_allowed: float
    complete: bool = False
    minutes: float = 0.0
    rows: tuple[GpuRow, ...] = ()
    missing: dict[str, str] = Field(default_factory=dict)


class GpuBook:
    """The results of a run, written whole whenever a row comes in; knows how much time is left."""

    def __init__(self, path: Path, begun: GpuResults, say: Callable[[str], None]):
        self._path, self._begun, self._say = path, begun, say
        self._rows, self._missing = dict[tuple[object, ...], GpuRow](), dict[str, str]()
        self._started = time.monotonic()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._write()

    @property
    def elapsed_s(self) -> float:
        """Since the run began."""
        return time.monotonic() - self._started

    @property
    def allowed_s(self) -> float:
        """The time that the run may take."""
        return 60 * self._begun.minutes_allowed

    @property
    def left_s(self) -> float:
        """What is left of it."""
        return self.allowed_s - self.elapsed_s

    def put(self, row: GpuRow) -> None:
        """Keep a row, in the place of the one with its key if there is one."""
        self._rows[row.key] = row
        self._write()
        self._say(f"{self.elapsed_s:4.0f} s: {in_words(row)}")

    def miss(self, what: str, why: str) -> None:
        """Keep that something was not measured."""
        self._missing[what] = why
        self._write()
        self._say(f"{self.elapsed_s:4.0f} s: not measured: {what}: {why}")

    def close(self) -> GpuResults:
        """The results, complete."""
        self._begun = self._begun.model_copy(update={"complete": True})
        return self._write()

    def _write(self) -> GpuResults:
        update = {
            "rows": tuple(self._rows.values()),
            "missing": self._missing,
            "minutes": round(self.elapsed_s / 60, 2),
        }
        found = self._begun.model_copy(update=update)
        write_json(self._path, found.model_dump(by_alias=True))
        return found


def in_words(row: GpuRow) -> str:
    """A row on one line."""
    named = " ".join(filter(None, (row.what, row.size, row.engine, row.dtype)))
    found = [f"{row.prompts} prompts"] if row.prompts > 1 else []
    if row.error is not None:
        found.append(f"error {row.error:.2g} (at most {row.limit:g})")
    if row.tokens_per_s is not None:
        found.append(f"{row.tokens_per_s:,.0f} tokens/s")
    if row.times_real_time is not None:
        found.append(f"{row.times_real_time:.1f} x real time")
    if row.seconds is not None:
        found.append(f"{row.seconds.median:g} s")
    if row.peak_share is not None:
        found.append(f"{100 * row.peak_share:.1f} % of the card's FLOPs")
    if row.peak_gb is not None:
        found.append(f"{row.peak_gb:g} GB")
    return f"{named}: {', '.join([*found, row.note]).rstrip(', ')}"


def read_gpu_results(path: Path) -> GpuResults:
    """The results in a file.

    Raises:
        CheckpointError: If it is missing or not one of a GPU's benchmark.
    """
    try:
        return GpuResults.model_validate(read_json(path))
    except ValidationError as error:
        where, what = first_problem(error, "the file")
        raise CheckpointError(
            f"{path} is not a GPU benchmark's: {where}: {what}. Write it with bench --gpu."
        ) from error
