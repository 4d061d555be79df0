"""Endurance: visitors of a page for some time, and what the page's process held meanwhile."""

import json
import os
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from simba_music.cli.machine.visits import Page, Visit, Visitor
from simba_music.errors import UserError
from simba_music.files import write_json

SAMPLES = 120  # of memory and files in a soak
MOST_ERRORS = 20  # that are kept in words
FLAT_MB_PER_HOUR = 200.0  # growth that is noise beside a process of a gigabyte
WARM_SHARE = 0.25  # of the time, in which memory may still grow
_PERCENTILES = (50, 95, 99)


@dataclass
class Held:
    """What a process holds at a time: seconds since the start, MB, open files, files on disk."""

    at_s: float
    rss_mb: float
    open_files: int
    files: int


@dataclass
class Soak:
    """What is known of a soak while it goes on."""

    folder: Path
    process: int
    visits: list[Visit] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def look(self) -> None:
        """Note what the process holds now.

        Raises:
            UserError: If the process is gone, or the system does not say.
        """
        place = Path(f"/proc/{self.process}")
        try:
            status = (place / "status").read_text()
            opened = len(list((place / "fd").iterdir()))
        except OSError as error:
            raise UserError(
                "The app has ended during the soak, or this system has no /proc. Its own lines "
                "above say why it ended."
            ) from error
        lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        # What is deleted meanwhile is no error of `walk`, as it is of `rglob`.
        files = sum(len(names) for _, _, names in os.walk(self.folder))
        rss_mb = int(lines["VmRSS"].split()[0]) / 1000
        self.held.append(Held(time.monotonic() - self.started, rss_mb, opened, files))


def soak(
    url: str,
    process: int,
    folder: Path,
    minutes: float,
    clients: int,
    say: Callable[[str], None],
    seed: int = 0,
) -> dict[str, Any]:
    """Visit a page that is served, from so many clients at once; the record of it.

    Args:
        url: of the page, on this machine.
        process: id of the process that serves it.
        folder: all that it writes.
        minutes: how long.
        clients: visitors at once.
        say: gets a line now and then.
        seed: of what the visitors do.

    Raises:
        UserError: If the process ends.
    """
    page, found, stop = Page.of(url), Soak(folder, process), threading.Event()
    first = Visitor(page, seed, found.visits.append)
    found.visits.append(first.visit("generate"))  # waits until the models are loaded
    found.started = time.monotonic()
    visitors = [Visitor(page, seed + i, found.visits.append) for i in range(1, clients + 1)]
    threads = [threading.Thread(target=v.run, args=(stop,), daemon=True) for v in visitors]
    for thread in threads:
        thread.start()
    until = found.started + 60 * minutes
    try:
        while (left := until - time.monotonic()) > 0:
            found.look()
            errors = sum(visit.outcome == "error" for visit in found.visits)
            last = found.held[-1]
            say(
                f"{last.at_s:.0f} s: {len(found.visits)} visits, {errors} errors, "
                f"{last.rss_mb:.0f} MB, {last.open_files} open files, {last.files} files"
            )
            time.sleep(min(left, max(1.0, 60 * minutes / SAMPLES)))
    finally:
        stop.set()
    for thread in threads:
        thread.join()
    found.look()
    return record_of(found, minutes, clients, seed)


