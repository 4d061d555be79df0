"""Tables of listening tests: listeners, battles, trials, votes, undos, finals (SQLAlchemy)."""

import uuid
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    DateTime,
    Float,
    ForeignKey,
    Integer,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class UTCTime(TypeDecorator[datetime]):
    """A time in UTC; SQLite forgets the zone, so it is put back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        """The stored time with its zone."""
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


def now() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)


def new_id() -> str:
    """A random name for a row: 32 hexadecimal digits that say nothing."""
    return uuid.uuid4().hex


class Base(DeclarativeBase):
    """Base of all tables."""


def as_dict(row: Base) -> dict[str, Any]:
    """A row as JSON has it; times in ISO 8601."""
    values = {column.key: getattr(row, column.key) for column in row.__table__.columns}
    return {k: v.isoformat() if isinstance(v, datetime) else v for k, v in values.items()}


def from_dict(kind: type[Base], values: dict[str, Any]) -> Base:
    """A row of `as_dict`."""
    times = {c.key for c in kind.__table__.columns if isinstance(c.type, UTCTime)}
    return kind(**{k: datetime.fromisoformat(v) if k in times else v for k, v in values.items()})


class Listener(Base):
    """Someone who votes: a random name, never an address."""

    __tablename__ = "listeners"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    created: Mapped[datetime] = mapped_column(UTCTime)
    local: Mapped[bool] = mapped_column(Boolean)  # on the host's own machine: never pooled
    consent: Mapped[str | None] = mapped_column(Text)  # the words agreed to
    study: Mapped[str | None] = mapped_column(String(64))
    checks: Mapped[dict[str, Any] | None] = mapped_column(JSON)  # headphones, volume


class Battle(Base):
    """An immutable pair of clips; `sides` says of "left" and "right" all that is known."""

    __tablename__ = "battles"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    created: Mapped[datetime] = mapped_column(UTCTime)
    app_version: Mapped[str] = mapped_column(String(32))
    prompt: Mapped[str] = mapped_column(Text)
    origin: Mapped[str] = mapped_column(String(16))  # gallery, typed, study or open
    study: Mapped[str | None] = mapped_column(String(64))
    gallery: Mapped[str | None] = mapped_column(String(64))
    seed: Mapped[int] = mapped_column(BigInteger)
    duration_s: Mapped[float] = mapped_column(Float)
    sampling: Mapped[dict[str, Any]] = mapped_column(JSON)
    sides: Mapped[dict[str, Any]] = mapped_column(JSON)


class Trial(Base):
    """One showing of a battle to a listener; `flipped` puts the right side at A."""

    __tablename__ = "trials"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    battle_id: Mapped[str] = mapped_column(ForeignKey("battles.id"), index=True)
    listener_id: Mapped[str] = mapped_column(ForeignKey("listeners.id"), index=True)
    created: Mapped[datetime] = mapped_column(UTCTime)
    flipped: Mapped[bool] = mapped_column(Boolean)
    first: Mapped[str] = mapped_column(String(1))  # A or B: which is to be played first
    kind: Mapped[str] = mapped_column(String(16))  # normal, practice, repeat, catch or open
    place: Mapped[int] = mapped_column(Integer)  # in its study, from 0
    battle: Mapped[Battle] = relationship(lazy="joined")

    def at(self, battle: Battle) -> dict[str, dict[str, Any]]:
        """What is known of the clips of its battle that stand at A and B."""
        order = ("right", "left") if self.flipped else ("left", "right")
        return {letter: battle.sides[side] for letter, side in zip("AB", order, strict=True)}


class Vote(Base):
    """One listener's answer to one trial."""

    __tablename__ = "votes"
    __table_args__ = (UniqueConstraint("trial_id", "listener_id"),)
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    trial_id: Mapped[str] = mapped_column(ForeignKey("trials.id"))
    listener_id: Mapped[str] = mapped_column(ForeignKey("listeners.id"), index=True)
    created: Mapped[datetime] = mapped_column(UTCTime)
    preference: Mapped[str] = mapped_column(String(8))
    ratings: Mapped[dict[str, Any]] = mapped_column(JSON)
    remark: Mapped[str] = mapped_column(Text)
    heard: Mapped[dict[str, Any]] = mapped_column(JSON)  # unique stretches of A and B, in s
    switches: Mapped[int] = mapped_column(Integer)
    seconds_to_vote: Mapped[float] = mapped_column(Float)
    status: Mapped[str] = mapped_column(String(8))  # counted, pending, excluded or open
    reasons: Mapped[list[str]] = mapped_column(JSON)
    trial: Mapped[Trial] = relationship(lazy="joined")


class Undo(Base):
    """A vote that its listener took back, as it was."""

    __tablename__ = "undos"
    vote_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    trial_id: Mapped[str] = mapped_column(ForeignKey("trials.id"))
    created: Mapped[datetime] = mapped_column(UTCTime)
    vote: Mapped[dict[str, Any]] = mapped_column(JSON)


class Final(Base):
    """A vote whose listener was shown the models, or has gone on: it can never be taken back."""

    __tablename__ = "finals"
    vote_id: Mapped[str] = mapped_column(ForeignKey("votes.id"), primary_key=True)
    created: Mapped[datetime] = mapped_column(UTCTime)
