"""Compare tab: one prompt, two models, two players."""

import hashlib
import random
import re
import tempfile
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from simba_music import audio
from simba_music.conditioning.request import Request
from simba_music.errors import CheckpointError, UserError
from simba_music.generation.clip import Clip, Progress
from simba_music.generation.pipeline import Pipeline
from simba_music.generation.request import MAX_SEED, MIN_DURATION_S, SIDES
from simba_music.generation.zero_gpu import FIRST_TOKENS_PER_S, on_gpu, seconds_needed
from simba_music.hub.fetch import Downloading
from simba_music.models.checkpoint import allowed, may_load_any
from simba_music.scoring.score import Score
from simba_music.ui import ab_player
from simba_music.ui.cards import (
    download_card,
    progress_card,
    result_card,
    title,
    verdict_card,
    waiting_card,
)

EXAMPLES = [
    "calm solo piano, slow, sad",
    "upbeat funk with slap bass, brass section and drums",
    "peaceful ambient with warm pad and harp, slow",
    "energetic rock with distorted guitar, bass guitar and drums, fast",
    "jazz with saxophone, piano and double bass over drums, medium tempo",
    "chiptune lead, fast, joyful, video game",
    "cheerful folk with flute and acoustic guitar, brisk, D major",
    "dark techno with synth bass and a drum beat, 128 bpm",
]


def file_name(clip: Clip) -> str:
    """A WAV name that says model, prompt and seed."""
    words = re.sub(r"[^a-z0-9]+", "-", clip.recipe["request"]["prompt"].lower())[:40].strip("-")
    return f"{clip.name}-{words or 'clip'}-seed{clip.recipe['request']['seed']}.wav"


class Stops:
    """Sessions whose user pressed Stop; each stops only its own run.

    A mark is a file, because on ZeroGPU the run is in another process.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="simba-music-stops-"))

    def _mark(self, session: str) -> Path:
        # The browser chooses its session's name, so it is no file name.
        return self._folder / hashlib.sha256(session.encode("utf-8", "replace")).hexdigest()

    def request(self, session: str) -> None:
        """Ask the session's run to end."""
        self._mark(session).touch()

    def clear(self, session: str) -> None:
        """A new run begins, or one has ended."""
        self._mark(session).unlink(missing_ok=True)

    def wanted(self, session: str) -> bool:
        """Whether the session's run should end."""
        return self._mark(session).exists()


VERDICT, BOTH = "verdict", "both"
Changes = dict[str, tuple[Any, Any]]  # a side -> (card, path of a WAV); else -> (content, None)


class Runner:
    """Downloads, generates and writes WAVs for the page; yields what changes on it."""

    def __init__(self, pipeline: Pipeline, stops: Stops):
        self.pipeline, self.stops = pipeline, stops
        self.tokens_per_s = FIRST_TOKENS_PER_S
        self._on_gpu = on_gpu(self._generate_by_name, self._gpu_seconds)

    def _gpu_seconds(self, left: str, right: str, request: Request, session: str) -> int:
        rates = (side.codec.frame_rate for side in self.pipeline.models.values())
        return seconds_needed(round(request.duration_s * sum(rates)), self.tokens_per_s)

    def _generate_by_name(
        self, left: str, right: str, request: Request, session: str
    ) -> Iterator[Progress | Clip]:
        """Both models in one call of the GPU process, to which models cannot be sent."""
        yield from self._generate(self.pipeline.with_models(left, right), request, session)

    def _generate(
        self, chosen: Pipeline, request: Request, session: str
    ) -> Iterator[Progress | Clip]:
        yield from chosen.generate(request, SIDES, lambda: self.stops.wanted(session))

    def _permit(self, *names: str) -> None:
        """The page's list of models is no check: any program may call the handler.

        Raises:
            CheckpointError: If visitors may not load one of these.
        """
        known = {*allowed(), *(side.origin.id for side in self.pipeline.models.values())}
        for name in names:
            if name not in known and not may_load_any():
                raise CheckpointError(
                    f"{name!r} is not offered here. Choose one of: {', '.join(sorted(known))}; or "
                    "run the app yourself to load any model."
                )

    def run(
        self, left: str, right: str, raw: dict[str, Any], session: str, folder: Path
    ) -> Iterator[tuple[int | None, Changes]]:
        """Yield the seed, once it is checked, and what changes on each side.

        Raises:
            UserError: If a checkpoint cannot be loaded or the request is wrong.
        """
        self.stops.clear(session)
        self._permit(left, right)
        chosen = self.pipeline
        for step in self.pipeline.switching(left, right):
            if isinstance(step, Downloading):
                if self.stops.wanted(session):
                    raise CheckpointError("The download was stopped; what has arrived is kept.")
                sides = [s for s, name in zip(SIDES, (left, right), strict=True) if _of(name, step)]
                yield None, {s: (download_card(step), None) for s in sides or SIDES}
            else:
                chosen = step
        request = chosen.validate(**raw)
        headings = {side: title(chosen, side) for side in SIDES}
        waiting: Changes = {
            s: (waiting_card(headings[s], "Waiting for its turn"), None) for s in SIDES
        }
        yield request.seed, waiting | {VERDICT: ("", None), BOTH: ("", None)}
        done: dict[str, str] = {}
        scores: dict[str, Score | None] = {}
        events = (
            self._on_gpu(left, right, request, session)
            if self._on_gpu
            else self._generate(chosen, request, session)
        )
        for event in events:
            if isinstance(event, Progress):
                yield None, {event.side: (progress_card(headings[event.side], event), None)}
                continue
            path = folder / file_name(event)
            audio.write(path, event.waveform)
            done[event.side] = str(path)
            scores[event.side] = event.score
            self.tokens_per_s = event.tokens_per_s
            notice = chosen.models[event.side].origin.notice
            yield None, {event.side: (result_card(headings[event.side], event, notice), str(path))}
        yield None, {VERDICT: (verdict_card(chosen.names(), scores), None)}
        if len(done) == len(SIDES):
            names = [escape(chosen.names()[side]) for side in SIDES]
            yield None, {BOTH: (ab_player.both([done[side] for side in SIDES], names), None)}
        for side in set(SIDES) - set(done):
            yield None, {side: (waiting_card(headings[side], "Stopped before it began"), None)}


