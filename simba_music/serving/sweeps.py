"""Sweeps: clips beyond their room and pairs nobody voted on are deleted, in the background."""

import logging
import os
import threading
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from simba_music.serving.health import Parts
from simba_music.settings import settings

if TYPE_CHECKING:  # a page is laid out before the database is imported
    from simba_music.listening.trials import ListeningTest

logger = logging.getLogger(__name__)

EVERY_S = 300.0
UNVOTED_DAYS = 7  # a pair for a typed prompt that nobody voted on is kept for so long
_GB = 1e9


def sweep_files(paths: Iterable[Path], most_bytes: float) -> int:
    """Delete the oldest of these files until the rest has room; how many were deleted."""
    found = []
    for path in paths:
        try:
            status = path.stat()
        except OSError:  # deleted by somebody else
            continue
        found.append((status.st_mtime, status.st_size, path))
    total, count = sum(size for _, size, _ in found), 0
    for _, size, path in sorted(found, key=lambda one: one[0]):
        if total <= most_bytes:
            break
        path.unlink(missing_ok=True)
        total, count = total - size, count + 1
    return count


def sweep_pairs(test: "ListeningTest") -> int:
    """Delete pairs for typed prompts that are old and were never voted on; how many there were.

    Their clips go with them, unless another pair has the same.
    """
    from simba_music.listening.tables import now
    from simba_music.listening.typed_pairs import delete_unvoted

    gone = delete_unvoted(test.database, now() - timedelta(days=UNVOTED_DAYS))
    for digest in gone.clips:
        test.clips.delete(digest)
    return gone.pairs


class Sweeper:
    """Sweeps every few minutes, in a thread of its own, until it is stopped."""

    def __init__(self, parts: Parts, made: Callable[[], Iterable[str | os.PathLike[str]]]):
        """`made` says which files the page has made for its visitors."""
        self.parts, self.made = parts, made
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, between two sweeps."""
        self._stopped.set()

    def sweep(self) -> None:
        """Sweep once."""
        sweep_files(map(Path, self.made()), settings().kept_gb * _GB)
        test = self.parts.test()
        if test is not None:
            sweep_pairs(test)

    def _run(self) -> None:
        while not self._stopped.wait(EVERY_S):
            try:
                self.sweep()
            except Exception:  # a sweep that fails is tried again
                logger.exception("a sweep failed")
