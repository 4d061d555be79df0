"""Answers of the capacity model: waits of a crowd, and how many machines it needs."""

from pathlib import Path

from simba_music.errors import RequestError
from simba_music.generation.request import SIDES
from simba_music.training.benchmark.tables import table
from simba_music.training.capacity.figures import CORES, GENERATE, read_measured
from simba_music.training.capacity.queueing import Crowd, Machine, Outcome, percentile, simulate

HOUR_S = 3600.0  # that a crowd is watched for at most
VISITS = 5_000  # after which it was watched for long enough
MOST = 4096  # machines that are looked at
CROWDS, BETWEEN_S, WAIT_S = (10, 30, 100, 300), 60.0, 10.0  # of the table in docs/deploy.md
SEATS = 2  # of a page


def _run(crowd: Crowd, machine: Machine, count: int, seed: int, longest: int | None) -> Outcome:
    enough = max(10 * crowd.between_s, VISITS * crowd.between_s / crowd.users, HOUR_S / 10)
    return simulate(crowd, [machine] * count, min(HOUR_S, enough), seed, longest)


def answer(crowd: Crowd, machine: Machine, count: int, seed: int, longest: int) -> str:
    """What a crowd meets at so many machines, as a table.

    Raises:
        RequestError: See `simulate`.
    """
    found = _run(crowd, machine, count, seed, longest)
    waited, total = (kinds.get(GENERATE, []) for kinds in (found.waited_s, found.total_s))
    lines = [
        ("seconds in line", *(f"{percentile(waited, p):.1f}" for p in (50, 95))),
        ("seconds until both clips are there", *(f"{percentile(total, p):.1f}" for p in (50, 95))),
    ]
    clips = len(SIDES) * found.a_minute(GENERATE)
    return (
        f"{table(('of a visitor', 'median', '95 %'), lines)}\n"
        f"{len(total)} requests done, {found.refused} refused (more than {longest} in line), "
        f"{clips:.0f} clips a minute."
    )


def needed(crowd: Crowd, machine: Machine, wait_s: float, seed: int) -> int:
    """The fewest machines at which 95 % are in line for at most `wait_s`, and nobody is refused.

    Raises:
        RequestError: If thousands are not enough.
    """

    def good(count: int) -> bool:
        waited = _run(crowd, machine, count, seed, None).waited_s.get(GENERATE, [])
        return percentile(waited, 95) <= wait_s

    high = 1
    while not good(high):
        high *= 2
        if high > MOST:
            raise RequestError(f"Not even {MOST} machines are enough. Allow a longer --wait.")
    low = high // 2  # is too few, or none
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if good(middle) else (middle, high)
    return high


def advice(crowd: Crowd, machine: Machine, each: str, wait_s: float, seed: int) -> str:
    """How many machines such a crowd needs, in a sentence.

    Raises:
        RequestError: See `needed`.
    """
    count = needed(crowd, machine, wait_s, seed)
    named = each if count == 1 else f"{each}s"
    return (
        f"For at most {wait_s:g} s in line (95 %): {count} {named}, "
        f"{count * machine.seats} requests at once."
    )


def crowds_text(docs: Path) -> str:
    """Machines that crowds need, and what they meet there, as a table.

    Args:
        docs: folder with performance.json.

    Raises:
        UserError: If that lacks what the model needs.
    """
    visit, lines = read_measured(docs / "performance.json").visit(10.0), list[tuple[str, ...]]()
    machine = Machine(CORES, SEATS)
    for users in CROWDS:
        crowd = Crowd(users, (visit,), BETWEEN_S)
        count = needed(crowd, machine, WAIT_S, 0)
        found = _run(crowd, machine, count, 0, None)
        total = found.total_s[GENERATE]
        waits = (f"{percentile(total, p):.1f}" for p in (50, 95))
        clips = 60 * len(SIDES) * found.a_minute(GENERATE)
        lines.append((str(users), str(count), *waits, f"{clips:,.0f}"))
    heads = ("visitors", "machines", "both clips after, s: median", "95 %", "clips an hour")
    return table(heads, lines)
