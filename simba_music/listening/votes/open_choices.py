"""Open choices: which of two clips someone prefers whose names are on show.

They are kept beside the votes of the blind test and never with them: with the status `open`, of
battles of the origin `open`, and by listeners of their own, so that nothing that counts votes
counts them.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from simba_music import __version__
from simba_music.listening.tables import Battle, Trial, Vote, new_id, now
from simba_music.listening.trials import ListeningTest
from simba_music.listening.votes.ballot import Preference, Stretch, VoteError, merge, seconds

OPEN = "open"
LEAST_S = 1.0  # of each clip, before one can be preferred


@dataclass(frozen=True)
class OpenPair:
    """Two clips as they stood on the page, A on the left; `sides` as a battle has them."""

    prompt: str
    seed: int
    duration_s: float
    sampling: dict[str, Any]
    sides: dict[str, dict[str, Any]]
    shown: datetime


def keep_choice(
    test: ListeningTest,
    pair: OpenPair,
    listener: str,
    preference: Preference,
    heard: dict[str, list[Stretch]],
    switches: int,
) -> Vote:
    """Keep which clip a listener, by their id, prefers.

    Raises:
        VoteError: If one of the clips was not listened to.
    """
    found = {letter: merge(heard.get(letter, []), pair.duration_s) for letter in "AB"}
    if any(seconds(stretches) < LEAST_S for stretches in found.values()):
        raise VoteError(f"Listen to at least {LEAST_S:g} s of each clip first.")
    battle = Battle(
        id=new_id(),
        created=pair.shown,
        app_version=__version__,
        prompt=pair.prompt,
        origin=OPEN,
        study=None,
        gallery=None,
        seed=pair.seed,
        duration_s=pair.duration_s,
        sampling=pair.sampling,
        sides=pair.sides,
    )
    test.database.add_battle(battle)
    trial = Trial(
        id=new_id(),
        battle_id=battle.id,
        listener_id=listener,
        created=pair.shown,
        flipped=False,
        first="A",
        kind=OPEN,
        place=0,
    )
    test.database.add(trial)
    return test.database.add_vote(
        Vote(
            id=new_id(),
            trial_id=trial.id,
            listener_id=listener,
            created=now(),
            preference=preference,
            ratings={},
            remark="",
            heard=found,
            switches=switches,
            seconds_to_vote=round((now() - pair.shown).total_seconds(), 2),
            status=OPEN,
            reasons=["the names were shown"],
        )
    )
