"""Engine: connections to SQLite or PostgreSQL, migrations after a backup, a watch on the file."""

import logging
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event

from simba_music.errors import UserError
from simba_music.files import sync_folder
from simba_music.listening.tables import now
from simba_music.listening.votes.ballot import VoteError

logger = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_TIMEOUT_MS = 30_000
READS = "reads"  # the option of a connection that will write nothing


class DatabaseLostError(VoteError):
    """The file of the votes is no longer the one that was opened."""


def open_engine(url: str) -> Engine:
    """Connections to a database; those with the option `READS` take no lock in SQLite."""
    # A host's database closes idle connections; the first vote after that must not fail.
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True, hide_parameters=True)
    # A connection for each of the page's threads: none waits for another that only reads.
    engine = create_engine(url, pool_size=40, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # transactions are begun below
        cursor = connection.cursor()
        for pragma in (
            # Readers do not wait for a writer.
            "journal_mode = WAL",
            # A confirmed vote survives a power cut; votes are rare enough to pay for it.
            "synchronous = FULL",
            "foreign_keys = ON",
            f"busy_timeout = {BUSY_TIMEOUT_MS}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        # A deferred transaction that reads and then writes is refused at once under contention; one
        # that only reads must not wait for those that write.
        reads = connection.get_execution_options().get(READS)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def migrations(connection: Connection) -> Config:
    """Alembic's settings, to bring the tables behind a connection to a revision."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def file_of(engine: Engine) -> Path | None:
    """The file of a SQLite database; None for any other."""
    name = engine.url.database
    lies = engine.dialect.name == "sqlite" and name and name != ":memory:"
    return Path(name).absolute() if lies and name else None


def migrate(engine: Engine) -> None:
    """Bring the tables to the present form; a SQLite file of an older one is copied before.

    Raises:
        UserError: If it cannot be copied: then nothing is changed.
    """
    with engine.begin() as connection:
        config = migrations(connection)
        current = MigrationContext.configure(connection).get_current_revision()
        head = ScriptDirectory.from_config(config).get_current_head()
    if current is not None and current != head:
        path = file_of(engine)
        if path is None:
            logger.warning("the tables of the votes go from %s to %s, not copied", current, head)
        else:
            logger.warning("the votes as they were are kept in %s", back_up(path, current))
    with engine.begin() as connection:
        command.upgrade(migrations(connection), "head")


def back_up(path: Path, revision: str) -> Path:
    """Copy a SQLite database, whoever writes to it meanwhile; on disk when this returns.

    Raises:
        UserError: If there is no room for the copy, or no right to make it.
    """
    target = path.with_name(f"{path.name}.before-{revision}-{now():%Y%m%dT%H%M%S}")
    part = target.with_name(f".{target.name}.part")
    try:
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(part)) as copy:
            source.backup(copy)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.rename(target)
        sync_folder(target.parent)
    except (sqlite3.Error, OSError) as error:
        part.unlink(missing_ok=True)
        raise UserError(
            f"The votes in {path} must be copied before their tables change, and that failed: "
            f"{error}. Make room beside that file, or copy it yourself and start from the copy."
        ) from error
    return target


class FileWatch:
    """Notices that a SQLite file was deleted or replaced while it was open.

    Whoever has it open would go on writing into a file that has no name any more.
    """

    def __init__(self, engine: Engine):
        self._path = file_of(engine)
        self._known = self._now()
        self._said = False

    def _now(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat() if self._path else None
        except OSError:
            return None
        return (found.st_dev, found.st_ino) if found else None

    @property
    def lost(self) -> bool:
        """Whether the file is gone, or another one has its name."""
        return self._path is not None and self._now() != self._known

    def check(self) -> None:
        """Refuse to go on without the file.

        Raises:
            DatabaseLostError: If it is gone, or another one has its name.
        """
        if not self.lost:
            return
        if not self._said:
            logger.error("%s was deleted or replaced: restart, nothing is kept now", self._path)
            self._said = True
        raise DatabaseLostError(
            "The database of this page was deleted or replaced while it was open, so nothing is "
            "kept now. Tell whoever runs the page; it must be started again."
        )
