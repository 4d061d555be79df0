"""Pump: what a blocking iterator yields, from a thread, as an asynchronous iterator of groups."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Generic, TypeVar

GROUP_S = 0.2  # a message costs both ends about a millisecond, and a page shows no more a second
BEAT_S = 1.0  # an empty group says that the replica lives

Item = TypeVar("Item")


class _End:
    """The iterator has ended; `error` is what it raised, None if nothing."""

    def __init__(self, error: BaseException | None):
        self.error = error


class _Pump(Generic[Item]):
    """An iterator in a thread, which is closed at its next item once `left` is set."""

    def __init__(self, begin: Callable[[], Iterator[Item]], left: threading.Event):
        self.begin, self.left = begin, left
        self.loop = asyncio.get_running_loop()
        self.arrived = asyncio.Queue[Item | _End]()
        threading.Thread(target=self._run, name="run", daemon=True).start()

    def _put(self, item: Item | _End) -> None:
        try:
            self.loop.call_soon_threadsafe(self.arrived.put_nowait, item)
        except RuntimeError:  # the loop has ended, and whoever read with it
            self.left.set()

    def _run(self) -> None:
        error: BaseException | None = None
        items = self.begin()
        try:
            for item in items:
                if self.left.is_set():
                    break
                self._put(item)
        except BaseException as raised:
            error = raised
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()
            self._put(_End(error))

    async def group(self, not_before: float) -> list[Item | _End]:
        """What has arrived at that time of the clock, or as soon as something has; [] is a beat."""
        try:
            found = [await asyncio.wait_for(self.arrived.get(), BEAT_S)]
        except TimeoutError:
            return []
        await asyncio.sleep(max(0.0, not_before - time.monotonic()))
        while not self.arrived.empty():
            found.append(self.arrived.get_nowait())
        return found


async def pumped(
    begin: Callable[[], Iterator[Item]], left: threading.Event
) -> AsyncIterator[list[Item]]:
    """What an iterator yields, in groups, and an empty one at once and wherever nothing comes.

    Args:
        begin: makes the iterator, which runs in a thread of its own and may block.
        left: ends it at its next item; whoever stops reading sets it.

    Raises:
        BaseException: What the iterator raises, after all that it yielded.
    """
    pump, sent = _Pump(begin, left), 0.0
    yield []
    while True:
        group = await pump.group(sent + GROUP_S)
        items = [item for item in group if not isinstance(item, _End)]
        ends = [item for item in group if isinstance(item, _End)]
        sent = time.monotonic()
        if items or not group:
            yield items
        if ends:
            if ends[0].error is not None:
                raise ends[0].error
            return
