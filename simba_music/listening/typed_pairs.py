"""Typed pairs: a pair for a visitor's own prompt, all or nothing, for the blind test."""

import random
from collections.abc import Iterator

from simba_music.conditioning.request import Request
from simba_music.generation.clip import Clip, Progress
from simba_music.generation.pipeline import Pipeline
from simba_music.generation.request import MAX_SEED, SIDES
from simba_music.generation.zero_gpu import ZeroGpu
from simba_music.listening.gallery import about, sampling_of
from simba_music.listening.pairs import Side
from simba_music.listening.trials import ListeningTest


class PairMaker:
    """Generates a pair for a typed prompt behind one progress bar; all or nothing."""

    def __init__(self, pipeline: Pipeline, test: ListeningTest):
        self.service, self.test = ZeroGpu(pipeline).of(pipeline), test

    def make(self, prompt: str) -> Iterator[float | str]:
        """Yield the share that is done of both clips together, then the offer of the battle.

        The seed is drawn here and shown after the vote; the order in which the models generate is
        drawn too.

        Raises:
            UserError: If the prompt is wrong.
        """
        seed = random.SystemRandom().randrange(MAX_SEED + 1)
        request = self.service.validate(prompt=prompt, seed=seed)
        order = random.SystemRandom().sample(SIDES, len(SIDES))
        clips: dict[str, Clip] = {}
        shares = dict.fromkeys(SIDES, 0.0)
        for event in self.service.generate(request, order):
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
