"""Service: the one door to generation, for page, blind test, command line, studies, evaluation."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from simba_music.conditioning.request import Request
from simba_music.generation.clip import AudioChunk, Clip, Progress, Queued
from simba_music.generation.request import SIDES

if TYPE_CHECKING:  # it is a service itself
    from simba_music.generation.pipeline import Pipeline

BATCH = 8  # requests that are decoded together

Event = Queued | Progress | AudioChunk | Clip
Asked = Request | Mapping[str, Request]  # one for all sides, or one a side


def asked_of(request: Asked, sides: Sequence[str]) -> dict[str, Request]:
    """The request of each side."""
    if isinstance(request, Request):
        return dict.fromkeys(sides, request)
    return {side: request[side] for side in sides}


def never() -> bool:
    """A take that nobody stops."""
    return False


class GenerationService(Protocol):
    """Generates for two sides.

    `Pipeline` does it here, `OnZeroGpu` in a Space's GPU process, `serving.ray` on replicas.
    """

    def validate(self, sides: Sequence[str] = SIDES, **raw: object) -> Request:
        """A request within what these sides allow.

        Raises:
            RequestError: On the first field that is out of range.
        """

    def generate(
        self,
        request: Asked,
        sides: Sequence[str] = SIDES,
        should_stop: Callable[[], bool] = never,
        stream: bool = False,
    ) -> Iterator[Event]:
        """Progress every few frames, with `stream` their sound too, and a Clip a take and side.

        Where others are served first, `Queued` comes before all of these, now and then.

        Where there are cores for all sides they are generated at once, and their events come as
        they are made; those of one side keep their order, take after take. Closing the iterator
        cancels within a block of frames.

        A clip that is nearly empty is drawn again, at most three times, where the request leaves
        that open; `streaming.redrawing` says which, and its recipe which draw it is.

        When `should_stop` turns true, the takes in progress end there and are yielded as they are
        (`stopped_early`), and nothing more is begun. Every side asks it, from a thread of its own;
        with ZeroGPU it is sent to another process, so it must be picklable.
        """

    def generate_batch(self, requests: Sequence[Request], side: str) -> list[Clip]:
        """A clip a request, one take each, decoded together; they share their sampling settings."""


class Place(Protocol):
    """Where runs are made: it has the service for every pair of models."""

    @property
    def here(self) -> bool:
        """Whether that is in this process."""

    def of(self, chosen: "Pipeline") -> GenerationService:
        """The service that generates with these models."""


class Session(Protocol):
    """Endless playing: sound goes on until it is closed, and conditions may change meanwhile."""

    def __iter__(self) -> Iterator[Event]:
        """Progress and sound, without end."""

    def update(self, request: Request) -> None:
        """Go on under the conditions of another request."""

    def close(self) -> None:
        """Cancel within one chunk; what was made is kept."""


class LiveService(GenerationService, Protocol):
    """A service that can also play on without end."""

    def open(self, request: Request, side: str) -> Session:
        """Begin to play."""


def generate_many(
    service: GenerationService, requests: Sequence[Request], side: str, batch: int = BATCH
) -> Iterator[Clip]:
    """A clip a request, in their order, as many decoded together as `batch` says."""
    for start in range(0, len(requests), batch):
        yield from service.generate_batch(requests[start : start + batch], side)


def generate_pairs(
    service: GenerationService, requests: Sequence[Request], batch: int = BATCH
) -> Iterator[dict[str, Clip]]:
    """The clips of both sides for every request, in their order."""
    each = (generate_many(service, requests, side, batch) for side in SIDES)
    for clips in zip(*each, strict=True):
        yield dict(zip(SIDES, clips, strict=True))
