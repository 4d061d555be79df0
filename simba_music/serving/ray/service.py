"""Service on replicas: runs wait for a place, are stopped, and go on if a replica dies."""

import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from simba_music.conditioning.request import Request
from simba_music.errors import RequestError
from simba_music.generation.clip import Clip, Queued
from simba_music.generation.pipeline import Pipeline
from simba_music.generation.request import SIDES
from simba_music.generation.service import Asked as AskedOfSides
from simba_music.generation.service import Event, asked_of, never
from simba_music.serving.ray.call import Call, LostError, said
from simba_music.serving.ray.made import Made, Waiting
from simba_music.serving.ray.plan import Asked, Begun, Refused
from simba_music.serving.ray.stops import stops
from simba_music.settings import EngineName, settings

TRIES = 4  # replicas that one run may lose but one
LOOK_S = 0.1  # between two looks at whether whoever waits wants to stop
SHOWN_S = 1.0  # between two words on the place in the queue
STOP_S = 5.0  # in which it must have been said that a run should end
LOST = "The replica that made this was lost, and so were those after it. Try again in a minute."
logger = logging.getLogger(__name__)


class Replicas:
    """Where runs are made if they are made on replicas; `handle` is that of `Models`."""

    here = False

    def __init__(self, handle: Any, engine: EngineName = "auto"):
        self.handle, self.engine = handle, engine
        self.stream = handle.options(stream=True)
        self.waiting, self.stops = Waiting(), stops()

    def of(self, chosen: Pipeline) -> "OnReplicas":
        """The service that generates with these models."""
        return OnReplicas(self, chosen)

    def stop(self, run: str) -> bool:
        """Ask the takes of a run to end as they are; whether that could be said."""
        try:
            ray.get(self.stops.stop.remote(run), timeout=STOP_S)
        except RayError:
            return False
        return True


class OnReplicas:
    """The service of a pipeline's models on replicas: the third `GenerationService`.

    The pipeline itself generates nothing: it says what the models allow and what they are called.
    """

    def __init__(self, replicas: Replicas, chosen: Pipeline):
        self.replicas, self.chosen = replicas, chosen

    def validate(self, sides: Sequence[str] = SIDES, **raw: object) -> Request:
        """See `GenerationService`."""
        return self.chosen.validate(sides, **raw)

    def _asked(self, requests: Mapping[str, Request], stream: bool) -> Asked:
        left, right = (self.chosen.models[side].origin.id for side in SIDES)
        name = self.chosen.choice.name
        # Replicas may have been given another engine than the page's process could have.
        engine: EngineName = "auto" if name == self.replicas.engine else name
        return Asked(uuid.uuid4().hex, (left, right), engine, requests, stream)

    def generate(
        self,
        request: AskedOfSides,
        sides: Sequence[str] = SIDES,
        should_stop: Callable[[], bool] = never,
        stream: bool = False,
    ) -> Iterator[Event]:
        """See `GenerationService`; where a replica is lost the run goes on on another.

        Raises:
            RequestError: If the request is wrong, no replica has a place for it, or all were lost.
        """
        made = Made(asked_of(request, sides))
        for attempt in range(TRIES):
            asked = self._asked(made.left(), stream)
            if not asked.requests:
                return
            try:
                for event in self._events(asked, made, should_stop):
                    if (new := made.new(event)) is not None:
                        yield new
                return
            except LostError as error:
                logger.warning("A replica was lost in the middle of a run: %s", error)
                time.sleep(LOOK_S * attempt)
        raise RequestError(LOST)

    def _events(self, asked: Asked, made: Made, should_stop: Callable[[], bool]) -> Iterator[Event]:
        """Events of one attempt, as its replica counts them."""
        replicas = self.replicas
        waiting, stopped, shown = True, False, time.monotonic()
        replicas.waiting.add(asked.run)
        call = Call(replicas.stream, asked)
        try:
            for group in call.groups(LOOK_S, settings().step_timeout_s):
                now = time.monotonic()
                if group is not None and waiting:
                    replicas.waiting.remove(asked.run)
                    waiting = False
                for message in group or ():
                    if isinstance(message, Refused):
                        raise message.error
                    if isinstance(message, Begun):
                        made.begin(message)
                    else:
                        yield message
                if waiting and now - shown >= SHOWN_S:
                    shown = now
                    yield Queued(replicas.waiting.place(asked.run))
                if not stopped and should_stop():
                    if waiting or not replicas.stop(asked.run):
                        return
                    stopped = True
        finally:
            replicas.waiting.remove(asked.run)
            call.cancel()
            if stopped:
                replicas.stops.forget.remote(asked.run)

    def generate_batch(self, requests: Sequence[Request], side: str) -> list[Clip]:
        """See `GenerationService`; if a replica is lost another makes all of them.

        Raises:
            RequestError: As `generate`.
        """
        asked = self._asked({}, stream=False)
        for attempt in range(TRIES):
            try:
                found = self.replicas.handle.generate_batch.remote(asked, requests, side).result()
            except Exception as error:
                cause = said(error)
                if not isinstance(cause, LostError):
                    raise cause from None
                logger.warning("A replica was lost in the middle of a batch: %s", cause)
                time.sleep(LOOK_S * attempt)
                continue
            if isinstance(found, Refused):
                raise found.error
            clips: list[Clip] = found
            return clips
        raise RequestError(LOST)
