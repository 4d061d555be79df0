"""Ending: a process that is asked to end (SIGTERM) puts its things in order within ten seconds."""

import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

logger = logging.getLogger(__name__)

WITHIN_S = 8.0  # of the ten seconds that hosts give
AGAIN_S = 2.0  # after which a block that did not end is asked again
ASKED = 128 + signal.SIGTERM  # what a process ends with that SIGTERM has ended


class Ending:
    """What is done before a process ends, each part at the same time as the others."""

    def __init__(self, within_s: float = WITHIN_S):
        self.within_s = within_s
        self._parts: list[tuple[str, Callable[[], None]]] = []

    def add(self, what: str, work: Callable[[], None]) -> None:
        """One more thing to do at the end; `what` names it in the log."""
        self._parts.append((what, work))

    def run(self) -> bool:
        """Do all of it; False if time ran out. What fails is in the log and holds up nothing."""
        parts, self._parts = self._parts, []
        threads = [
            threading.Thread(target=self._do, args=part, name=part[0], daemon=True)
            for part in parts
        ]
        for thread in threads:
            thread.start()
        until = time.monotonic() + self.within_s
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        late = [thread.name for thread in threads if thread.is_alive()]
        if late:
            logger.error("Not done within %g s: %s", self.within_s, ", ".join(late))
        return not late

    @staticmethod
    def _do(what: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:
            logger.exception("%s failed at the end", what)


@contextmanager
def ended_by_sigterm() -> Iterator[threading.Event]:
    """While this lasts SIGTERM raises `SystemExit`, so that what was begun is ended too.

    It is raised again every `AGAIN_S` until the block has ended or the event that this gives is
    set, since it may be raised where exceptions are ignored: in the callback of a weak reference.
    Only in the main thread; elsewhere signals are somebody else's.
    """
    arrived = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield arrived
        return
    last_s = -math.inf

    def asked(number: int, frame: FrameType | None) -> None:
        nonlocal last_s
        if arrived.is_set() or time.monotonic() < last_s + AGAIN_S:
            return  # once is enough
        last_s = time.monotonic()
        threading.Thread(target=again, daemon=True).start()
        raise SystemExit(ASKED)

    def again() -> None:
        if not arrived.wait(1.1 * AGAIN_S):
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, asked)
    try:
        yield arrived
    finally:
        arrived.set()
        signal.signal(signal.SIGTERM, before)


@contextmanager
def graceful(ending: Ending) -> Iterator[None]:
    """While this lasts SIGTERM ends the block, and however it ends, `ending` is run."""
    here, ended = threading.current_thread() is threading.main_thread(), False
    try:
        with ended_by_sigterm() as arrived:
            try:
                yield
            except SystemExit as end:
                ended = here and end.code == ASKED
                if ended:
                    logger.info("Asked to end: votes are copied, runs are cancelled.")
                raise
            finally:
                arrived.set()
                ending.run()
    finally:
        if ended:
            # Threads of libraries must not be waited for, and torch's abort where they are cut.
            logging.shutdown()
            sys.stdout.flush()
            os._exit(ASKED)
