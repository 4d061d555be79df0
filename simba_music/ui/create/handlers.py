"""Handlers: what the page asks of the server: a run, a reading, a stop, the example, a choice."""

import random
import re
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from simba_music.errors import RequestError
from simba_music.errors.incidents import user_message
from simba_music.generation.request import MAX_SEED, SIDES
from simba_music.ui.look.words import say
from simba_music.ui.opening import Opening
from simba_music.ui.questions import answered, is_local, listener_of

if TYPE_CHECKING:  # see ui.opening
    from simba_music.generation.clip import Clip
    from simba_music.listening.votes.open_choices import OpenPair
    from simba_music.ui.create.view import View

Data = dict[str, Any]
FIELDS = (  # of a request, as the page may name them
    "duration_s",
    "takes",
    "temperature",
    "top_k",
    "top_p",
    "guidance",
    "negative",
    "draw",
    "grown_s",
)
PAIRS = 300  # pairs that can still be preferred
_RUN = re.compile(r"[0-9a-f]{32}")


def request_of(data: Data) -> Data:
    """Fields of a request in what the page sends; a seed that is not given is drawn.

    Raises:
        RequestError: If it is not in the form that the page sends.
    """
    settings = data.get("settings")
    if not isinstance(settings, dict):
        raise RequestError("settings must be an object with named fields. Reload the page.")
    raw = {name: settings[name] for name in FIELDS if name in settings}
    prompt, chords = data.get("prompt"), settings.get("chords")
    if isinstance(prompt, str) and isinstance(chords, str) and chords.strip():
        prompt = f"{prompt.strip()}, chords: {chords.strip()}" if prompt.strip() else ""
    seed = settings.get("seed")
    drawn = random.SystemRandom().randrange(MAX_SEED + 1) if seed is None else seed
    return raw | {"prompt": prompt, "seed": drawn}