def growth_per_hour(held: Sequence[Held], value: Callable[[Held], float]) -> float:
    """Growth an hour, from the median of the second quarter to that of the last."""
    rest = held[int(len(held) * WARM_SHARE) :]
    third = max(1, len(rest) // 3)
    early, late = rest[:third], rest[-third:]
    passed = statistics.mean(h.at_s for h in late) - statistics.mean(h.at_s for h in early)
    grown = statistics.median(map(value, late)) - statistics.median(map(value, early))
    return grown / passed * 3600 if passed > 0 else 0.0


def _seconds(visits: Sequence[Visit]) -> dict[str, float]:
    """Percentiles of what visits took, in s."""
    times = sorted(visit.seconds for visit in visits)
    places = {p: min(len(times) - 1, round(p / 100 * (len(times) - 1))) for p in _PERCENTILES}
    return {f"p{p}_s": round(times[place], 2) for p, place in places.items()} if times else {}


def record_of(found: Soak, minutes: float, clients: int, seed: int) -> dict[str, Any]:
    """A soak as it is written: visits by kind, what failed, what was held."""
    kinds = {}
    for kind in sorted({visit.kind for visit in found.visits}):
        own = [visit for visit in found.visits if visit.kind == kind]
        outcomes = Counter(visit.outcome for visit in own)
        counts = {name: outcomes[name] for name in ("done", "refused", "error")}
        kinds[kind] = counts | _seconds([v for v in own if v.outcome == "done"])
    errors = [visit for visit in found.visits if visit.outcome == "error"]
    refusals = Counter(visit.said[:120] for visit in found.visits if visit.outcome == "refused")
    memory = growth_per_hour(found.held, lambda h: h.rss_mb)
    first, last = found.held[0], found.held[-1]
    ends = {
        name: {"first": round(getattr(first, name)), "last": round(getattr(last, name))}
        for name in ("rss_mb", "open_files", "files")
    }
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "minutes": minutes,
        "clients": clients,
        "seed": seed,
        "visits": kinds,
        "errors": len(errors),
        "first_errors": [f"{e.kind}: {e.said[:200]}" for e in errors[:MOST_ERRORS]],
        "refusals": dict(refusals.most_common(MOST_ERRORS)),
        "held": ends,
        "rss_growth_mb_per_hour": round(memory, 1),
        "open_files_growth_per_hour": round(growth_per_hour(found.held, lambda h: h.open_files), 1),
        "series": [[round(h.at_s), round(h.rss_mb), h.open_files, h.files] for h in found.held],
    }


def _last_third(series: Sequence[Sequence[int]]) -> int:
    """MB of memory that the last third of a soak's `series` has added."""
    late = series[2 * len(series) // 3 :]
    return late[-1][1] - late[0][1]


def table(record: dict[str, Any]) -> str:
    """A soak as Markdown: visits by kind with their percentiles, and what the process held."""
    lines = [
        f"{record['minutes']:g} minutes, {record['clients']} clients at once, {record['date']}: "
        f"**{record['errors']} errors**.",
        "",
        "| visit | done | refused | errors | p50 s | p95 s | p99 s |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, row in record["visits"].items():
        times = " | ".join(f"{row[f'p{p}_s']:g}" if f"p{p}_s" in row else "–" for p in _PERCENTILES)
        lines.append(f"| {kind} | {row['done']} | {row['refused']} | {row['error']} | {times} |")
    lines += ["", "| of the process | at the start | at the end |", "|---|---|---|"]
    names = {"rss_mb": "memory, MB", "open_files": "open files", "files": "files on disk"}
    for name, shown in names.items():
        ends = record["held"][name]
        lines.append(f"| {shown} | {ends['first']} | {ends['last']} |")
    lines += [
        "",
        f"After the first quarter memory grew by {record['rss_growth_mb_per_hour']:g} MB an hour, "
        f"open files by {record['open_files_growth_per_hour']:g}; in the last third memory grew by "
        f"{_last_third(record['series']):.0f} MB.",
    ]
    return "\n".join(lines) + "\n"


def keep(record: dict[str, Any], out: Path) -> None:
    """Write a soak's record."""
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, record)


def fill(page: Path, record: dict[str, Any]) -> None:
    """Put a soak's table between the marks of a page of docs.

    Raises:
        UserError: If the page has no such marks.
    """
    text = page.read_text()
    before, mark, rest = text.partition("<!-- soak -->\n")
    _, end, after = rest.partition("<!-- /soak -->")
    if not mark or not end:
        raise UserError(f"{page} has no marks <!-- soak --> and <!-- /soak -->. Add them.")
    page.write_text(f"{before}{mark}{table(record)}{end}{after}")


def read(path: Path) -> dict[str, Any]:
    """A record that `keep` has written."""
    found: dict[str, Any] = json.loads(path.read_text())
    return found
