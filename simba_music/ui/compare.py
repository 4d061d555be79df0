"""Compare tab: one prompt, two models, two players."""

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from simba_music.conditioning.request import Request
from simba_music.errors.incidents import told
from simba_music.generation.request import MAX_SEED, MIN_DURATION_S, SIDES
from simba_music.hub.places import allowed, may_load_any
from simba_music.settings import settings
from simba_music.ui import ab_player
from simba_music.ui.opening import SEED, SOUND, VERDICT, Opening, Side, waiting_card

LOADING = "The models are loading"
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


def _side(found: Side, side: str) -> tuple[gr.Dropdown, gr.HTML, gr.Audio]:
    with gr.Column(min_width=320):
        model = gr.Dropdown(
            list(dict.fromkeys([found.source, *allowed()])),
            value=found.source,
            label=f"{side.capitalize()} model",
            allow_custom_value=may_load_any(),
            elem_id=f"{side}-model",
            info="A bundled model, a folder, or org/name@revision" if may_load_any() else None,
        )
        card = gr.HTML(waiting_card(found.title, "Nothing yet"), elem_id=f"{side}-card")
        player = gr.Audio(
            type="filepath",
            interactive=False,
            label=f"{side.capitalize()} clip",
            buttons=["download"],
            elem_id=f"{side}-player",
        )
    return model, card, player


def _request_inputs(longest_s: float) -> list[gr.components.Component]:
    """Prompt, examples, duration, seed, and whether a new seed is drawn."""
    prompt = gr.Textbox(
        label="Prompt",
        lines=2,
        max_lines=4,
        elem_id="prompt",
        placeholder='Say "calm solo piano, slow, sad" or "funk, slap bass, 104 bpm, E minor"',
    )
    gr.Examples([[text] for text in EXAMPLES], prompt, label="Try one")
    with gr.Row():
        duration = gr.Slider(MIN_DURATION_S, longest_s, 10, step=0.5, label="Duration (s)")
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=MAX_SEED, elem_id="seed")
        with gr.Column(min_width=160):
            fresh = gr.Checkbox(True, label="New seed each time", elem_id="fresh")
            # Read by the page alone: a browser plays when its user has pressed a button.
            gr.Checkbox(
                True, label="Play while it is generated", interactive=True, elem_id="play-at-once"
            )
    # A seed that was typed is meant: keep it.
    seed.input(lambda: False, None, fresh, queue=False, api_visibility="private")
    return [prompt, duration, seed, fresh]


def plain(part: gr.components.Component) -> None:
    """Refuse a dict or a list that a program sends to a part: as a text it would be generated."""
    read = part.preprocess

    def checked(payload: Any) -> Any:
        if isinstance(payload, dict | list):
            kind = type(payload).__name__
            said = f"{part.label} must be a text or a number, got {kind}."
            raise gr.Error(said, print_exception=False)
        try:
            return read(payload)
        except gr.Error:  # which is a ValueError too, and says what is allowed
            raise
        except (TypeError, ValueError) as error:
            said = f"{part.label} cannot be {payload!r:.80}."
            raise gr.Error(said, print_exception=False) from error

    part.preprocess = checked  # type: ignore[method-assign]


class Handlers:
    """What the buttons do, with `SOUND` among the parts of the page while it is generated too.

    The names of `generate`'s arguments are those of the API.
    """

    def __init__(self, opening: Opening, parts: dict[str, Any]):
        self.opening, self.parts = opening, parts

    def generate(
        self,
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
        draw: bool | None = None,
    ) -> Iterator[dict[Any, Any]]:
        """Generate with both models; yields what changes, by component."""
        raw: dict[str, object] = {"prompt": prompt, "duration_s": duration_s, "negative": negative}
        raw |= {"temperature": temperature, "top_k": top_k, "top_p": top_p, "guidance": guidance}
        raw |= {} if draw is None else {"draw": draw}
        raw["seed"] = random.SystemRandom().randrange(MAX_SEED + 1) if new_seed else seed_value
        try:
            for changes in self._run(left, right, raw, str(request.session_hash)):
                yield {self.parts[name]: value for name, value in changes.items()}
        except Exception as error:
            raise gr.Error(told(error), print_exception=False) from error

    def _run(
        self, left: str, right: str, raw: dict[str, object], session: str
    ) -> Iterator[dict[str, Any]]:
        """What changes while a run waits for the models, and then as it goes on."""
        for _ in self.opening.waiting(session):
            sides = self.opening.sides.items()
            yield {f"{s}-card": waiting_card(side.title, LOADING) for s, side in sides}
        from simba_music.ui.run_view import run_page

        comparison = self.opening.comparison.result()
        with tempfile.TemporaryDirectory() as folder:
            run = comparison, left, right, raw, session, Path(folder)
            yield from run_page(*run, stream=SOUND in self.parts)

    def read(self, prompt: str, seed: int = 0, draw: bool = True) -> dict[str, Any]:
        """What is read from a prompt; the API's `read`."""
        try:
            from simba_music.generation.loaded_models import Reader

            models = self.opening.comparison.result().pipeline.models
            reader = Reader.of_models(list(models.values()))
            return reader.read(prompt, seed, draw).as_dict()
        except Exception as error:
            raise gr.Error(told(error), print_exception=False) from error

    def stop(self, request: gr.Request) -> None:
        """End this session's run."""
        self.opening.stops.request(str(request.session_hash))


def build(opening: Opening) -> None:
    """Lay out the tab and wire its buttons."""
    sides = opening.sides
    inputs = _request_inputs(min(side.longest_s for side in sides.values())) + _advanced()
    draw = gr.Checkbox(
        settings().draw,
        label="Draw what the prompt leaves open",
        info="Tempo and key, by the seed; the same for both models",
        elem_id="draw",
    )
    with gr.Row():
        go = gr.Button("Generate", variant="primary", elem_id="generate", scale=3, min_width=150)
        stop = gr.Button("Stop", elem_id="stop", scale=1, min_width=90)
    player = ab_player.build(sides[SIDES[0]].sample_rate)
    parts: dict[str, Any] = {SEED: inputs[2]}
    with gr.Row():
        for side in SIDES:
            model, parts[f"{side}-card"], parts[f"{side}-player"] = _side(sides[side], side)
            inputs.append(model)
    for part in [*inputs, draw]:
        plain(part)
    parts[VERDICT] = gr.HTML(elem_id="verdict")

    # A program that calls the page by HTTP has the finished clips, and no sound before them.
    page, api = Handlers(opening, parts | {SOUND: player}), Handlers(opening, parts)
    for handlers, triggers, given, visibility, name in (
        (api, [], inputs, "public", "generate"),
        (page, [go.click, inputs[0].submit], [*inputs, draw], "private", "play"),  # type: ignore[attr-defined]
    ):
        gr.on(
            triggers,
            handlers.generate,
            given,
            list(handlers.parts.values()),
            api_name=name,
            api_visibility=visibility,
            show_progress="hidden",
            concurrency_limit=2,
            concurrency_id="generate",
        )
    gr.api(page.read, api_name="read", concurrency_limit=2)  # type: ignore[attr-defined]
    stop.click(page.stop, None, None, queue=False, api_visibility="private")
