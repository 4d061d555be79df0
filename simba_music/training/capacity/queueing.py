"""Queue of a page as a simulation: visitors, seats, and tasks that share a machine's cores."""

import heapq
import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from simba_music.errors import RequestError

_DONE = 1e-9  # s of work that are rounding
REFUSED_S = 1.0  # after which a visitor who was refused tries again, at the soonest
WARM_SHARE = 0.1  # of the time, whose visits are not counted: all came at once


@dataclass(frozen=True)
class Visit:
    """A kind of visit: its share of all, its tasks in s of one core each, and how long it rests.

    One without tasks waits for nobody, it takes `rest_s`.
    """

    name: str
    tasks: tuple[float, ...]
    share: float = 1.0
    rest_s: float = 0.0


@dataclass(frozen=True)
class Machine:
    """Tasks that run at full speed at a time, beyond which they share; requests seated at a time.

    Tasks of a request run side by side, none faster than one core.
    """

    cores: float
    seats: int


@dataclass(frozen=True)
class Crowd:
    """So many visitors, who each come again after `between_s` seconds on average, or come once.

    Pauses are exponential. With `together` all come at the same moment, once.
    """

    users: int
    visits: tuple[Visit, ...]
    between_s: float = 0.0
    together: bool = False


@dataclass
class _Job:
    """A visit that waits or is seated; `left` is what its tasks have left, in s."""

    visit: Visit
    came: float
    left: list[float]
    seated: float = math.nan


@dataclass
class Outcome:
    """What became of visits: seconds in line and until done by kind, and how many were refused."""

    seconds: float = 0.0
    waited_s: dict[str, list[float]] = field(default_factory=dict)
    total_s: dict[str, list[float]] = field(default_factory=dict)
    refused: int = 0

    def note(self, job: _Job, now: float) -> None:
        """A visit has ended."""
        self.waited_s.setdefault(job.visit.name, []).append(job.seated - job.came)
        self.total_s.setdefault(job.visit.name, []).append(now - job.came)

    def a_minute(self, kind: str) -> float:
        """Visits of a kind that are done a minute."""
        return 60 * len(self.total_s.get(kind, ())) / self.seconds if self.seconds else 0.0


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many percent do not exceed; 0 of nothing."""
    ordered = sorted(values)
    return ordered[round(percent / 100 * (len(ordered) - 1))] if ordered else 0.0


class _Page:
    """Machines behind one queue, and the time."""

    def __init__(self, machines: Sequence[Machine], longest: int | None):
        self.machines, self.longest = machines, longest
        self.seated: list[list[_Job]] = [[] for _ in machines]
        self.line = deque[_Job]()
        self.now = 0.0

    def _rate(self, place: int) -> float:
        """Share of a core that each task of a machine has (processor sharing)."""
        tasks = sum(len(job.left) for job in self.seated[place])
        return min(1.0, self.machines[place].cores / tasks) if tasks else 1.0

    def next_end(self) -> float:
        """When the next task ends, if nobody comes before."""
        found = (
            self.now + min(job.left) / self._rate(place)
            for place, jobs in enumerate(self.seated)
            for job in jobs
        )
        return min(found, default=math.inf)

    def move(self, to: float) -> list[_Job]:
        """Compute until a time before which nothing ends; jobs that are done then."""
        done = list[_Job]()
        for place, jobs in enumerate(self.seated):
            passed = (to - self.now) * self._rate(place)
            for job in jobs:
                job.left = [rest for task in job.left if (rest := task - passed) > _DONE]
            done += [job for job in jobs if not job.left]
            self.seated[place] = [job for job in jobs if job.left]
        self.now = to
        return done

    def take(self, job: _Job) -> bool:
        """Put a job in the line; False where the line is full."""
        if not self._free() and self.longest is not None and len(self.line) >= self.longest:
            return False
        self.line.append(job)
        return True

    def _free(self) -> list[int]:
        held = [len(jobs) for jobs in self.seated]
        return [i for i, count in enumerate(held) if count < self.machines[i].seats]

    def seat(self) -> None:
        """Seat who waits, in the order of coming, where the fewest are."""
        while self.line and (free := self._free()):
            job = self.line.popleft()
            job.seated = self.now
            self.seated[min(free, key=lambda place: len(self.seated[place]))].append(job)


def simulate(
    crowd: Crowd,
    machines: Sequence[Machine],
    seconds: float,
    seed: int = 0,
    longest: int | None = None,
) -> Outcome:
    """Let a crowd come for some time.

    Args:
        crowd: who comes.
        machines: what generates, each request on one of them.
        seconds: how long, of which a tenth passes before visits are counted; a crowd that comes
            together is waited for.
        seed: of pauses and of the kinds of visits.
        longest: places in the line, beyond which a visit is refused; None: no limit.

    Raises:
        RequestError: If there is no machine, no visitor, or a task that takes no time.
    """
    if not machines or crowd.users < 1 or any(t <= 0 for v in crowd.visits for t in v.tasks):
        raise RequestError("A simulation needs a machine, a visitor, and tasks that take time.")
    rng, page, found = random.Random(seed), _Page(machines, longest), Outcome()
    shares = [visit.share for visit in crowd.visits]
    until = math.inf if crowd.together else seconds
    counted = 0.0 if crowd.together else WARM_SHARE * seconds
    spread = 0.0 if crowd.together else crowd.between_s
    coming = [rng.random() * spread for _ in range(crowd.users)]
    heapq.heapify(coming)

    def again(least_s: float = 0.0) -> None:
        if not crowd.together:
            pause = rng.expovariate(1 / crowd.between_s) if crowd.between_s else 0.0
            heapq.heappush(coming, page.now + max(pause, least_s))

    while (at := min(page.next_end(), coming[0] if coming else math.inf)) < until:
        for job in page.move(at):
            if at >= counted:
                found.note(job, at)
            again()
        while coming and coming[0] <= at:
            heapq.heappop(coming)
            (visit,) = rng.choices(crowd.visits, shares)
            if not visit.tasks:
                heapq.heappush(coming, at + max(visit.rest_s, _DONE))
            elif not page.take(_Job(visit, at, list(visit.tasks))):
                found.refused += at >= counted
                again(REFUSED_S)
            page.seat()
        page.seat()
    found.seconds = (page.now if crowd.together else until) - counted
    return found
