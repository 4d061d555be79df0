"""Threads: several iterators at once, a thread each, their events in one iterator."""

import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import torch

_QUOTA = Path("/sys/fs/cgroup/cpu.max")

Item = TypeVar("Item")


def cores() -> set[int]:
    """Cores that the scheduler gives this process."""
    try:
        return os.sched_getaffinity(0)
    except AttributeError:  # macOS and Windows do not say
        return set(range(os.cpu_count() or 1))


def usable_cores(quota: Path = _QUOTA) -> int:
    """Cores that this process may use: what the scheduler gives it, within a container's quota."""
    found = len(cores())
    try:
        time_us, _, period_us = quota.read_text().partition(" ")
        return max(1, min(found, int(time_us) // int(period_us)))
    except (OSError, ValueError):  # no such file, or "max": no quota
        return found


class _End:
    """An iterator has ended; `error` is what it raised, None if nothing."""

    def __init__(self, error: BaseException | None):
        self.error = error


class _Run(Generic[Item]):
    """Iterators in threads, which put their items into one queue until they are cancelled."""

    def __init__(self, begin: Sequence[Callable[[], Iterator[Item]]]):
        self.items: queue.SimpleQueue[Item | _End] = queue.SimpleQueue()
        self.cancelled = threading.Event()
        self.threads = [
            threading.Thread(target=self._run, args=(each,), name=f"side-{i}", daemon=True)
            for i, each in enumerate(begin)
        ]

    def _run(self, begin: Callable[[], Iterator[Item]]) -> None:
        # torch says how many threads a thread may use when it is first asked there; until then
        # matrix products take every core.
        torch.get_num_threads()
        error: BaseException | None = None
        try:
            for item in begin():
                # What is left of the iterator is closed when it is dropped, on leaving.
                if self.cancelled.is_set():
                    return
                self.items.put(item)
        except BaseException as raised:
            error = raised
        finally:
            self.items.put(_End(error))

    def end(self) -> None:
        """Cancel what still runs; it goes on to its next item, no further."""
        self.cancelled.set()
        for thread in self.threads:
            if thread.ident is not None:
                thread.join()


def interleaved(begin: Sequence[Callable[[], Iterator[Item]]]) -> Iterator[Item]:
    """What several iterators yield, as it comes; each runs in a thread of its own.

    The items of one keep their order. The threads do not wait for whoever reads. Closing cancels
    all of them at their next item; no thread is left then, nor after an error.

    Raises:
        BaseException: What the first of them raises that fails; the others are cancelled.
    """
    run = _Run(begin)
    left = len(run.threads)
    try:
        for thread in run.threads:
            thread.start()
        while left:
            item = run.items.get()
            if not isinstance(item, _End):
                yield item
                continue
            if item.error is not None:
                raise item.error
            left -= 1
    finally:
        run.end()
