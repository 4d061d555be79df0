"""Made: which runs wait for a replica, and what one has already, so that it can go on elsewhere."""

import threading
from collections.abc import Mapping
from dataclasses import replace

from simba_music.conditioning.request import Request
from simba_music.errors import RequestError
from simba_music.generation.clip import AudioChunk, Clip, Queued
from simba_music.generation.request import MAX_SEED
from simba_music.generation.service import Event
from simba_music.serving.ray.plan import Begun

OTHER = (
    "The replica that made this was lost, and those that are left have other weights or another "
    "engine. Generate again."
)


class Waiting:
    """Runs that no replica has taken yet, in the order of coming."""

    def __init__(self) -> None:
        self._runs = dict[str, None]()
        self._lock = threading.Lock()

    def add(self, run: str) -> None:
        """One more, the last."""
        with self._lock:
            self._runs[run] = None

    def remove(self, run: str) -> None:
        """It has begun, or ended."""
        with self._lock:
            self._runs.pop(run, None)

    def place(self, run: str) -> int:
        """Place of a run, from 1."""
        with self._lock:
            return list(self._runs).index(run) + 1 if run in self._runs else 0


class Made:
    """What there is already of the sides of a run, so that it can go on on another replica.

    The same request gives the same tokens, so whatever comes again after a loss is left out.
    """

    def __init__(self, requests: Mapping[str, Request]):
        self.requests, self._clips = dict(requests), dict.fromkeys(requests, 0)
        self._offset = dict(self._clips)
        self._frames: dict[tuple[str, int], int] = {}
        self._chunks: dict[tuple[str, int], int] = {}
        self.made_with: tuple[str, ...] | None = None

    def left(self) -> dict[str, Request]:
        """What is still to be generated, a request a side; their events are counted from here."""
        self._offset = dict(self._clips)
        return {
            side: replace(
                request,
                seed=(request.seed + self._clips[side]) % (MAX_SEED + 1),
                takes=request.takes - self._clips[side],
            )
            for side, request in self.requests.items()
            if self._clips[side] < request.takes
        }

    def begin(self, begun: Begun) -> None:
        """A replica says what it makes its clips with.

        Raises:
            RequestError: If what was made before was made with something else.
        """
        # Sides that are finished have no weights any more: of what is left all must be the same.
        if self.made_with is not None and not set(begun.made_with) <= set(self.made_with):
            raise RequestError(OTHER)
        self.made_with = self.made_with or begun.made_with

    def new(self, event: Event) -> Event | None:
        """An event as one of the whole run; None if there was one like it before."""
        if isinstance(event, Queued):
            return event
        event = replace(event, take=event.take + self._offset[event.side])
        at = event.side, event.take
        if isinstance(event, Clip):
            self._clips[event.side] = event.take + 1
            return event
        seen, count = (
            (self._chunks, event.seq + 1)
            if isinstance(event, AudioChunk)
            else (self._frames, event.frames)
        )
        if count <= seen.get(at, 0):
            return None
        seen[at] = count
        return event
