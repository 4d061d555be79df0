"""View: what a run of both models says to the page, event by event, sound included.

A message is a dict of JSON, with `run` in each. Its other fields, each of which may be missing:
`note` in words; `started`; `progress` and `clips` by side; `chunks` of sound; `left_s`, how long
all of it will take; `ended` or `error`, with which it is over.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from simba_music import audio
from simba_music.generation.clip import AudioChunk, Clip, Progress, Queued
from simba_music.generation.comparison import Started
from simba_music.generation.recipe import stem_of, tags_of
from simba_music.generation.request import SIDES
from simba_music.generation.service import Event
from simba_music.generation.streaming.sound import message
from simba_music.hub.fetch import Downloading
from simba_music.ui.create.details import details
from simba_music.ui.create.verdict import level, rank, share, verdict
from simba_music.ui.look.words import say, words
from simba_music.ui.opening import BACKBONES

Message = dict[str, Any]
PLAYED_AS = dict(zip(SIDES, "AB", strict=True))
GROUP_S = 0.2  # an update of the page costs about as much as a block of frames


def titles(started: Started) -> dict[str, dict[str, str]]:
    """What each side is called: `title`, a few words `about` it, and the `tone` it is drawn in."""
    models, found = started.pipeline.models, {}
    same = len({model.origin.sha256 for model in models.values()}) == 1
    kinds = {model.lm.config.backbone for model in models.values()}
    for side, model in models.items():
        backbone, name = model.lm.config.backbone, model.origin.name
        title = BACKBONES[backbone] if name == backbone else name
        about = words()["kinds"][backbone] if name == backbone else BACKBONES[backbone]
        if same:
            about = say("create", "seed_word", n=started.of(side).seed)
        # A kind of model keeps its colour wherever it stands.
        second = side == "right" if len(kinds) == 1 else backbone == "transformer"
        found[PLAYED_AS[side]] = {
            "title": title,
            "about": about,
            "tone": "right" if second else "left",
        }
    return found


class View:
    """What one run says; finished clips are given to `keep`, which says where the page finds them.

    `clips` and `started` are what there was, once it is over.
    """

    def __init__(self, run: str, keep: Callable[[Clip], Path]):
        self.run, self.keep = run, keep
        self.started: Started | None = None
        self.clips: dict[str, dict[int, tuple[Clip, Path]]] = {side: {} for side in SIDES}
        self._begun: dict[str, float] = {}
        self._frames: dict[str, int] = {}
        self._total = 0
        self._clock = time.monotonic()

    def show(self, event: Downloading | Started | Event) -> Message:
        """What an event says."""
        if isinstance(event, Downloading):
            done, total = f"{event.done / 1e6:.0f}", f"{event.total / 1e6:.0f}"
            name = event.repository
            return {"note": say("create", "downloading", name=name, done=done, total=total)}
        if isinstance(event, Started):
            return self._begin(event)
        if isinstance(event, Queued):
            return {"note": say("create", "place", n=event.place)}
        if isinstance(event, Progress):
            return self._progress(event)
        if isinstance(event, AudioChunk):
            # What is heard meanwhile is the first take; the others come with their clips.
            first = event.take == 0
            return {"chunks": [message(event, PLAYED_AS[event.side])]} if first else {}
        return self._finish(event)

    def _begin(self, started: Started) -> Message:
        self.started, self._clock = started, time.monotonic()
        models, request = started.pipeline.models, started.request
        rate = max(models[side].codec.sample_rate for side in SIDES)
        asked = {PLAYED_AS[side]: started.of(side).as_dict() for side in SIDES}
        sources = {PLAYED_AS[side]: models[side].origin.id for side in SIDES}
        return {
            "started": {
                "names": titles(started),
                "seconds": request.duration_s,
                "rate": rate,
                "takes": request.takes,
                "requests": asked,
                "models": sources,
                "engine": started.pipeline.choice.name,
            }
        }

    def _progress(self, event: Progress) -> Message:
        assert self.started is not None
        takes = self.started.of(event.side).takes
        now = time.monotonic()
        self._begun.setdefault(event.side, now - event.elapsed_s)
        self._frames[event.side] = event.take * event.total_frames + event.frames
        self._total = event.total_frames
        done = self._frames[event.side] / (takes * event.total_frames)
        shown = {"share": done, "take": event.take, "takes": takes, "again": event.subseed > 0}
        return {"progress": {PLAYED_AS[event.side]: shown}, "left_s": self.left_s(now)}

    def left_s(self, now: float) -> float:
        """How long it takes until both sides are done, in s, as far as can be said."""
        assert self.started is not None
        left, whole = dict[str, float](), dict[str, float]()
        for side, frames in self._frames.items():
            total = self.started.of(side).takes * self._total
            a_frame = (now - self._begun[side]) / max(frames, 1)
            left[side], whole[side] = (total - frames) * a_frame, total * a_frame
        if self.started.pipeline.at_once(SIDES):
            return max(left.values())
        # A side that has not begun will take about as long as the one before it.
        waiting = len(SIDES) - len(left)
        return sum(left.values()) + waiting * max(whole.values())

    def _finish(self, clip: Clip) -> Message:
        assert self.started is not None
        path = self.keep(clip)
        self.clips[clip.side][clip.take] = clip, path
        names = titles(self.started)[PLAYED_AS[clip.side]]
        notice = self.started.pipeline.models[clip.side].origin.notice
        match, drawn = say("match", level(clip.score)), clip.recipe.request.subseed or 0
        about = {
            "take": clip.take,
            "seed": clip.recipe.request.seed,
            "subseed": drawn,
            "file": str(path),
            "match": f"{match} · {say('create', 'again')}" if drawn else match,
            "share": share(clip.score),
            "stopped": clip.stopped_early,
            "seconds": clip.waveform.duration_s,
            "details": details(clip, names["title"], notice),
            "recipe": clip.recipe.as_json(),
        }
        return {"clips": {PLAYED_AS[clip.side]: [about]}}

    def end(self) -> Message:
        """That it is over: the takes of each side by rank, and a verdict on any two of them."""
        assert self.started is not None
        scores = {
            side: {take: clip.score for take, (clip, _) in found.items()}
            for side, found in self.clips.items()
        }
        named = titles(self.started)
        a, b = named["A"], named["B"]
        names = a["title"], b["title"]
        if names[0] == names[1]:
            names = f"{a['title']} ({a['about']})", f"{b['title']} ({b['about']})"
        verdicts = {
            f"{i}-{j}": verdict(names, one, other)
            for i, one in scores["left"].items()
            for j, other in scores["right"].items()
        }
        early = any(
            clip.stopped_early for found in self.clips.values() for clip, _ in found.values()
        )
        return {
            "ended": {
                "ranks": {PLAYED_AS[side]: rank(found) for side, found in scores.items()},
                "verdicts": verdicts,
                "stopped": early or not all(scores.values()),
                "seconds": time.monotonic() - self._clock,
            }
        }


def add(first: Message, second: Message) -> Message:
    """Two messages as one: of what changes twice the last form is kept, sound and clips add up."""
    found = dict(first)
    for name, value in second.items():
        before = found.get(name)
        if name == "chunks" and before:
            found[name] = [*before, *value]
        elif name == "progress" and before:
            found[name] = before | value
        elif name == "clips" and before:
            found[name] = {s: [*before.get(s, []), *value.get(s, [])] for s in {*before, *value}}
        else:
            found[name] = value
    return found


def grouped(view: View, events: Iterator[Downloading | Started | Event]) -> Iterator[Message]:
    """What events say, together for those that come within `GROUP_S`.

    The beginning, the first sound of a side and a clip do not wait.
    """
    waiting: Message = {}
    heard, shown = set[str](), 0.0
    for event in events:
        waiting = add(waiting, view.show(event))
        urgent = isinstance(event, Started | Clip)
        if isinstance(event, AudioChunk) and event.side not in heard:
            heard.add(event.side)
            urgent = True
        if waiting and (urgent or time.monotonic() - shown >= GROUP_S):
            yield waiting
            waiting, shown = {}, time.monotonic()
    if waiting:
        yield waiting


def written(folder: Path) -> Callable[[Clip], Path]:
    """What writes a clip, with its recipe, as a WAV file whose name says what it is."""

    def write(clip: Clip) -> Path:
        path = folder / f"{stem_of(clip.recipe, clip.name)}.wav"
        audio.write(path, clip.waveform, tags_of(clip.recipe))
        return path

    return write
