"""Comparison: from what a visitor asks for to the clips of both sides, downloads included."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from simba_music.conditioning.request import Request
from simba_music.errors import CheckpointError
from simba_music.generation.pipeline import Pipeline
from simba_music.generation.request import SIDES
from simba_music.generation.service import Event
from simba_music.generation.stops import Stops
from simba_music.generation.zero_gpu import ZeroGpu
from simba_music.hub.fetch import Downloading
from simba_music.hub.places import allowed, may_load_any


@dataclass(frozen=True)
class Started:
    """The request is checked and its models are loaded: generation begins."""

    request: Request
    pipeline: Pipeline


class Comparison:
    """Loads what both sides name, checks the request, generates; for the page and its API."""

    def __init__(self, pipeline: Pipeline, stops: Stops):
        self.pipeline, self.stops = pipeline, stops
        self.gpu = ZeroGpu(pipeline)

    def _permit(self, *names: str) -> None:
        """The page's list of models is no check: any program may call the handler.

        Raises:
            CheckpointError: If visitors may not load one of these.
        """
        own = (model.origin.id for model in self.pipeline.models.values())
        known = {*allowed(), *own}
        for name in names:
            if name not in known and not may_load_any():
                raise CheckpointError(
                    f"{name!r} is not offered here. Choose one of: {', '.join(sorted(known))}; or "
                    "run the app yourself to load any model."
                )

    def run(
        self,
        left: str,
        right: str,
        raw: Mapping[str, object],
        session: str,
        stream: bool = False,
        sides: Sequence[str] = SIDES,
    ) -> Iterator[Downloading | Started | Event]:
        """Yield progress of downloads, then `Started`, then what the service yields.

        Args:
            left: checkpoint of the left side.
            right: that of the right side.
            raw: fields of the request, unchecked.
            session: whose run it is; `stops` ends it by this name.
            stream: whether sound is yielded while it is made.
            sides: which are generated.

        Raises:
            UserError: If a checkpoint cannot be loaded or the request is wrong.
        """
        self.stops.clear(session)
        self._permit(left, right)
        chosen = self.pipeline
        for step in self.pipeline.switching(left, right):
            if isinstance(step, Pipeline):
                chosen = step
                continue
            if self.stops.wanted(session):
                raise CheckpointError("The download was stopped; what has arrived is kept.")
            yield step
        service = self.gpu.of(chosen)
        request = service.validate(sides, **raw)
        yield Started(request, chosen)
        yield from service.generate(
            request, sides, should_stop=self.stops.asked_by(session), stream=stream
        )
