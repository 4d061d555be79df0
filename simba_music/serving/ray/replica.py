"""Replica: the models of both sides in a process of their own, for as many runs as have slots."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ray import serve
from ray.exceptions import RayError

from simba_music.audio import Waveform
from simba_music.conditioning.request import Request
from simba_music.errors import RequestError, UserError
from simba_music.errors.incidents import user_message
from simba_music.errors.logs import configure, private
from simba_music.generation.clip import AudioChunk, Clip
from simba_music.generation.engines.choice import settled
from simba_music.generation.pipeline import Pipeline
from simba_music.generation.service import Event
from simba_music.generation.streaming.threads import cores
from simba_music.serving.ray.judge import RemoteScorer
from simba_music.serving.ray.plan import Asked, Begun, Message, Plan, Refused
from simba_music.serving.ray.pump import pumped
from simba_music.serving.ray.stops import stops
from simba_music.settings import data_folder, settings

AGAIN_S = 1.0  # until an actor that was lost is asked again


def keep_to(core: int) -> None:
    """Keep this process, with all the threads that it has or begins, to one core."""
    for thread in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


@dataclass
class Run:
    """A run in progress: whether its takes should end as they are, and whether nobody reads it."""

    stopped: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)


def _light(event: Event) -> Event:
    """An event without the rest of the memory that its sound is a part of."""
    if not isinstance(event, AudioChunk):
        return event
    own = Waveform(event.waveform.samples.clone(), event.waveform.sample_rate)
    return replace(event, waveform=own)


class Models:
    """The models of both sides, loaded once; every run is an asynchronous generator."""

    def __init__(self, plan: Plan, scoring: Any = None):
        self.plan, self._runs, self._stops = plan, dict[str, Run](), stops()
        configure(settings().log, settings().log_prompts, data_folder())
        if plan.pinned:
            own = sorted(cores())
            keep_to(own[serve.get_replica_context().rank.local_rank % len(own)])
        # Ray begins it inside an event loop, where nobody may wait for another replica.
        with ThreadPoolExecutor(1) as thread:
            self.pipeline = thread.submit(self._load, scoring).result()

    def _load(self, scoring: Any) -> Pipeline:
        plan = self.plan
        own = (plan.device, plan.threads)
        pipeline = Pipeline.load(plan.left, plan.right, None, *own, choice=plan.choice)
        settled(plan.choice, pipeline.device)
        pipeline.scorer = None if scoring is None else RemoteScorer(scoring)
        pipeline.warm_up()
        return pipeline

    async def state(self) -> tuple[int, int]:
        """Id of the replica's process, and how many runs are in progress."""
        return os.getpid(), len(self._runs)

    async def generate(self, asked: Asked) -> AsyncIterator[list[Message]]:
        """Messages of a run, in groups; an empty one at once, and where nothing is to be said.

        Cancelling ends it within a block of frames.
        """
        run = self._runs[asked.run] = Run()
        listening = asyncio.ensure_future(self._listen(asked.run, run))
        try:
            async for group in pumped(lambda: self._messages(asked, run), run.left):
                yield group
        finally:
            run.left.set()
            listening.cancel()
            self._stops.forget.remote(asked.run)
            self._runs.pop(asked.run, None)

    async def _listen(self, name: str, run: Run) -> None:
        """Wait for whether the takes of a run should end as they are."""
        while not run.stopped.is_set():
            try:
                await self._stops.wait.remote(name)
                run.stopped.set()
            except RayError:  # the actor is begun again
                await asyncio.sleep(AGAIN_S)

    def _messages(self, asked: Asked, run: Run) -> Iterator[Message]:
        try:
            with private(*(text for r in asked.requests.values() for text in _texts(r))):
                yield from self._run(asked, run)
        except Exception as error:
            yield _refused(error)

    def _chosen(self, asked: Asked) -> Pipeline:
        """The pipeline that a run names."""
        chosen = self.pipeline.with_models(*asked.models)
        return chosen if asked.engine == "auto" else chosen.on_engine(asked.engine)

    def _run(self, asked: Asked, run: Run) -> Iterator[Message]:
        chosen, sides = self._chosen(asked), tuple(asked.requests)
        weights = (chosen.models[side].origin.sha256 for side in sides)
        choice = (chosen.engine_now(sides), chosen.choice.dtype, str(chosen.choice.slots))
        yield Begun((*weights, *choice))
        made = chosen.generate(asked.requests, sides, run.stopped.is_set, asked.stream)
        for event in made:
            yield _light(event)

    async def generate_batch(
        self, asked: Asked, requests: Sequence[Request], side: str
    ) -> list[Clip] | Refused:
        """See `GenerationService`; `asked` says the models."""

        def made() -> list[Clip]:
            with private(*(text for request in requests for text in _texts(request))):
                return self._chosen(asked).generate_batch(requests, side)

        try:
            return await asyncio.to_thread(made)
        except Exception as error:
            return _refused(error)


def _refused(error: Exception) -> Refused:
    """An error as a sentence; what cannot be mended has an incident in this replica's log."""
    return Refused(error if isinstance(error, UserError) else RequestError(user_message(error)))


def _texts(request: Request) -> tuple[str, str]:
    return request.prompt, request.negative
