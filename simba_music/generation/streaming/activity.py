"""Activity: what is being generated now and how it went since the start, for health and metrics."""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from simba_music.errors import UserError

if TYPE_CHECKING:  # a page is laid out before torch is imported
    from simba_music.generation.service import Event


GIVEN_UP = set[threading.Thread]()  # in a step that took too long, see `watch`


def stuck() -> int:
    """Threads that were given up and have not ended yet: 0 where all is well."""
    GIVEN_UP.difference_update([thread for thread in GIVEN_UP if not thread.is_alive()])
    return len(GIVEN_UP)


class Activity:
    """Counts runs by their outcome, and tokens and seconds of clips by the model that made them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last_step = dict[int, float]()
        self.runs = Counter[str]()  # finished, cancelled, failed or refused
        self.clips, self.tokens = Counter[str](), Counter[str]()
        self.seconds = defaultdict[str, float](float)
        self.tokens_per_s = dict[str, float]()  # of the last clip

    @property
    def running(self) -> int:
        """Runs in progress."""
        with self._lock:
            return len(self._last_step)

    @property
    def silent_s(self) -> float:
        """How long the run that was silent longest has not made a step, in s; 0 if none runs."""
        with self._lock:
            return max((time.monotonic() - at for at in self._last_step.values()), default=0.0)

    def watched(self, events: "Iterator[Event]") -> "Iterator[Event]":
        """The same events, each a step of a run."""
        from simba_music.generation.clip import Clip

        run, outcome = id(events), "cancelled"
        self._step(run)
        try:
            for event in events:
                self._step(run)
                if isinstance(event, Clip):
                    self._count(event.name, event.codes.numel(), event.seconds)
                yield event
                self._step(run)  # what a reader took for reading is no silence of the model
            outcome = "finished"
        except Exception:
            outcome = "failed"
            raise
        finally:
            with self._lock:
                self._last_step.pop(run, None)
                self.runs[outcome] += 1

    @contextmanager
    def counting_refusals(self) -> Iterator[None]:
        """Around what checks a request."""
        try:
            yield
        except UserError:
            with self._lock:
                self.runs["refused"] += 1
            raise

    def _step(self, run: int) -> None:
        with self._lock:
            self._last_step[run] = time.monotonic()

    def _count(self, name: str, tokens: int, seconds: float) -> None:
        with self._lock:
            self.clips[name] += 1
            self.tokens[name] += tokens
            self.seconds[name] = self.seconds.get(name, 0.0) + seconds
            self.tokens_per_s[name] = tokens / max(seconds, 1e-9)
