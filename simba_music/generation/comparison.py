"""Comparison: from what a visitor asks for to the clips of both sides, downloads included."""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from simba_music.conditioning.request import Request
from simba_music.errors import CheckpointError
from simba_music.errors.logs import private
from simba_music.files.room import check_disk, check_memory
from simba_music.generation.pipeline import Pipeline
from simba_music.generation.request import SIDES
from simba_music.generation.service import Event
from simba_music.generation.stops import Stops
from simba_music.generation.streaming.activity import Activity
from simba_music.generation.zero_gpu import ZeroGpu
from simba_music.hub.fetch import Downloading
from simba_music.hub.places import allowed, may_load_any

CLIPS_BYTES = 50e6  # what the files of a run take at most, beside the space that stays free


@dataclass(frozen=True)
class Started:
    """The request is checked and its models are loaded: generation begins."""

    request: Request
    pipeline: Pipeline


class Comparison:
    """Loads what both sides name, checks the request, generates; for the page and its API."""

    def __init__(self, pipeline: Pipeline, stops: Stops, activity: Activity | None = None):
        self.pipeline, self.stops = pipeline, stops
        self.activity = activity or Activity()
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
    ) -> Iterator[Downloading | Started | Event]:
        """Yield progress of downloads, then `Started`, then what the service yields.

        Args:
            left: checkpoint of the left side.
            right: that of the right side.
            raw: fields of the request, unchecked.
            session: whose run it is; `stops` ends it by this name.
            stream: whether sound is yielded while it is made.

        Raises:
            UserError: If a checkpoint cannot be loaded or the request is wrong.
        """
        self.stops.clear(session)
        with self.activity.counting_refusals():
            self._permit(left, right)
        check_memory()
        check_disk(Path(tempfile.gettempdir()), CLIPS_BYTES, "a clip")
        chosen = self.pipeline
        for step in self.pipeline.switching(left, right):
            if isinstance(step, Pipeline):
                chosen = step
                continue
            if self.stops.wanted(session):
                raise CheckpointError("The download was stopped; what has arrived is kept.")
            yield step
        service = self.gpu.of(chosen)
        with self.activity.counting_refusals():
            request = service.validate(SIDES, **raw)
        yield Started(request, chosen)
        stop = self.stops.asked_by(session)
        with private(request.prompt, request.negative):
            made = service.generate(request, should_stop=stop, stream=stream)
            yield from self.activity.watched(made)
