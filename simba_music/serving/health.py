"""Health: models loaded, a step within the last minute, database writable, disk left."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from simba_music.files import LEAST_DISK_GB
from simba_music.files.room import free_bytes
from simba_music.generation.streaming.activity import Activity, stuck

if TYPE_CHECKING:  # a page is laid out before the database is imported
    from simba_music.listening.trials import ListeningTest

SILENT_S = 60.0  # a run that makes no step for so long is stuck
DATABASE_S = 5.0  # in which the database must answer
KEPT_S = 2.0  # an answer is given again for so long, as anyone may ask
_GB = 1e9


@dataclass(frozen=True)
class Parts:
    """What a page is made of, each part once it is there."""

    models: Callable[[], bool]
    test: "Callable[[], ListeningTest | None]"
    data: Path
    activity: Activity | None = None


class Health:
    """Looks at the parts of a page, at most every two seconds."""

    def __init__(self, parts: Parts):
        self.parts = parts
        self._lock, self._at = threading.Lock(), -KEPT_S
        self._found: dict[str, bool] = {}
        # One thread: a database that hangs holds up this one, and no other is begun.
        self._asking = ThreadPoolExecutor(1, "health")
        self._question: Future[None] | None = None

    def checks(self) -> dict[str, bool]:
        """Each check and whether it holds."""
        with self._lock:
            if time.monotonic() - self._at >= KEPT_S:
                self._found = {
                    "models loaded": self.parts.models(),
                    "a step in the last minute": self._steps(),
                    "database writable": self._writable(),
                    "disk left": self._room(),
                }
                self._at = time.monotonic()
            return self._found

    def _steps(self) -> bool:
        """Whether no run is silent, and no thread stands in a step that was given up."""
        activity = self.parts.activity
        return stuck() == 0 and (activity is None or activity.silent_s < SILENT_S)

    def _writable(self) -> bool:
        test = self.parts.test()
        if test is None:
            return False
        if self._question is None or self._question.done():
            self._question = self._asking.submit(test.database.check_writable)
        try:
            self._question.result(timeout=DATABASE_S)
        except Exception:  # whatever it is, no vote could be kept
            return False
        return True

    def _room(self) -> bool:
        try:
            return free_bytes(self.parts.data) > LEAST_DISK_GB * _GB
        except OSError:
            return False
