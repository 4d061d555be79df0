"""Stops: which sessions have asked their run to end."""

import functools
import hashlib
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

MOST_MARKS = 1000


def _made(mark: Path) -> float:
    """When a mark was made; 0 if another thread has taken it away."""
    try:
        return mark.stat().st_mtime
    except OSError:
        return 0.0


class Stops:
    """Sessions whose user pressed Stop; each stops only its own run.

    A mark is a file, because on ZeroGPU the run is in another process.
    """

    def __init__(self, folder: Path | None = None):
        """Marks are kept in a folder, which processes may share; None: one of this process."""
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="simba-music-stops-"))
        self._folder = folder
        self._everyone = folder / f"everyone-{uuid.uuid4().hex}"  # of this process' runs

    def _mark(self, session: str) -> Path:
        # The browser chooses its session's name, so it is no file name.
        return self._folder / hashlib.sha256(session.encode("utf-8", "replace")).hexdigest()

    def request(self, session: str) -> None:
        """Ask the session's run to end."""
        self._sweep()
        self._mark(session).touch()

    def request_all(self) -> None:
        """Ask every run to end: the process does. Runs that begin later end too."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._everyone.touch()

    def _sweep(self) -> None:
        """Keep few marks: anyone can leave one under any name, and a run takes its own away."""
        self._folder.mkdir(parents=True, exist_ok=True)
        marks = list(self._folder.iterdir())
        if len(marks) >= MOST_MARKS:
            for mark in sorted(marks, key=_made)[: MOST_MARKS // 2]:
                mark.unlink(missing_ok=True)

    def clear(self, session: str) -> None:
        """A new run begins, or one has ended."""
        self._mark(session).unlink(missing_ok=True)

    def wanted(self, session: str) -> bool:
        """Whether the session's run should end."""
        return self._mark(session).exists() or self._everyone.exists()

    def asked_by(self, session: str) -> Callable[[], bool]:
        """Whether this session's run should end, as something that can be pickled."""
        return functools.partial(self.wanted, session)
