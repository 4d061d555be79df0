"""Database of listening tests, SQLite or PostgreSQL; a vote is there once it is confirmed."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Integer, cast, func, inspect, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from simba_music.listening.engine import READS, FileWatch, migrate, open_engine
from simba_music.listening.tables import (
    Base,
    Battle,
    Final,
    Listener,
    Trial,
    Undo,
    Vote,
    as_dict,
    from_dict,
    now,
)
from simba_music.listening.votes.ballot import VoteError
from simba_music.settings import settings

# What a mirrored line may hold, in an order in which each finds what it refers to.
KINDS: dict[str, type[Base]] = {
    "listener": Listener,
    "battle": Battle,
    "trial": Trial,
    "vote": Vote,
    "undo": Undo,
}


def default_url(data: Path) -> str:
    """`DATABASE_URL` of the environment, else a SQLite file in the data folder."""
    url = settings().database_url or f"sqlite:///{data / 'votes.sqlite3'}"
    for short in ("postgres://", "postgresql://"):  # what hosts hand out
        if url.startswith(short):
            return "postgresql+psycopg://" + url.removeprefix(short)
    return url


class Database:
    """All that is kept of listening tests; a vote is there once `add_vote` returns."""

    def __init__(self, url: str):
        """Open, creating or migrating the tables.

        Raises:
            UserError: If they must be migrated and cannot be copied before.
        """
        self.engine = open_engine(url)
        try:
            migrate(self.engine)
        except BaseException:
            self.engine.dispose()
            raise
        self._reading = self.engine.execution_options(**{READS: True})
        self.watch = FileWatch(self.engine)
        # SQLite lets one write at a time; its own way of waiting is to sleep and try again, so that
        # of many the last would wait for half a minute.
        self._turn = threading.Lock() if self.engine.dialect.name == "sqlite" else nullcontext()

    def close(self) -> None:
        """Let go of all connections."""
        self.engine.dispose()

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A transaction: committed at the end, rolled back on an error.

        Raises:
            DatabaseLostError: If the file was deleted or replaced, before or meanwhile.
        """
        self.watch.check()
        with self._turn, Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session
        self.watch.check()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that writes nothing, and waits for nobody who does.

        Raises:
            DatabaseLostError: If the file was deleted or replaced.
        """
        self.watch.check()
        with Session(self._reading, expire_on_commit=False) as session, session.begin():
            yield session

    def check_writable(self) -> None:
        """Begin a transaction that could write, and end it.

        Raises:
            Exception: If there can be none.
        """
        with self.session() as session:
            session.execute(text("SELECT 1"))

    def add(self, row: Listener | Trial) -> None:
        """Store a new row."""
        with self.session() as session:
            session.add(row)

    def add_battle(self, row: Battle) -> None:
        """Store a battle; one that another process has stored is left as it is."""
        try:
            with self.session() as session:
                session.add(row)
        except IntegrityError:
            if self.battle(row.id) is None:
                raise

    def find_listener(self, name: str) -> Listener | None:
        """A listener by name."""
        with self.reading() as session:
            return session.get(Listener, name)

    def battle(self, name: str) -> Battle | None:
        """A battle by name."""
        with self.reading() as session:
            return session.get(Battle, name)

    def battles(self, origin: str, gallery: str | None = None) -> list[Battle]:
        """All battles of an origin that belong to this gallery, or to none; oldest first."""
        wanted = select(Battle).where(Battle.origin == origin, Battle.gallery == gallery)
        with self.reading() as session:
            return list(session.scalars(wanted.order_by(Battle.created, Battle.id)))

    def trial(self, name: str) -> Trial | None:
        """A trial with its battle."""
        with self.reading() as session:
            return session.get(Trial, name)

    def trials_of(self, listener: str, study: str | None = None) -> list[tuple[Trial, Vote | None]]:
        """What a listener was shown, oldest first, and what they answered."""
        wanted = (
            select(Trial, Vote)
            .join(Trial.battle)
            .outerjoin(Vote, Vote.trial_id == Trial.id)
            .where(Trial.listener_id == listener)
            .order_by(Trial.created, Trial.id)
        )
        if study is not None:
            wanted = wanted.where(Battle.study == study)
        with self.reading() as session:
            return [(trial, vote) for trial, vote in session.execute(wanted)]

    def showings(self, battles: Sequence[str]) -> dict[str, tuple[int, int]]:
        """How often each of these battles was shown: in all, and flipped."""
        flips = func.sum(cast(Trial.flipped, Integer))
        wanted = select(Trial.battle_id, func.count(), flips).group_by(Trial.battle_id)
        with self.reading() as session:
            found = {name: (n, f) for name, n, f in session.execute(wanted)}
        return {name: found.get(name, (0, 0)) for name in battles}

    def unvoted(self, listener: str, origin: str, gallery: str | None) -> list[tuple[str, int]]:
        """Ids of battles as in `battles` that a listener has not voted on; showings of each."""
        voted = select(Trial.battle_id).join(Vote, Vote.trial_id == Trial.id)
        count = select(func.count()).where(Trial.battle_id == Battle.id).scalar_subquery()
        wanted = select(Battle.id, count).where(
            Battle.origin == origin,
            Battle.gallery == gallery,
            Battle.id.not_in(voted.where(Vote.listener_id == listener)),
        )
        with self.reading() as session:
            return [(name, shown) for name, shown in session.execute(wanted)]

    def add_vote(self, vote: Vote) -> Vote:
        """Store a vote; the same vote again is answered as it was the first time.

        Raises:
            VoteError: If the trial has another vote already.
        """
        try:
            with self.session() as session:
                session.add(vote)
            return vote
        except IntegrityError:
            # A browser that got no answer sends its vote again: that is no second vote.
            known = self.vote_of(vote.trial_id)
            if known is None:
                raise
            if (known.listener_id, known.preference, known.ratings, known.remark) != (
                vote.listener_id,
                vote.preference,
                vote.ratings,
                vote.remark,
            ):
                raise VoteError(
                    "You have voted on this pair already; the first vote counts. "
                    "Press Undo within 10 s to change it."
                ) from None
            return known

    def vote_of(self, trial: str) -> Vote | None:
        """The vote on a trial."""
        with self.reading() as session:
            return session.scalars(select(Vote).where(Vote.trial_id == trial)).first()

    def undo(self, trial: str, listener: str, within_s: float) -> Undo:
        """Take a vote back, so that the trial can be voted on again.

        Raises:
            VoteError: If there is no such vote, it is final, or older than `within_s` seconds.
        """
        try:
            with self.session() as session:
                wanted = select(Vote).where(Vote.trial_id == trial, Vote.listener_id == listener)
                vote = session.scalars(wanted).first()
                if vote is None:
                    raise VoteError("There is no vote of yours to undo on this pair.")
                if (now() - vote.created).total_seconds() > within_s:
                    raise VoteError(f"A vote can be undone for {within_s:g} s; this one stands.")
                if session.get(Final, vote.id) is not None:
                    raise VoteError("You have gone on from this vote; it stands.")
                undo = Undo(vote_id=vote.id, trial_id=trial, created=now(), vote=as_dict(vote))
                session.add(undo)
                session.delete(vote)
        except IntegrityError as error:
            # It was made final meanwhile: the key of `finals` keeps its vote from being deleted.
            raise VoteError("You have gone on from this vote; it stands.") from error
        return undo

    def votes_since(self, listener: str, since: datetime) -> int:
        """How many votes a listener has given since then."""
        wanted = select(func.count()).where(Vote.listener_id == listener, Vote.created >= since)
        with self.reading() as session:
            return session.scalar(wanted) or 0

    def last_vote(self, listener: str) -> datetime | None:
        """When a listener gave their last vote."""
        wanted = select(Vote.created).where(Vote.listener_id == listener)
        with self.reading() as session:
            return session.scalars(wanted.order_by(Vote.created.desc()).limit(1)).first()

    def restore(self, lines: Iterable[dict[str, Any]]) -> int:
        """Store what is missing of votes and undos that another machine has noted.

        Args:
            lines: each has `listener`, `battle`, `trial` and `vote`, or `undo`, as `as_dict` makes
                them.

        Returns:
            How many votes were missing.
        """
        found = list(lines)
        undone = {line["undo"]["vote_id"] for line in found if "undo" in line}
        count = 0
        with self.session() as session:
            for line in found:
                for name, kind in KINDS.items():
                    gone = name == "vote" and line.get("vote", {}).get("id") in undone
                    if name not in line or gone:
                        continue
                    row = from_dict(kind, line[name])
                    if session.get(kind, inspect(kind).primary_key_from_instance(row)) is None:
                        session.add(row)
                        session.flush()
                        count += name == "vote"
        return count

    def listeners(self, study: str) -> list[Listener]:
        """Who has joined a study, the first first."""
        wanted = select(Listener).where(Listener.study == study)
        with self.reading() as session:
            return list(session.scalars(wanted.order_by(Listener.created, Listener.id)))

    def local_listeners(self) -> set[str]:
        """Names of the listeners at the host's own machine."""
        with self.reading() as session:
            return set(session.scalars(select(Listener.id).where(Listener.local)))

    def votes(self) -> list[Vote]:
        """All votes with their trials and battles, oldest first."""
        with self.reading() as session:
            return list(session.scalars(select(Vote).order_by(Vote.created, Vote.id)))
