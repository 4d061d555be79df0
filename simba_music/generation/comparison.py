"""Comparison: from what a visitor asks for to the clips of both sides, downloads included."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

from simba_music.conditioning.request import Request
from simba_music.errors import CheckpointError, EngineError
from simba_music.errors.logs import private
from simba_music.files.room import check_disk, check_memory
from simba_music.generation.pipeline import Pipeline
from simba_music.generation.request import MAX_SEED, SIDES
from simba_music.generation.service import Event, Place
from simba_music.generation.stops import Stops
from simba_music.generation.streaming.activity import Activity
from simba_music.generation.zero_gpu import ZeroGpu
from simba_music.hub.fetch import Downloading
from simba_music.hub.places import allowed, may_load_any
from simba_music.settings import EngineName

CLIPS_BYTES = 50e6  # what the files of a run take at most, beside the space that stays free


@dataclass(frozen=True)
class Started:
    """The request is checked and its models are loaded: generation begins."""

    request: Request
    pipeline: Pipeline
    own: Mapping[str, Request] = field(default_factory=dict)  # of sides with another request

    def of(self, side: str) -> Request:
        """What a side is to generate."""
        return self.own.get(side, self.request)


class Comparison:
    """Loads what both sides name, checks the request, generates; for the page and its API."""

    def __init__(
        self,
        pipeline: Pipeline,
        stops: Stops,
        activity: Activity | None = None,
        place: Place | None = None,
    ):
        self.pipeline, self.stops = pipeline, stops
        self.activity = activity or Activity()
        self.place: Place = place or ZeroGpu(pipeline)

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
        own: Mapping[str, Mapping[str, object]] | None = None,
        engine: str = "auto",
        sides: Sequence[str] = SIDES,
    ) -> Iterator[Downloading | Started | Event]:
        """Yield progress of downloads, then `Started`, then what the service yields.

        Where both sides hold the same weights and ask for the same, the right one takes the seeds
        after those of the left, as the same seed would give the same clip twice.

        Args:
            left: checkpoint of the left side.
            right: that of the right side.
            raw: fields of the request, unchecked.
            session: whose run it is; `stops` ends it by this name.
            stream: whether sound is yielded while it is made.
            own: fields that a side has otherwise than `raw`, by side.
            engine: what decodes; `auto` is what the pipeline was loaded with.
            sides: which are generated.

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
        chosen = chosen.on_engine(_engine_named(engine))
        service = self.place.of(chosen)
        with self.activity.counting_refusals():
            requests = {
                side: service.validate(sides, **{**raw, **(own or {}).get(side, {})})
                for side in sides
            }
        first, last = (requests[side] for side in (sides[0], sides[-1]))
        digests = {model.origin.sha256 for model in chosen.models.values()}
        if len(sides) > 1 and len(digests) == 1 and first == last:
            seed = (last.seed + last.takes) % (MAX_SEED + 1)
            requests[sides[-1]] = replace(last, seed=seed)
        differing = {side: one for side, one in requests.items() if one != first}
        yield Started(first, chosen, differing)
        asked, stop = requests if differing else first, self.stops.asked_by(session)
        with private(*(text for r in requests.values() for text in (r.prompt, r.negative))):
            made = service.generate(asked, sides, should_stop=stop, stream=stream)
            yield from self.activity.watched(made)


def _engine_named(name: str) -> EngineName:
    """The engine of a name that came from outside.

    Raises:
        EngineError: If there is none.
    """
    found = next((one for one in get_args(EngineName) if one == name), None)
    if found is None:
        known = ", ".join(get_args(EngineName))
        raise EngineError(f"There is no engine {name!r}. Choose one of: {known}.")
    engine: EngineName = found
    return engine