def _of(name: str, step: Downloading) -> bool:
    """Whether a download is of the checkpoint that a side has asked for."""
    return name.partition("@")[0] == step.repository


def _advanced() -> list[gr.components.Component]:
    """Sampling settings: temperature, top-k, top-p, guidance, negative prompt."""
    plain = Request("")
    with gr.Accordion("Sampling", open=False), gr.Row():
        return [
            gr.Slider(0, 2, plain.temperature, step=0.05, label="Temperature", info="0 is greedy"),
            gr.Slider(0, 2048, plain.top_k, step=1, label="Top-k", info="0 keeps all tokens"),
            gr.Slider(0.01, 1, plain.top_p, step=0.01, label="Top-p", info="1 keeps all tokens"),
            gr.Slider(1, 10, plain.guidance, step=0.1, label="Guidance", info="1 is none"),
            gr.Textbox(plain.negative, label="Negative prompt", info="What to steer away from"),
        ]


def _side(pipeline: Pipeline, side: str) -> tuple[gr.Dropdown, gr.HTML, gr.Audio]:
    with gr.Column(min_width=320):
        source = pipeline.models[side].origin.id
        model = gr.Dropdown(
            list(dict.fromkeys([source, *allowed()])),
            value=source,
            label=f"{side.capitalize()} model",
            allow_custom_value=may_load_any(),
            elem_id=f"{side}-model",
            info="A bundled model, a folder, or org/name@revision" if may_load_any() else None,
        )
        card = gr.HTML(waiting_card(title(pipeline, side), "Nothing yet"), elem_id=f"{side}-card")
        player = gr.Audio(
            type="filepath",
            interactive=False,
            label=f"{side.capitalize()} clip",
            buttons=["download"],
            elem_id=f"{side}-player",
        )
    return model, card, player


def build(pipeline: Pipeline) -> None:
    """Lay out the tab and wire its buttons."""
    stops, longest = Stops(), pipeline.limits().max_duration_s
    runner = Runner(pipeline, stops)
    prompt = gr.Textbox(
        label="Prompt",
        lines=2,
        max_lines=4,
        elem_id="prompt",
        placeholder='Say "calm solo piano, slow, sad" or "funk, slap bass, 104 bpm, E minor"',
    )
    gr.Examples([[text] for text in EXAMPLES], prompt, label="Try one")
    with gr.Row():
        duration = gr.Slider(MIN_DURATION_S, longest, 10, step=0.5, label="Duration (s)")
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=MAX_SEED, elem_id="seed")
        fresh = gr.Checkbox(True, label="New seed each time", elem_id="fresh")
    sampling = _advanced()
    with gr.Row():
        go = gr.Button("Generate", variant="primary", elem_id="generate", scale=3, min_width=150)
        stop = gr.Button("Stop", elem_id="stop", scale=1, min_width=90)
    with gr.Row():
        sides = {side: _side(pipeline, side) for side in SIDES}
    parts: dict[str, tuple[Any, ...]] = {side: parts_of[1:] for side, parts_of in sides.items()}
    parts |= {VERDICT: (gr.HTML(elem_id="verdict"),), BOTH: (ab_player.build(),)}

    def run(
        prompt: str,
        duration_s: float,
        seed_value: int,
        new_seed: bool,
        temperature: float,
        top_k: int,
        top_p: float,
        guidance: float,
        negative: str,
        left: str,
        right: str,
        request: gr.Request,
    ) -> Iterator[dict[Any, Any]]:
        raw: dict[str, Any] = {"prompt": prompt, "duration_s": duration_s, "negative": negative}
        raw |= {"temperature": temperature, "top_k": top_k, "top_p": top_p, "guidance": guidance}
        raw["seed"] = random.SystemRandom().randrange(MAX_SEED + 1) if new_seed else seed_value
        session = str(request.session_hash)
        try:
            with tempfile.TemporaryDirectory() as folder:
                for drawn, changes in runner.run(left, right, raw, session, Path(folder)):
                    if BOTH in changes:  # a prop: a value would be rendered as HTML
                        changes[BOTH] = (gr.HTML(clips=changes[BOTH][0]), None)
                    yield ({} if drawn is None else {seed: drawn}) | {
                        component: value
                        for side, pair in changes.items()
                        for component, value in zip(parts[side], pair, strict=False)
                    }
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from error

    def ask_to_stop(request: gr.Request) -> None:
        stops.request(str(request.session_hash))

    inputs = [prompt, duration, seed, fresh, *sampling, *(own[0] for own in sides.values())]
    outputs = [seed, *(component for part in parts.values() for component in part)]
    gr.on(
        [go.click, prompt.submit],
        run,
        inputs,
        outputs,
        api_name="generate",
        show_progress="hidden",
        concurrency_limit=2,
    )
    # A seed that was typed is meant: keep it.
    seed.input(lambda: False, None, fresh, queue=False, api_visibility="private")
    stop.click(ask_to_stop, None, None, queue=False, api_visibility="private")
