"""Endpoints: compare, generate, read, models, score; the last event of each is complete."""

import random
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gradio.events import api as endpoint

from simba_music.conditioning.request import Request
from simba_music.generation.request import MAX_SEED, SIDES
from simba_music.hub.places import allowed
from simba_music.settings import settings
from simba_music.ui.api.results import (
    Alignment,
    ClipResult,
    Model,
    Reading,
    Result,
    alignment_of,
    clip_of,
)
from simba_music.ui.api.sounds import received
from simba_music.ui.opening import BACKBONES, Opening, read_side
from simba_music.ui.questions import sentences

if TYPE_CHECKING:  # see ui.opening
    from simba_music.generation.clip import Clip
    from simba_music.generation.comparison import Started

EVERY_S = 0.3  # at most one event of progress
_PLAIN = Request("")
_FIELDS = tuple(_PLAIN.as_dict())


class Run:
    """One request of a program: what it is answered with while it is generated."""

    def __init__(self, opening: Opening, folder: Path, sides: tuple[str, ...] = SIDES):
        self.opening, self.folder, self.sides = opening, folder, sides
        self.seed: int | None = None
        self.names, self.takes = dict[str, str](), 1
        self.clips, self.progress = list[ClipResult](), dict[str, float]()

    def events(self, left: str, right: str, raw: Mapping[str, object]) -> Iterator[Result]:
        """The result so far, again and again; the last is whole.

        Raises:
            UserError: As `Comparison.run`.
        """
        # A name that no one else has: who stops a run of the page stops no program's.
        session, shown = uuid.uuid4().hex, 0.0
        for _ in self.opening.waiting(session):
            yield self._with("The models are loading.")
        from simba_music.generation.clip import Clip, Progress, Queued
        from simba_music.generation.comparison import Started
        from simba_music.hub.fetch import Downloading

        comparison = self.opening.comparison.result()
        for event in comparison.run(left, right, raw, session, sides=self.sides):
            urgent = isinstance(event, Clip | Started)
            if isinstance(event, Started):
                self._begin(event)
            elif isinstance(event, Clip):
                self._add(event)
            elif isinstance(event, Progress):
                share = (event.take + event.frames / event.total_frames) / self.takes
                self.progress[self.names[event.side]] = round(share, 4)
            if urgent or time.monotonic() - shown >= EVERY_S:
                shown = time.monotonic()
                note = f"Downloading {event.repository}." if isinstance(event, Downloading) else ""
                if isinstance(event, Queued):
                    note = f"Number {event.place} of those who wait."
                yield self._with(note)
        yield self._with()

    def _with(self, note: str = "") -> Result:
        notes, progress = [note] if note else [], dict(self.progress)
        return Result(seed=self.seed, clips=list(self.clips), progress=progress, notes=notes)

    def _begin(self, started: "Started") -> None:
        self.seed, self.takes = started.request.seed, started.request.takes
        names = started.pipeline.names()
        if len(self.sides) == 1:
            names = {side: model.origin.name for side, model in started.pipeline.models.items()}
        self.names = {side: names[side] for side in self.sides}
        self.progress = dict.fromkeys(self.names.values(), 0.0)

    def _add(self, clip: "Clip") -> None:
        from simba_music import audio
        from simba_music.generation.recipe import stem_of, tags_of

        name = self.names[clip.side]
        path = self.folder / f"{stem_of(clip.recipe, name)}.wav"
        audio.write(path, clip.waveform, tags_of(clip.recipe))
        self.progress[name] = (clip.take + 1) / self.takes
        order = list(self.names.values())
        self.clips.append(clip_of(clip, name, str(path), path.name))
        self.clips.sort(key=lambda one: order.index(one["model"]))


