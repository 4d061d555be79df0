"""Standing votes: when a vote is final, and what final votes say so far."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.exc import IntegrityError

from simba_music.generation.request import SIDES
from simba_music.listening.database import Database
from simba_music.listening.statistics import FEWEST, wilson
from simba_music.listening.tables import Battle, Final, Listener, Trial, Vote, now
from simba_music.listening.votes.ballot import UNDO_S, VoteError

CHOICES = ("A", "B", "TIE", "BOTH_BAD")


class Model(NamedTuple):
    """A checkpoint as the sides of a battle name it."""

    checkpoint: str | None
    sha256: str | None


def is_final(database: Database, vote: Vote) -> bool:
    """Whether a vote can no longer be taken back."""
    if (now() - vote.created).total_seconds() > UNDO_S:
        return True
    with database.session() as session:
        return session.get(Final, vote.id) is not None


def finish(database: Database, trial: str, listener: str) -> Vote:
    """Make the vote on a trial final; from here on no undo succeeds, on whichever replica.

    Raises:
        VoteError: If there is no vote, or it is being taken back.
    """
    missing = "Vote first; then you see which was which."
    vote = database.vote_of(trial)
    if vote is None or vote.listener_id != listener:
        raise VoteError(missing)
    try:
        with database.session() as session:
            if session.get(Final, vote.id) is None:
                session.add(Final(vote_id=vote.id, created=now()))
    except IntegrityError as error:
        # Either the same request came twice at once, or an undo was faster.
        if database.vote_of(trial) is None:
            raise VoteError(missing) from error
    return vote


def _stands() -> ColumnElement[bool]:
    return or_(Final.vote_id.is_not(None), Vote.created < now() - timedelta(seconds=UNDO_S))


def standing(database: Database) -> list[Vote]:
    """All votes that are final, oldest first.

    Whoever saw a tally move with their vote, and then took it back, would know which side was
    which; so no page shows other votes.
    """
    wanted = select(Vote).outerjoin(Final, Final.vote_id == Vote.id).where(_stands())
    with database.session() as session:
        return list(session.scalars(wanted.order_by(Vote.created, Vote.id)))


def _model(side: dict[str, Any]) -> Model:
    return Model(side.get("checkpoint"), side.get("model", {}).get("sha256"))


def _counts(
    database: Database, models: Sequence[Model], *conditions: ColumnElement[bool]
) -> dict[str, int]:
    """Final votes between two models: how many preferred the first (A), the second (B), none."""
    # Counted where the votes are: this is asked after every vote.
    names = [
        Battle.sides[(side, *path)].as_string().label(f"{side}_{path[-1]}")
        for side in SIDES
        for path in (("checkpoint",), ("model", "sha256"))
    ]
    each = (
        select(Vote.preference, Trial.flipped, *names)
        .join(Trial, Vote.trial_id == Trial.id)
        .join(Battle, Trial.battle_id == Battle.id)
        .join(Listener, Vote.listener_id == Listener.id)
        .outerjoin(Final, Final.vote_id == Vote.id)
        .where(_stands(), Battle.origin != "study", *conditions)
        .subquery()
    )
    found = dict.fromkeys(CHOICES, 0)
    with database.session() as session:
        rows = list(session.execute(select(*each.c, func.count()).group_by(*each.c)))
    for preference, flipped, *known, count in rows:
        left, right = Model(*known[:2]), Model(*known[2:])
        if {left, right} != set(models):
            continue
        at = (right, left) if flipped else (left, right)
        if preference in ("A", "B"):
            preference = "AB"[models.index(at["AB".index(preference)])]
        found[preference] += count
    return found


def so_far(database: Database, trial: Trial) -> dict[str, Any]:
    """What a listener learns after a vote: `own` and `crowd`, the final votes on its two models.

    `own` counts the listener's votes, A being the model at A in this trial. `crowd` has the number
    of visitors' votes that count and, from `FEWEST` decided ones on, the share that preferred A
    with its interval. Both are None if a model stood against itself.
    """
    models = [_model(side) for side in trial.at(trial.battle).values()]
    if models[0] == models[1]:
        return {"own": None, "crowd": None}
    own = _counts(database, models, Vote.listener_id == trial.listener_id)
    all_ = _counts(database, models, Listener.local.is_(False), Vote.status == "counted")
    decided = all_["A"] + all_["B"]
    crowd: dict[str, Any] = {"votes": sum(all_.values()), "fewest": FEWEST}
    if decided >= FEWEST:
        share = wilson(all_["A"], decided)
        crowd |= {"share": share.value, "low": share.low, "high": share.high, "decided": decided}
    return {"own": own, "crowd": crowd}
