"""Rows of a GPU's benchmark, and the file that has each as soon as it is measured."""

from pathlib import Path
from typing import Literal

from simba_music.files import StrictModel
from simba_music.training.benchmark.rows import Kept, RunBook, Spread, read_run

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


class GpuResults(Kept):
    """What a run measured on a card."""

    card: str
    date: str
    libraries: dict[str, str]
    minutes_allowed: float
    rows: tuple[GpuRow, ...] = ()


class GpuBook(RunBook[GpuRow, GpuResults]):
    """The results of a run on a GPU; knows how much time is left."""

    @property
    def allowed_s(self) -> float:
        """The time that the run may take."""
        return 60 * self._begun.minutes_allowed

    @property
    def left_s(self) -> float:
        """What is left of it."""
        return self.allowed_s - self.elapsed_s

    def put(self, row: GpuRow) -> None:
        """See `RunBook`; says it."""
        super().put(row)
        self.done(in_words(row))


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
    """The results in a file; see `read_run`."""
    return read_run(path, GpuResults, "simba-music bench --gpu")