class Endpoints:
    """What programs call; every check holds here, and every error is a sentence."""

    def __init__(self, opening: Opening):
        self.opening = opening

    def run(
        self, sides: tuple[str, ...], left: str, right: str, raw: dict[str, object]
    ) -> Iterator[Result]:
        """Generate; a seed that is None is drawn."""
        if raw["seed"] is None:
            raw["seed"] = random.SystemRandom().randrange(MAX_SEED + 1)
        with sentences(), tempfile.TemporaryDirectory() as folder:
            yield from Run(self.opening, Path(folder), sides).events(left, right, raw)

    def models(self) -> list[Model]:
        """The models that may be named: the two of the page, the bundled, those offered here."""
        own = {side.source: side for side in self.opening.sides.values()}
        found = []
        for name in dict.fromkeys([*own, *allowed()]):
            side = own.get(name) or read_side(name)
            found.append(
                Model(
                    name=name,
                    kind=BACKBONES[side.backbone] if side else None,
                    longest_s=side.longest_s if side else None,
                    sha256=side.sha256 if side else None,
                    default=name in own,
                )
            )
        return found

    def read(self, prompt: str, seed: int = 0, draw: bool = True) -> Reading:
        """What the models read from a prompt, without generating."""
        with sentences():
            found = self.opening.reader().read(prompt, seed, draw)
            return Reading(
                wanted=list(found.wanted),
                denied=list(found.denied),
                tempo=found.tempo,
                key=found.key,
                metre=found.metre,
                chords=list(found.chords),
                cannot=list(found.cannot),
                note=found.note,
                drawn=dict(found.drawn),
            )

    def score(self, prompt: str, audio: str) -> Alignment | None:
        """How well a sound fits a prompt; null where the page has no scorer.

        Args:
            prompt: in words.
            audio: the address or path of a clip of this server, or a sound file in base64.
        """
        with sentences():
            from simba_music.generation.request import validate_request

            pipeline = self.opening.comparison.result().pipeline
            request = validate_request(pipeline.limits(), prompt=prompt)
            if pipeline.scorer is None:
                return None
            return alignment_of(pipeline.scorer.score(received(audio), request.prompt))


def _described(function: Callable[..., object], result: type) -> Callable[..., object]:
    """A generator whose description has the type of what it yields, which Gradio does not see."""
    function.__annotations__["return"] = result
    return function


def build(opening: Opening) -> None:
    """Add the endpoints to the page that is being laid out."""
    at, (left, right) = Endpoints(opening), (side.source for side in opening.sides.values())
    drawn = settings().draw
    each = {"concurrency_limit": opening.at_once, "concurrency_id": "generate"}

    def compare(
        prompt: str,
        duration_s: float = _PLAIN.duration_s,
        seed: int | None = None,
        takes: int = _PLAIN.takes,
        temperature: float = _PLAIN.temperature,
        top_k: int = _PLAIN.top_k,
        top_p: float = _PLAIN.top_p,
        guidance: float = _PLAIN.guidance,
        negative: str = "",
        draw: bool = drawn,
        left: str = left,
        right: str = right,
    ) -> Iterator[Result]:
        """Generate music of a prompt with both models, from one seed, which is drawn if null."""
        raw = {name: value for name, value in locals().items() if name in _FIELDS}
        yield from at.run(SIDES, left, right, raw)

    def generate(
        prompt: str,
        duration_s: float = _PLAIN.duration_s,
        seed: int | None = None,
        takes: int = _PLAIN.takes,
        temperature: float = _PLAIN.temperature,
        top_k: int = _PLAIN.top_k,
        top_p: float = _PLAIN.top_p,
        guidance: float = _PLAIN.guidance,
        negative: str = "",
        draw: bool = drawn,
        model: str = left,
    ) -> Iterator[Result]:
        """Generate music of a prompt with one model; a seed that is null is drawn."""
        raw = {name: value for name, value in locals().items() if name in _FIELDS}
        yield from at.run(SIDES[:1], model, model, raw)

    endpoint(_described(compare, Result), api_name="compare", **each)
    endpoint(_described(generate, Result), api_name="generate", **each)
    endpoint(at.read, api_name="read", concurrency_limit=2)
    endpoint(at.models, api_name="models", concurrency_limit=2)
    endpoint(at.score, api_name="score", concurrency_limit=1)