class Handlers:
    """What the page may ask; `keep` puts a file where browsers can fetch it."""

    def __init__(self, opening: Opening, keep: Callable[[Path], Path]):
        self.opening, self.keep = opening, keep
        self._pairs: OrderedDict[str, OpenPair] = OrderedDict()
        self._lock = threading.Lock()
        self._example: Data | None = None

    def asked_by_page(self) -> list[Any]:
        """What the script of the page may call: functions, since Gradio marks them."""

        def read_prompt(data: Any) -> Data:
            return self.read(data)

        def stop_run(data: Any) -> Data:
            return self.stop(data)

        def open_example(data: Any) -> Data:
            return self.example(data)

        def prefer_clip(data: Any, request: gr.Request) -> Data:
            return self.prefer(data, request)

        return [read_prompt, stop_run, open_example, prefer_clip]

    def play(self, data: Data) -> Iterator[Data]:
        """Messages of a run: of its sound as it is made, and of its end, whatever that is."""
        run = data.get("run")
        if not isinstance(run, str) or not _RUN.fullmatch(run):
            return
        try:
            for message in self._run(run, data):
                yield {"run": run} | message
        except Exception as error:
            yield {"run": run, "error": user_message(error)}
        finally:
            self.opening.stops.clear(run)

    def _run(self, run: str, data: Data) -> Iterator[Data]:
        if self.opening.stops.wanted(run):
            return
        raw = request_of(data)
        for _ in self.opening.waiting(run):
            yield {"note": say("create", "loading")}
        from simba_music.ui.create.view import View, grouped, written

        comparison = self.opening.comparison.result()
        left, right = (str(data.get(side, "")) for side in SIDES)
        own = _own(data.get("own"))
        with tempfile.TemporaryDirectory() as folder:
            write = written(Path(folder))

            def keep(clip: "Clip") -> Path:
                return self.keep(write(clip))

            view = View(run, keep)
            engine = str(data.get("engine", "auto"))
            events = comparison.run(left, right, raw, run, stream=True, own=own, engine=engine)
            yield from grouped(view, events)
            self._remember(run, view)
            yield view.end()

    def _remember(self, run: str, view: "View") -> None:
        """Have a finished pair at hand for whoever prefers one of its clips."""
        from simba_music.listening.gallery import about, sampling_of
        from simba_music.listening.votes.open_choices import OpenPair

        assert view.started is not None
        if not all(view.clips.values()):
            return
        pairs = {}
        for a, (left, _) in view.clips["left"].items():
            for b, (right, _) in view.clips["right"].items():
                sides = {side: about(clip) for side, clip in (("left", left), ("right", right))}
                for side, clip in (("left", left), ("right", right)):
                    sides[side] |= {"seed": clip.recipe.request.seed}
                request, length_s = left.recipe.request, left.waveform.duration_s
                pairs[f"{run}:{a}-{b}"] = OpenPair(
                    request.prompt,
                    request.seed,
                    length_s,
                    sampling_of(left),
                    sides,
                    datetime.now(UTC),
                )
        with self._lock:
            self._pairs |= pairs
            while len(self._pairs) > PAIRS:
                self._pairs.popitem(last=False)

    def stop(self, data: Any) -> Data:
        """End a run, by the name that its page gave it."""
        run = data.get("run") if isinstance(data, dict) else None
        if isinstance(run, str) and _RUN.fullmatch(run):
            self.opening.stops.request(run)
        return {}

    def read(self, data: Any) -> Data:
        """What is read from a prompt, as the command `simba-music read` does it, in short words."""

        def work(given: Data) -> Data:
            if not self.opening.comparison.done():
                return {"waiting": True}
            from simba_music.ui.create.reading import chips

            raw, reader = request_of(given), self.opening.reader()
            found = reader.read(raw["prompt"], raw["seed"], raw.get("draw") is True)
            if given["settings"].get("seed") is None:  # what a seed would draw is not known yet
                found = replace(found, drawn={})
            return {"chips": chips(found)}

        return answered(work, data)

    def example(self, data: Any) -> Data:
        """The pair that is ready to play, `waiting` while there is none, nothing if none comes."""

        def work(_: Data) -> Data:
            if not self.opening.example.done():
                return {"waiting": True}
            found = self.opening.example.result()
            if found is None:
                return {}
            with self._lock:
                if self._example is None:
                    files = {letter: str(self.keep(one)) for letter, one in found.files.items()}
                    self._example = found.shown | {"files": files}
            return self._example

        return answered(work, data)

    def prefer(self, data: Any, request: gr.Request) -> Data:
        """Keep which clip of a pair is preferred, apart from blind votes."""

        def work(given: Data) -> Data:
            from simba_music.listening.votes.ballot import Ballot, VoteError, read_ballot
            from simba_music.listening.votes.open_choices import keep_choice

            pair = self._pairs.get(str(given.get("pair")))
            if pair is None:
                raise VoteError(say("create", "gone"))
            test = self.opening.test.result()
            fields: Mapping[str, Any] = {k: given[k] for k in ("preference", "heard", "switches")}
            ballot: Ballot = read_ballot({"ticket": "", **fields})
            signed, name = listener_of(test, given.get("listener"), is_local(request))
            heard = {str(letter): found for letter, found in ballot.heard.items()}
            keep_choice(test, pair, name, ballot.preference, heard, ballot.switches)
            return {"listener": signed}

        return answered(work, data)


def _own(given: Any) -> dict[str, dict[str, Any]] | None:
    """By side what A and B each have otherwise, which is a seed and a draw; None if nothing."""
    if not isinstance(given, dict) or set(given) != {"A", "B"}:
        return None
    known = ({"seed"}, {"seed", "subseed"})
    if not all(isinstance(one, dict) and set(one) in known for one in given.values()):
        return None
    return dict(zip(SIDES, (given["A"], given["B"]), strict=True))
