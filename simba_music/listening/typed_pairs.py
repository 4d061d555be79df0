"""Typed pairs: a pair for a visitor's own prompt, all or nothing, kept while it may be voted on."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select

from simba_music.conditioning.request import Request
from simba_music.generation.clip import Clip, Progress
from simba_music.generation.pipeline import Pipeline
from simba_music.generation.request import MAX_SEED, SIDES
from simba_music.generation.service import Place
from simba_music.generation.streaming.activity import Activity
from simba_music.generation.zero_gpu import ZeroGpu
from simba_music.listening.database import Database
from simba_music.listening.gallery import about, sampling_of
from simba_music.listening.pairs import Side, check_room
from simba_music.listening.tables import Battle, Trial, Undo, Vote
from simba_music.listening.trials import ListeningTest


class PairMaker:
    """Generates a pair for a typed prompt behind one progress bar; all or nothing."""

    def __init__(
        self,
        pipeline: Pipeline,
        test: ListeningTest,
        activity: Activity | None = None,
        place: Place | None = None,
    ):
        self.test, self.activity = test, activity or Activity()
        self.use(pipeline, place or ZeroGpu(pipeline))

    def use(self, pipeline: Pipeline, place: Place) -> None:
        """Make the pairs from now on with these models, there."""
        self.service = place.of(pipeline)

    def make(self, prompt: str) -> Iterator[float | str]:
        """Yield the share that is done of both clips together, then the offer of the battle.

        The seed is drawn here and shown after the vote; the order in which the models generate is
        drawn too.

        Raises:
            UserError: If the prompt is wrong, or there is no room for another pair.
        """
        check_room(self.test.clips)
        seed = random.SystemRandom().randrange(MAX_SEED + 1)
        with self.activity.counting_refusals():
            request = self.service.validate(prompt=prompt, seed=seed)
        order = random.SystemRandom().sample(SIDES, len(SIDES))
        clips: dict[str, Clip] = {}
        shares = dict.fromkeys(SIDES, 0.0)
        for event in self.activity.watched(self.service.generate(request, order)):
            if isinstance(event, Progress):
                shares[event.side] = event.frames / event.total_frames
                yield sum(shares.values()) / len(SIDES)
            elif isinstance(event, Clip):
                clips[event.side] = event
        yield self._keep(request, clips)

    def _keep(self, request: Request, clips: dict[str, Clip]) -> str:
        sides = {side: Side(clips[side].waveform, about(clips[side])) for side in SIDES}
        sampling = sampling_of(clips["left"])
        made = self.test.add_battle(request.prompt, sides, "typed", request.seed, sampling)
        return self.test.offer(made)


@dataclass(frozen=True)
class Gone:
    """How many pairs were deleted, and the digests of clips that no other pair has."""

    pairs: int
    clips: frozenset[str]


def delete_unvoted(database: Database, before: datetime) -> Gone:
    """Delete typed pairs of before this time that nobody has voted on, with their showings."""

    def clips_of(battles: list[Battle]) -> set[str]:
        return {side["audio_sha256"] for battle in battles for side in battle.sides.values()}

    voted = select(Trial.battle_id).join(Vote, Vote.trial_id == Trial.id)
    undone = select(Trial.battle_id).join(Undo, Undo.trial_id == Trial.id)
    wanted = select(Battle).where(
        Battle.origin == "typed",
        Battle.created < before,
        Battle.id.not_in(voted),
        Battle.id.not_in(undone),
    )
    with database.session() as session:
        old = list(session.scalars(wanted))
        names = [battle.id for battle in old]
        session.execute(delete(Trial).where(Trial.battle_id.in_(names)))
        session.execute(delete(Battle).where(Battle.id.in_(names)))
        others = list(session.scalars(select(Battle))) if old else []
    return Gone(len(old), frozenset(clips_of(old) - clips_of(others)))
