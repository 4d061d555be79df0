"""Check of the capacity model: what it says of one machine beside what was measured there."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from simba_music.generation.request import SIDES
from simba_music.training.benchmark.report import of_kind
from simba_music.training.benchmark.rows import LatencyRow, TogetherRow, read_results
from simba_music.training.benchmark.tables import short, table
from simba_music.training.capacity.figures import CORES, GENERATE, Measured, read_measured
from simba_music.training.capacity.queueing import Crowd, Machine, Visit, percentile, simulate
from simba_music.training.capacity.report import SEATS

WITHIN = 0.25  # of what was measured, for the rows that are held to it
# A visitor of the soak who leaves has read 1 to 4 events, 0.3 s apart: so much is decoded.
LEFT_S, CHECKED_S, VOTED_S = 0.45, 0.001, 10.0


@dataclass(frozen=True)
class Compared:
    """A figure of one machine as it was measured and as the model has it, and if it is held."""

    what: str
    unit: str
    measured: float
    predicted: float
    held: bool = True

    @property
    def off(self) -> float:
        """Share of what was measured by which the model is off; above 0 if it has more."""
        return self.predicted / self.measured - 1


def compared(docs: Path) -> list[Compared]:
    """The load tests of bench and the soak, each with what the model says.

    Args:
        docs: folder with performance.json, performance-together.json and reliability.md.

    Raises:
        CheckpointError: If a file is missing.
        RequestError: If it lacks what the model needs.
    """
    measured = read_measured(docs / "performance.json")
    rows = of_kind(read_results(docs / "performance.json"), LatencyRow)
    found = [_latency(measured, row) for row in rows if row.start == "warm" and not row.neighbour]
    together = of_kind(read_results(docs / "performance-together.json"), TogetherRow)
    found += [_together(measured, row) for row in together]
    return [*found, *_soak(measured, (docs / "reliability.md").read_text())]


def _latency(measured: Measured, row: LatencyRow) -> Compared:
    crowd = Crowd(row.users, (measured.visit(row.duration_s),), together=True)
    found = simulate(crowd, [Machine(row.cores, row.users)], 0)
    who = "one client" if row.users == 1 else f"{row.users} clients at once"
    what = f"{who}, {row.cores} core{'s' * (row.cores > 1)}, {row.duration_s:g} s: both clips"
    return Compared(what, "s", row.total_s.median, percentile(found.total_s[GENERATE], 50))


def _together(measured: Measured, row: TogetherRow) -> Compared:
    crowd = Crowd(row.users, (measured.visit(row.duration_s),), together=True)
    found = simulate(crowd, [Machine(row.cores, row.slots)], 0)
    what = f"{row.users} clients in {row.slots} slots, {row.cores} cores, {row.duration_s:g} s"
    predicted = len(SIDES) * found.a_minute(GENERATE)
    return Compared(what, "clips a minute", row.together.median, predicted)


def _soak(measured: Measured, page: str) -> Iterator[Compared]:
    """Medians of the soak's table; nothing where there is none."""
    said = re.search(r"^([\d.]+) minutes, (\d+) clients at once", page, re.MULTILINE)
    rows = dict(re.findall(r"^\| (generate|cancel) \|(?: [\d.]+ \|){3} ([\d.]+) \|", page, re.M))
    if said is None:
        return
    minutes, clients = float(said[1]), int(said[2])
    visits = (
        measured.visit(2.0, 0.5),
        Visit("cancel", (LEFT_S, LEFT_S), 0.15),
        Visit("vote", (), 0.15, VOTED_S),
        Visit("reload", (), 0.1),
        Visit("wrong", (CHECKED_S,), 0.1),
    )
    found = simulate(Crowd(clients, visits), [Machine(CORES, SEATS)], 60 * minutes)
    for kind, median in rows.items():
        what = f"soak, {clients} visitors: {kind}"
        predicted = percentile(found.total_s[kind], 50)
        yield Compared(what, "s", float(median), predicted, held=False)


def check_text(docs: Path) -> str:
    """The comparison as a table.

    Raises:
        UserError: See `compared`.
    """
    lines = [
        (
            one.what,
            one.unit,
            short(one.measured),
            short(one.predicted),
            f"{100 * one.off:+.0f} %" + ("" if one.held else " (not held)"),
        )
        for one in compared(docs)
    ]
    return table(("one machine", "unit", "measured", "predicted", "off by"), lines)
