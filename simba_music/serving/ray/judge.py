"""Judge: one scorer for all replicas, which scores the clips that come together as a batch."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from ray import serve
from ray.exceptions import RayError
from torch import Tensor

from simba_music.audio import Waveform
from simba_music.scoring.loading import load_scorer
from simba_music.scoring.score import Score, Scorer
from simba_music.scoring.together import score_together

logger = logging.getLogger(__name__)

TOGETHER = 8  # clips of a batch
WAIT_S = 0.02  # for others to come; a clip takes some hundred times as long to be generated
ANSWER_S = 120.0  # in which a score must have come


class Scoring:
    """The scorer, in a process of its own."""

    def __init__(self, source: str):
        self.scorer = load_scorer(source)

    def about(self) -> tuple[str, str, int]:
        """What it is called, its revision, and the sample rate in Hz that it listens at."""
        return self.scorer.identifier, self.scorer.revision, self.scorer.sample_rate

    def embed_prompts(self, prompts: Sequence[str]) -> Tensor:
        """Unit vectors `[B, E]` of prompts."""
        return self.scorer.embed_prompts(prompts)

    def embed_samples(self, samples: Tensor) -> Tensor:
        """Unit vectors `[B, E]` of mono windows `[B, T]`."""
        return self.scorer.embed_samples(samples)

    async def score(self, clips: Sequence[tuple[Waveform, str]]) -> list[Score]:
        """Scores of clips, each with its prompt; in a thread, so that others can be taken in."""
        return await asyncio.to_thread(score_together, self.scorer, clips)

    # Ray looks the method up by the function's own name, so both have one.
    score = serve.batch(max_batch_size=TOGETHER, batch_wait_timeout_s=WAIT_S)(score)


class RemoteScorer(Scorer):
    """The scorer behind a handle; not to be asked from within an event loop."""

    def __init__(self, handle: Any):
        self.handle = handle
        super().__init__(*handle.about.remote().result(timeout_s=ANSWER_S))

    def embed_prompts(self, prompts: Sequence[str]) -> Tensor:
        """See `Scorer`."""
        found: Tensor = self.handle.embed_prompts.remote(list(prompts)).result(timeout_s=ANSWER_S)
        return found

    def embed_samples(self, samples: Tensor) -> Tensor:
        """See `Scorer`."""
        found: Tensor = self.handle.embed_samples.remote(samples).result(timeout_s=ANSWER_S)
        return found

    def score(self, wave: Waveform, prompt: str) -> Score:
        """See `Scorer`; a clip whose scorer cannot be reached has no score."""
        try:
            found: Score = self.handle.score.remote((wave, prompt)).result(timeout_s=ANSWER_S)
        except (RayError, TimeoutError) as error:
            logger.warning("the scorer does not answer: %s", error)
            return Score(self.identifier, self.revision, None, None, "the scorer does not answer")
        return found
