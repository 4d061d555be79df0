"""Metrics: requests, queue, runs, seconds, tokens, refusals and votes, as Prometheus reads them."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from simba_music.generation.streaming.activity import Activity
from simba_music.serving.fair_queue import FairQueue

if TYPE_CHECKING:  # a page is laid out before the database is imported
    from simba_music.serving.health import Parts

METHODS = ("GET", "HEAD", "POST", "OPTIONS")  # others are counted together, as any can be sent
BOUNDS_S = (0.01, 0.03, 0.1, 0.3, 1, 2, 5, 10, 30, 60, 120)


class Requests:
    """Counts requests by method and status, and their seconds, those of streams included."""

    def __init__(self, registry: CollectorRegistry):
        about = "simba_music_requests", "Requests answered."
        self._count = Counter(*about, ["method", "status"], registry=registry)
        about = "simba_music_request_seconds", "Seconds until a request was answered to its end."
        self._seconds = Histogram(*about, ["method"], registry=registry, buckets=BOUNDS_S)

    def note(self, method: str, status: int, seconds: float) -> None:
        """Count one that was answered."""
        method = method if method in METHODS else "other"
        self._count.labels(method, str(status)).inc()
        self._seconds.labels(method).observe(seconds)


def _family(
    kind: type[CounterMetricFamily] | type[GaugeMetricFamily],
    name: str,
    about: str,
    label: str,
    rows: Mapping[str, float],
) -> Metric:
    found = kind(f"simba_music_{name}", about, labels=[label])
    for value, number in dict(rows).items():
        found.add_metric([value], number)
    return found


class _OfThePage(Collector):
    """What the parts of the page know of themselves at the moment."""

    def __init__(self, queue: FairQueue, activity: Activity | None, parts: "Parts"):
        self.queue, self.activity, self.parts = queue, activity, parts

    def collect(self) -> Iterable[Metric]:
        """Every family of numbers."""
        jobs = {"waiting": len(self.queue.waiting()), "running": len(self.queue.running())}
        yield _family(GaugeMetricFamily, "jobs", "Jobs in the queue.", "state", jobs)
        refused = self.queue.refused
        about = "Jobs that were not taken, or dropped as nobody read them."
        yield _family(CounterMetricFamily, "jobs_refused", about, "reason", refused)
        test = self.parts.test()
        if test is not None:
            about = "Votes by what became of them."
            yield _family(CounterMetricFamily, "votes", about, "status", test.counts)
        if self.activity is None:
            return
        made = self.activity
        yield _family(CounterMetricFamily, "runs", "Runs by outcome.", "outcome", made.runs)
        yield _family(CounterMetricFamily, "clips", "Clips made.", "model", made.clips)
        yield _family(CounterMetricFamily, "tokens", "Tokens made.", "model", made.tokens)
        about = "Seconds that clips took."
        yield _family(CounterMetricFamily, "clip_seconds", about, "model", made.seconds)
        about = "Tokens a second of the last clip."
        yield _family(GaugeMetricFamily, "tokens_per_second", about, "model", made.tokens_per_s)


class Metrics:
    """All numbers of one page's server."""

    def __init__(self, queue: FairQueue, activity: Activity | None, parts: "Parts"):
        self.registry = CollectorRegistry()
        self.requests = Requests(self.registry)
        self.registry.register(_OfThePage(queue, activity, parts))
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def text(self) -> bytes:
        """What `/metrics` answers with."""
        return generate_latest(self.registry)
