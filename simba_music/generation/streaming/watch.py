"""Watch: steps of a generation that take too long are ended and said, and memory is let go."""

import contextvars
import ctypes
import gc
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import torch

from simba_music.errors import RequestError
from simba_music.errors.causes import NO_MEMORY, is_memory
from simba_music.errors.incidents import record
from simba_music.generation.streaming.activity import GIVEN_UP
from simba_music.settings import settings

Item = TypeVar("Item")
logger = logging.getLogger(__name__)


class StuckError(RequestError):
    """A step stood still longer than it may."""


class _KilledError(BaseException):
    """Raised inside a thread that is given up."""


class _Worker(Generic[Item]):
    """An iterator in a thread of its own, which makes an item when it is asked for one."""

    def __init__(self, begin: Callable[[], Iterator[Item]]):
        self.begin = begin
        self.asked: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.items: queue.SimpleQueue[tuple[str, Item | BaseException | None]] = queue.SimpleQueue()
        context = contextvars.copy_context()
        self.thread = threading.Thread(
            target=context.run, args=(self._run,), name="watched", daemon=True
        )
        self.thread.start()

    def _run(self) -> None:
        torch.get_num_threads()  # see `threads`: a thread uses every core until it has asked
        try:
            self._serve(self.begin())
        except BaseException as error:
            self.items.put(("error", error))

    def _serve(self, items: Iterator[Item]) -> None:
        try:
            while self.asked.get():
                try:
                    item = next(items)
                except StopIteration:
                    break
                self.items.put(("item", item))
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()
        self.items.put(("end", None))

    def kill(self) -> None:
        """Raise in the thread, as soon as it is back from what it calls; it is not waited for."""
        GIVEN_UP.add(self.thread)
        if self.thread.ident is not None:
            killed = ctypes.py_object(_KilledError)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self.thread.ident), killed)

    def end(self, limit_s: float) -> None:
        """Close the iterator; a thread that does not end is given up."""
        self.asked.put(False)
        self.thread.join(limit_s)
        if self.thread.is_alive():
            self.kill()


def _longest_s() -> float:
    """Longest step by the settings; where a GPU is another process's, its host ends the call."""
    found = settings()
    return 0.0 if found.zero_gpu else found.step_timeout_s


def watched(
    begin: Callable[[], Iterator[Item]], limit_s: float | None = None, what: str = "The generation"
) -> Iterator[Item]:
    """What an iterator yields; a step that takes longer than `limit_s` seconds is given up.

    The iterator runs in a thread of its own, an item at a time, as it is read. Whoever reads is
    free at once when a step is given up; its thread ends as soon as it is back from what it calls.

    Args:
        begin: makes the iterator.
        limit_s: longest step in s; 0 is no limit, None what `SIMBA_MUSIC_STEP_TIMEOUT_S` says.
        what: the work, for the message.

    Raises:
        StuckError: If a step took too long; the log has an incident.
        RequestError: If memory has run out; likewise.
    """
    limit_s = _longest_s() if limit_s is None else limit_s
    if not limit_s:
        yield from freeing(begin)
        return
    worker, whole = _Worker(lambda: freeing(begin)), False
    try:
        while True:
            worker.asked.put(True)
            try:
                kind, found = worker.items.get(timeout=limit_s)
            except queue.Empty:
                worker.kill()
                whole = True
                error = StuckError(f"A step of {what} stood still for {limit_s:g} s")
                raise StuckError(
                    f"{what} stood still for {limit_s:g} s and was ended (incident "
                    f"{record(error)}). Try again; a longer SIMBA_MUSIC_STEP_TIMEOUT_S helps on a "
                    "slow machine."
                ) from None
            if kind == "item":
                yield found  # type: ignore[misc]
                continue
            whole = True
            if isinstance(found, BaseException):
                raise found
            return
    finally:
        if not whole:
            worker.end(limit_s)


def freeing(begin: Callable[[], Iterator[Item]]) -> Iterator[Item]:
    """What an iterator yields; where memory runs out what it held is let go, and that is said.

    Raises:
        RequestError: If memory has run out; the log has an incident.
    """
    try:
        yield from begin()
    except Exception as error:
        if not is_memory(error):
            raise
        incident = record(error)
        # The traceback holds the tensors of every frame.
        error.__traceback__ = error.__context__ = error.__cause__ = None
    else:
        return
    free()
    raise RequestError(f"{NO_MEMORY} (Incident {incident}; the log says more.)")


def free() -> None:
    """Give back memory that nothing refers to, of the accelerator too."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
