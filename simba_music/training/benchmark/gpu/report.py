"""Report of a GPU's benchmark: its rows, and when each test that needs a GPU last ran."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from simba_music.files import read_json
from simba_music.training.benchmark.gpu.rows import GpuResults, GpuRow, read_gpu_results
from simba_music.training.benchmark.report import missing_text
from simba_music.training.benchmark.tables import named, short, spread_text, table

GPU_SECTIONS = ("gpu", "gpu-tests")
RESULTS, TESTS = "performance-gpu.json", "gpu-tests.json"  # in docs/
_NOTHING = "Not measured: no run on a GPU has been kept."


def gpu_section(docs: Path, name: str) -> str:
    """One of `GPU_SECTIONS` from what lies in docs/; it says so where nothing was measured."""
    if name == "gpu-tests":
        return last_runs_text(read_json(docs / TESTS))
    file = docs / RESULTS
    return results_text(read_gpu_results(file)) if file.exists() else _NOTHING


def results_text(results: GpuResults) -> str:
    """Card and date, a table a group, and what was not measured."""
    libraries = ", ".join(f"{name} {v}" for name, v in results.libraries.items())
    cut = "" if results.complete else " The run was cut; what is missing was not measured."
    parts = [
        f"{results.card}, {results.date}, commit {results.commit}; {libraries}; "
        f"{results.minutes:g} minutes.{cut}"
    ]
    makers: tuple[tuple[str, Callable[[Sequence[GpuRow]], str]], ...] = (
        ("parity", _parity),
        ("decoding", _decoding),
        ("training", _training),
        ("latency", _seconds),
        ("parts", _seconds),
    )
    for group, make in makers:
        rows = [row for row in results.rows if row.group == group]
        if rows:
            parts.append(make(rows))
    if results.missing:
        parts.append(f"Not measured in this run:\n\n{missing_text(results.missing)}")
    return "\n\n".join(parts)


def _parity(rows: Sequence[GpuRow]) -> str:
    heads = ("model", "size", "engine", "weights", "error of the largest logit", "at most")
    lines = [
        (
            named(r.what),
            r.size,
            r.engine,
            r.dtype,
            f"{r.error:.1e} {r.note}".strip(),
            f"{r.limit:g}",
        )
        for r in rows
    ]
    return table(heads, lines)


def _decoding(rows: Sequence[GpuRow]) -> str:
    heads = ("model", "size", "engine", "weights", "prompts at once", "codes/s, all", "ms a step")
    lines = [
        (
            named(row.what),
            row.size,
            row.engine,
            row.dtype,
            str(row.prompts),
            _number(row.tokens_per_s),
            spread_text(row.ms_per_step) if row.ms_per_step else "",
            _number(row.times_real_time),
            _number(row.peak_gb),
            row.note,
        )
        for row in rows
    ]
    return table((*heads, "× real time, each", "peak, GB", "note"), lines)


def _training(rows: Sequence[GpuRow]) -> str:
    heads = ("model", "size", "how", "codes/s", "% of the card's FLOPs", "peak, GB", "note")
    lines = [
        (
            named(row.what),
            row.size,
            f"{row.engine}, {row.dtype}",
            _number(row.tokens_per_s),
            _number(None if row.peak_share is None else 100 * row.peak_share),
            _number(row.peak_gb),
            row.note,
        )
        for row in rows
    ]
    return table(heads, lines)


def _seconds(rows: Sequence[GpuRow]) -> str:
    lines = [
        (named(row.what), row.size, spread_text(row.seconds) if row.seconds else "", row.note)
        for row in rows
    ]
    return table(("part", "size", "seconds", "note"), lines)


def _number(value: float | None) -> str:
    return "" if value is None else short(value)


def last_runs_text(found: dict[str, Any]) -> str:
    """Every test that needs a GPU, with the date, card and outcome of its last run."""
    lines = []
    for name, ran in found.items():
        last = f"{ran['date']}, {ran['card']}: {ran['outcome']}" if ran else "has not run"
        lines.append((name.removeprefix("test_").replace("_", " "), last))
    return table(("test", "last run"), lines)
