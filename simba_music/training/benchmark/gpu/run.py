"""Run of a GPU's benchmark: rows by importance, each within the time that is left."""

import datetime
import gc
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from simba_music.training.benchmark.gpu.decoding import Engines, decoding, parity
from simba_music.training.benchmark.gpu.models import BUNDLED, FULL, RANDOM, TINY, Models
from simba_music.training.benchmark.gpu.parts import (
    codec_seconds,
    first_audio,
    mamba_ssm_generation,
    scorer_seconds,
)
from simba_music.training.benchmark.gpu.rows import GpuBook, GpuResults, GpuRow
from simba_music.training.benchmark.gpu.training import training
from simba_music.training.benchmark.machine import LIBRARIES, installed, quiet
from simba_music.training.benchmark.systems import OURS
from simba_music.training.record import git_commit, machine


@dataclass(frozen=True)
class Job:
    """Some rows, and the seconds that must be left to begin with them."""

    what: str
    rows: Callable[[], Iterator[GpuRow]]
    needs_s: float = 10.0


def jobs(models: Models) -> Iterator[Job]:
    """All that is measured, what matters most first."""
    engines, half, many = Engines(models), "bfloat16", models.scale.many

    def speed(
        name: str, dtype: str, size: str, prompts: int = 1, needs_s: float = 10
    ) -> Iterator[Job]:
        for system in OURS:
            rows = partial(decoding, engines, name, dtype, size, system, prompts)
            yield Job(f"{system}, {size}, {name}, {dtype}, {prompts} prompts", rows, needs_s)

    def check(dtype: str, size: str) -> Iterator[Job]:
        for system in OURS:
            rows = partial(parity, engines, dtype, size, system)
            yield Job(f"parity of {system}, {size}, {dtype}", rows)

    yield from check(half, RANDOM)
    yield from speed("graph", half, RANDOM)
    yield from check("float32", BUNDLED)
    yield from check(half, BUNDLED)
    yield from speed("graph", half, BUNDLED)
    yield from speed("reference", "float32", RANDOM, needs_s=15)
    yield from speed("launched", half, RANDOM, needs_s=15)
    yield from speed("graph", half, RANDOM, many, needs_s=20)
    yield from speed("reference", "float32", BUNDLED, needs_s=15)
    yield from speed("graph", half, BUNDLED, many, needs_s=15)
    for system in OURS:
        yield Job(f"first audio, {system}", partial(first_audio, engines, half, BUNDLED, system))
    for system in OURS:
        yield Job(f"training, {system}", partial(training, models, system), 25)
    yield Job("codec", partial(codec_seconds, models))
    yield Job("scorer", partial(scorer_seconds, models))
    yield from speed("graph", "float32", BUNDLED)
    yield from check("float32", RANDOM)
    yield from speed("graph", "float32", RANDOM)
    yield Job("mamba-ssm's own generation", partial(mamba_ssm_generation, models), 20)
    yield from speed("reference", "float32", RANDOM, many, needs_s=20)
    for system in OURS:
        yield Job(f"training, {system}, compiled", partial(training, models, system, True), 120)


def run_gpu_benchmark(
    path: Path, minutes: float, say: Callable[[str], None], tiny: bool = False
) -> GpuResults:
    """Measure what there is time for, and keep every row at once in the file at `path`.

    Args:
        path: JSON file, which begins anew.
        minutes: that the run may take.
        say: called with a line whenever something is done.
        tiny: a dry run with small models, as on every machine without a GPU.
    """
    quiet()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    scale = TINY if tiny or device == "cpu" else FULL
    models = Models(device, scale)
    begun = GpuResults(
        schema=1,
        card=machine(device) + (", dry run" if scale is TINY else ""),
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        commit=git_commit(),
        libraries={"python": platform.python_version()} | installed((*LIBRARIES, "triton")),
        minutes_allowed=minutes,
    )
    book = GpuBook(path, begun, say)
    for job in jobs(models):
        run_job(job, book)
    return book.close()


def run_job(job: Job, book: GpuBook) -> None:
    """The rows of a job, or why there are none."""
    if book.left_s < job.needs_s * min(1.0, book.allowed_s / 60):
        book.miss(job.what, "The time was used up.")
        return
    try:
        for row in job.rows():
            book.put(row)
            if book.left_s < 0:
                break
    except Exception as error:  # whatever fails, the rows after it are still worth their time
        book.miss(job.what, f"{type(error).__name__}: {str(error)[:300]}")
    gc.collect()
