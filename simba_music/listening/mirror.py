"""Vote mirror: an append-only copy of votes in a dataset on the Hub, read back at start."""

import json
import logging
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from huggingface_hub import CommitScheduler, HfApi, snapshot_download

from simba_music.listening.database import Database
from simba_music.listening.tables import Trial, Undo, Vote, as_dict
from simba_music.settings import settings

logger = logging.getLogger(__name__)

FOLDER = "votes"  # in the dataset; a file a process
PUSH_MINUTES = 5.0
RETRY_S = 60.0


def open_mirror(database: Database, data: Path) -> "VoteMirror | None":
    """The mirror that `SIMBA_MUSIC_VOTES` names, a dataset as org/name; None where it does not.

    A new dataset is private unless `SIMBA_MUSIC_VOTES_PUBLIC` is 1.
    """
    found = settings()
    if found.votes is None:
        return None
    return VoteMirror(database, found.votes, data / "mirror", private=not found.votes_public)


def as_written_now(line: dict[str, Any]) -> dict[str, Any]:
    """A line of any age in today's form; `study` once held a gallery's name as well."""
    battle = line.get("battle")
    if battle is None or "gallery" in battle:
        return line
    own = {"study": battle["study"], "gallery": None}
    if battle["origin"] == "gallery":
        own = {"study": None, "gallery": battle["study"]}
    return line | {"battle": battle | own}


class _Pusher(CommitScheduler):
    """A scheduler that remembers how its last push went."""

    def __init__(self, mirror: "VoteMirror", **settings: Any):
        self.mirror = mirror
        super().__init__(**settings)

    def push_to_hub(self) -> Any:
        """Push what is new; the outcome stands in the mirror's status."""
        waiting = self.mirror.waiting
        try:
            done = super().push_to_hub()
        except Exception as error:
            self.mirror.failed(error)
            raise
        self.mirror.pushed(waiting)
        return done


class VoteMirror:
    """Copies votes to the Hub, in the background: it never holds up or refuses a vote.

    Lines are kept in a file of this process until they are pushed; while the Hub cannot be reached
    they wait there.
    """

    def __init__(self, database: Database, repository: str, folder: Path, private: bool = True):
        """Read back what the dataset holds, then push every few minutes.

        Args:
            database: into which missing votes are put.
            repository: dataset, org/name; made if it is not there.
            folder: for this machine's lines.
            private: whether a new dataset is hidden from others.
        """
        self.database, self.repository, self.private = database, repository, private
        # A file a process: appends never meet, and a push never has to merge.
        self.folder, self.file = folder, folder / f"{uuid.uuid4().hex}.jsonl"
        self.waiting, self.failures, self.restored = 0, 0, 0
        self.last_push: datetime | None = None
        self.last_failure = ""
        self._pusher: _Pusher | None = None
        self._tried, self._lock = 0.0, threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        self._open()

    def _open(self) -> None:
        """Reach the Hub, at most once a minute; a failure is noted."""
        with self._lock:
            if self._pusher is not None or time.monotonic() - self._tried < RETRY_S:
                return
            self._tried = time.monotonic()
            try:
                api, kind = HfApi(), "dataset"
                api.create_repo(
                    self.repository, repo_type=kind, private=self.private, exist_ok=True
                )
                self.restored = self.database.restore(self._lines())
                self._pusher = _Pusher(
                    self,
                    repo_id=self.repository,
                    repo_type=kind,
                    folder_path=self.folder,
                    path_in_repo=FOLDER,
                    every=PUSH_MINUTES,
                    private=self.private,
                )
            except Exception as error:  # whatever it is, votes are taken
                self.failed(error)

    def _lines(self) -> Iterator[dict[str, Any]]:
        """Every line of the dataset; one that was cut off is left out with a warning."""
        found = snapshot_download(
            self.repository, repo_type="dataset", allow_patterns=f"{FOLDER}/*.jsonl"
        )
        for path in sorted(Path(found).glob(f"{FOLDER}/*.jsonl")):
            for number, line in enumerate(path.read_text().splitlines(), 1):
                try:
                    yield as_written_now(json.loads(line))
                except ValueError:
                    logger.warning("%s, line %d is no vote; it is left out", path.name, number)

    def keep(self, trial: Trial, vote: Vote) -> None:
        """Note a vote that is in the database, with all that it needs to be understood."""
        listener = self.database.find_listener(vote.listener_id)
        rows = {"listener": listener, "battle": trial.battle, "trial": trial, "vote": vote}
        self._append({name: as_dict(row) for name, row in rows.items() if row is not None})

    def keep_undo(self, undo: Undo) -> None:
        """Note that a vote was taken back."""
        self._append({"undo": as_dict(undo)})

    def _append(self, line: dict[str, Any]) -> None:
        lock = self._pusher.lock if self._pusher else self._lock
        try:
            with lock, self.file.open("a") as file:
                file.write(json.dumps(line) + "\n")
            self.waiting += 1
        except OSError as error:
            self.failed(error)
        if self._pusher is None:
            threading.Thread(target=self._open, daemon=True).start()

    def pushed(self, count: int) -> None:
        """Note that a push went well, which took `count` lines that had waited."""
        self.last_push = datetime.now(UTC)
        self.waiting -= count

    def failed(self, error: BaseException) -> None:
        """Note that something failed; it is tried again."""
        self.failures += 1
        self.last_failure = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        logger.error("the mirror of votes failed: %s", self.last_failure)

    def close(self) -> None:
        """Push what waits, then stop; what cannot be pushed stays in this machine's file."""
        try:
            if self._pusher is not None:
                self._pusher.trigger().result()
        finally:
            if self._pusher is not None:
                self._pusher.stop()  # or it would push once more at the interpreter's exit
            if self.waiting:
                logger.error("%d votes wait in %s and are not on the Hub", self.waiting, self.file)

    def status(self) -> str:
        """How it stands, in words."""
        when = f"{self.last_push:%Y-%m-%d %H:%M} UTC" if self.last_push else "never yet"
        text = f"Copy on the Hub: last pushed {when}; {self.waiting} votes wait for the next push"
        text += f"; {self.restored} votes were read back at start"
        if self.failures:
            text += f"; **{self.failures} failures**, the last: {self.last_failure}"
        return text + "."
