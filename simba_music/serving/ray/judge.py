"""Judge: one scorer for all replicas, which scores the clips that come together as a batch."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ray import serve
from ray.exceptions import RayError

from simba_music.audio import Waveform
from simba_music.scoring.loading import load_scorer
from simba_music.scoring.score import Score
from simba_music.scoring.together import score_together

logger = logging.getLogger(__name__)

TOGETHER = 8  # clips of a batch
WAIT_S = 0.02  # for others to come; a clip takes some hundred times as long to be generated
ANSWER_S = 120.0  # in which a score must have come


class Scoring:
    """The scorer, in a process of its own."""

    def __init__(self, source: str):
        self.scorer = load_scorer(source)

    def about(self) -> tuple[str, int]:
        """Its revision, and the sample rate in Hz that it listens at."""
        return self.scorer.revision, self.scorer.sample_rate

    async def score(self, clips: Sequence[tuple[Waveform, str]]) -> list[Score]:
        """Scores of clips, each with its prompt; in a thread, so that others can be taken in."""
        return await asyncio.to_thread(score_together, self.scorer, clips)

    # Ray looks the method up by the function's own name, so both have one.
    score = serve.batch(max_batch_size=TOGETHER, batch_wait_timeout_s=WAIT_S)(score)


@dataclass(frozen=True)
class RemoteJudge:
    """The scorer behind a handle; not to be asked from within an event loop."""

    handle: Any
    revision: str
    sample_rate: int

    @classmethod
    def of(cls, handle: Any) -> "RemoteJudge":
        """What scores behind a handle of `Scoring`."""
        return cls(handle, *handle.about.remote().result(timeout_s=ANSWER_S))

    def score(self, wave: Waveform, prompt: str) -> Score:
        """See `scoring.score.Judge`; a clip whose scorer cannot be reached has no score."""
        try:
            found: Score = self.handle.score.remote((wave, prompt)).result(timeout_s=ANSWER_S)
        except (RayError, TimeoutError) as error:
            logger.warning("the scorer does not answer: %s", error)
            return Score("", self.revision, None, None, "the scorer does not answer")
        return found
