"""Run view: what a run of both models changes on the page, event by event, sound included."""

import time
import uuid
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from simba_music import audio
from simba_music.generation.clip import AudioChunk, Clip, Progress
from simba_music.generation.comparison import Comparison, Started
from simba_music.generation.pipeline import Pipeline
from simba_music.generation.recipe import stem_of, tags_of
from simba_music.generation.request import SIDES
from simba_music.generation.service import Event
from simba_music.generation.streaming.sound import ChunkMessage, message
from simba_music.hub.fetch import Downloading
from simba_music.scoring.score import Score
from simba_music.ui import ab_player
from simba_music.ui.cards import (
    download_card,
    progress_card,
    result_card,
    title,
    verdict_card,
)
from simba_music.ui.keep.wiring import mark
from simba_music.ui.opening import SEED, SOUND, VERDICT, waiting_card

Changes = dict[str, Any]  # by part of the page: "left-card", "left-player", `SEED` and so on
PLAYED_AS = dict(zip(SIDES, "AB", strict=True))
GROUP_S = 0.2  # an update of the page costs about as much as a block of frames


class View:
    """What one run changes on the page, event by event; WAV files go to `folder`."""

    def __init__(self, left: str, right: str, folder: Path, stream: bool = False):
        self.sources, self.folder = {"left": left, "right": right}, folder
        self.stream, self.run = stream, uuid.uuid4().hex
        self.chunks: list[ChunkMessage] = []
        self.headings = dict.fromkeys(SIDES, "")
        self.files: dict[str, str] = {}
        self.scores: dict[str, Score | None] = {}
        self.recipes: dict[str, dict[str, object]] = {}
        self.pipeline: Pipeline | None = None

    def show(self, event: Downloading | Started | Event) -> Changes:
        """What an event changes."""
        if isinstance(event, Downloading):
            of = [s for s in SIDES if self.sources[s].partition("@")[0] == event.repository]
            return {f"{side}-card": download_card(event) for side in of or SIDES}
        if isinstance(event, Started):
            return self._begin(event)
        if isinstance(event, Progress):
            return {f"{event.side}-card": progress_card(self.headings[event.side], event)}
        if isinstance(event, AudioChunk):
            self.chunks.append(message(event, PLAYED_AS[event.side]))
            return {}
        return self._finish(event)

    def _begin(self, event: Started) -> Changes:
        self.pipeline = event.pipeline
        self.headings = {side: title(event.pipeline, side) for side in SIDES}
        asked = event.request.as_dict()
        kept = {"prompt": asked.pop("prompt"), "seed": asked.pop("seed"), "settings": asked}
        started = mark("simba:start", id=self.run, models=self.sources, **kept)
        found: Changes = {SEED: event.request.seed, VERDICT: started}
        for side in SIDES:
            waits = side != SIDES[0] and not event.pipeline.at_once()
            note = "Waiting for its turn" if waits else "Starting"
            found[f"{side}-card"] = waiting_card(self.headings[side], note)
            found[f"{side}-player"] = None
        if self.stream:
            names, models = event.pipeline.names(), event.pipeline.models
            rate = max(models[side].codec.sample_rate for side in SIDES)
            shown = [escape(names[side]) for side in SIDES]
            found[SOUND] = ab_player.started(self.run, shown, event.request.duration_s, rate)
        return found

    def _finish(self, clip: Clip) -> Changes:
        assert self.pipeline is not None
        path = self.folder / f"{stem_of(clip.recipe, clip.name)}.wav"
        notice = self.pipeline.models[clip.side].origin.notice
        audio.write(path, clip.waveform, tags_of(clip.recipe))
        self.files[clip.side], self.scores[clip.side] = path.name, clip.score
        self.recipes[clip.side] = clip.recipe.as_json()
        card = result_card(self.headings[clip.side], clip, notice)
        return {f"{clip.side}-card": card, f"{clip.side}-player": str(path)}

    def sound(self) -> Changes:
        """The sound that has come since the last time, for the player of both."""
        chunks, self.chunks = self.chunks, []
        return {SOUND: ab_player.playing(self.run, chunks)} if chunks else {}

    def silence(self) -> Changes:
        """No more sound comes."""
        return {SOUND: ab_player.ended(self.run)} if self.stream else {}

    def end(self) -> Changes:
        """What the end of the run changes: the verdict, the player of both, sides left out."""
        assert self.pipeline is not None
        names = self.pipeline.names()
        found: Changes = {VERDICT: verdict_card(names, self.scores)} | self.silence()
        if len(self.files) == len(SIDES):
            files = [self.files[side] for side in SIDES]
            found[VERDICT] += ab_player.both(files, [escape(names[side]) for side in SIDES])
        found[VERDICT] += self._kept()
        for side in set(SIDES) - set(self.files):
            found[f"{side}-card"] = waiting_card(self.headings[side], "Stopped before it began")
        return found

    def _kept(self) -> str:
        """The end of the run, for what keeps its clips."""
        done = {side: self.files[side] for side in SIDES if side in self.files}
        if not done:
            return mark("simba:end")
        pair = {"id": self.run, "recipes": [self.recipes[side] for side in done]}
        return mark("simba:pair", pair=pair, files=done)


def run_page(
    comparison: Comparison,
    left: str,
    right: str,
    raw: Mapping[str, object],
    session: str,
    folder: Path,
    stream: bool = False,
) -> Iterator[Changes]:
    """What changes on the page while both sides are generated, and with `stream` their sound.

    Raises:
        UserError: If a checkpoint cannot be loaded or the request is wrong.
    """
    view = View(left, right, folder, stream)
    try:
        yield from grouped(view, comparison.run(left, right, raw, session, stream))
    except Exception:
        if stream:
            yield view.silence()
        raise
    yield view.end()


def grouped(view: View, events: Iterator[Downloading | Started | Event]) -> Iterator[Changes]:
    """What events change, together for those that come within `GROUP_S`.

    The beginning, the first sound of a side and a clip do not wait. Where a part of the page
    changes twice, its last form is shown; sound is added up.
    """
    waiting: Changes = {}
    heard, shown = set[str](), 0.0
    for event in events:
        waiting |= view.show(event)
        urgent = isinstance(event, Started | Clip)
        if isinstance(event, AudioChunk) and event.side not in heard:
            heard.add(event.side)
            urgent = True
        if urgent or time.monotonic() - shown >= GROUP_S:
            yield waiting | view.sound()
            waiting, shown = {}, time.monotonic()
    if last := waiting | view.sound():
        yield last
