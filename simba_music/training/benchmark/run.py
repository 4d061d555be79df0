"""Run: every group of a benchmark in one process, into one file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from simba_music.training.benchmark.decoding import measure_decoding
from simba_music.training.benchmark.latency import (
    Case,
    Checkpoints,
    Clients,
    measure_latency,
    measure_together,
)
from simba_music.training.benchmark.lengths import Lengths, measure_lengths
from simba_music.training.benchmark.machine import quiet, this_machine
from simba_music.training.benchmark.parts import measure_parts
from simba_music.training.benchmark.rows import Book, Results
from simba_music.training.benchmark.systems import Size
from simba_music.training.record import git_commit

GROUPS = ("decoding", "latency", "together", "length", "parts")


@dataclass(frozen=True)
class Plan:
    """How much is measured; the fields are those of the groups' functions."""

    name: str
    sizes: tuple[Size, ...]
    positions: tuple[int, ...]
    cases: tuple[Case, ...]
    cold_s: float
    lengths: Lengths
    clients: Clients
    parts_s: float = 10.0
    parts_repeats: int = 5
    checkpoints: Checkpoints = field(default_factory=Checkpoints)


FULL = Plan(
    "full",
    sizes=(
        Size(steps=150, repeats=7),
        Size(512, 12, 128, steps=50, repeats=5),
        Size(1024, 24, 128, steps=20, repeats=3),
    ),
    positions=(1, 100, 250, 500, 750),
    cases=(
        Case(1, 10.0, 5, all_cores=False),
        Case(1, 10.0, 5),
        Case(1, 10.0, 5, neighbour=True),
        Case(8, 10.0, 1),
    ),
    cold_s=10.0,
    lengths=Lengths(),
    clients=Clients(8, 10.0, 3),
)
QUICK = Plan(
    "quick",
    sizes=(Size(steps=40, repeats=3),),
    positions=(1, 250, 750),
    cases=(Case(1, 10.0, 1), Case(8, 2.0, 1)),
    cold_s=2.0,
    lengths=Lengths((1.0, 10.0, 30.0), decode_to_s=0.0, steps=10, repeats=3),
    clients=Clients(8, 2.0, 1),
    parts_repeats=2,
)


def run_benchmark(
    plan: Plan, path: Path, say: Callable[[str], None], only: Sequence[str] = GROUPS
) -> Results:
    """Measure and keep every row at once in the file at `path`, which begins anew.

    Args:
        plan: how much is measured.
        path: JSON file.
        say: called with a line whenever something is done.
        only: groups of `GROUPS` that are measured.
    """
    quiet()
    machine = this_machine()
    pipeline = plan.checkpoints.load()
    models = dict(zip(("simba", "transformer"), pipeline.models.values(), strict=True))
    begun = Results(
        schema=1, plan=plan.name, machine=machine, commit=git_commit(), weights=pipeline.weights()
    )
    book = Book(path, begun, say)
    if "decoding" in only:
        measure_decoding(models, plan.sizes, plan.positions, book)
    if "length" in only:
        sources = {"simba": plan.checkpoints.simba, "transformer": plan.checkpoints.transformer}
        measure_lengths(models, sources, plan.lengths, book)
    if "parts" in only:
        measure_parts(pipeline, plan.parts_s, plan.parts_repeats, book)
    if "latency" in only:
        measure_latency(pipeline, plan.checkpoints, plan.cases, plan.cold_s, book)
    if "together" in only:
        measure_together(pipeline, plan.clients, book)
    return book.close()
