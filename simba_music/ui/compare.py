"""Compare tab: one prompt, two models, two players."""

import random
import re
import tempfile
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from simba_music import audio
from simba_music.checkpoint import may_load_any, offered
from simba_music.errors import UserError
from simba_music.pipeline import SLOTS, Clip, Pipeline, Progress
from simba_music.request import MAX_SEED, MIN_DURATION_S, GenerationRequest

EXAMPLES = [
    "calm solo piano, slow, sad",
    "upbeat funk with slap bass, brass section and drums",
    "peaceful ambient with warm pad and harp, slow",
    "energetic rock with distorted guitar, bass guitar and drums, fast",
    "jazz with saxophone, piano and double bass over drums, medium tempo",
    "chiptune lead, fast, joyful, video game",
    "cheerful folk with flute and acoustic guitar, brisk",
    "dark techno with synth bass and a drum beat, fast",
]
BACKBONES = {"simba": "SiMBA", "mamba": "Mamba", "transformer": "Transformer"}


def title(pipeline: Pipeline, slot: str) -> str:
    """Heading of a side: the kind of model and the checkpoint's name, escaped."""
    kind = BACKBONES[pipeline.slots[slot].lm.config.backbone]
    return f"<h3>{kind} <small>· {escape(pipeline.slots[slot].origin.name)}</small></h3>"


def waiting_card(heading: str, note: str) -> str:
    """A side that has nothing to show yet."""
    return (
        f'<div class="card">{heading}<div class="track"></div><div class="note">{note}</div></div>'
    )


def progress_card(heading: str, event: Progress) -> str:
    """A side that is being written."""
    share = event.frames / event.total_frames
    left_s = event.elapsed_s * (1 - share) / share
    return (
        f'<div class="card">{heading}<div class="track"><div class="bar" '
        f'style="width:{100 * share:.0f}%"></div></div><div class="note">{event.frames} of '
        f"{event.total_frames} tokens, {event.frames / max(event.elapsed_s, 1e-3):.0f} tokens/s, "
        f"about {left_s:.0f} s left</div></div>"
    )


def result_card(heading: str, clip: Clip) -> str:
    """A finished side: score, seed, speed, checkpoint, licence."""
    recipe, score = clip.recipe, clip.score
    if score is None:
        fit = "Not scored: no scorer is loaded."
    elif score.cosine is None:
        fit = f"Not scored: {escape(score.reason or '')}."
    else:
        fit = (
            f"Alignment <b>{score.cosine:.2f}</b>, above <b>{score.percentile:.0f} %</b> of "
            "mismatched prompts"
        )
    stopped = " Stopped early; this is what was made so far." if clip.stopped_early else ""
    return (
        f'<div class="card">{heading}<div class="score">{fit}</div><div class="note">'
        f"Seed {recipe['request']['seed']} · {clip.waveform.duration_s:g} s made in "
        f"{clip.seconds:.1f} s ({clip.times_real_time:.1f} × real time, "
        f"{clip.tokens_per_s:.0f} tokens/s) · checkpoint {escape(recipe['model']['id'])} "
        f"{recipe['model']['sha256'][:8]} · {escape(recipe['licence'])}.{stopped}</div></div>"
    )


def file_name(clip: Clip) -> str:
    """A WAV name that says model, prompt and seed."""
    words = re.sub(r"[^a-z0-9]+", "-", clip.recipe["request"]["prompt"].lower())[:40].strip("-")
    return f"{clip.name}-{words or 'clip'}-seed{clip.recipe['request']['seed']}.wav"


class Stops:
    """Sessions whose user pressed Stop; each stops only its own run."""

    def __init__(self) -> None:
        self._sessions: set[str] = set()

    def request(self, session: str) -> None:
        """Ask the session's run to end."""
        self._sessions.add(session)

    def clear(self, session: str) -> None:
        """A new run begins, or one has ended."""
        self._sessions.discard(session)

    def wanted(self, session: str) -> bool:
        """Whether the session's run should end."""
        return session in self._sessions


def stream(
    pipeline: Pipeline, request: GenerationRequest, stops: Stops, session: str, folder: Path
) -> Iterator[dict[str, tuple[str, str | None]]]:
    """Run both sides; yield what changed: slot -> (card, WAV path)."""
    headings = {slot: title(pipeline, slot) for slot in SLOTS}
    yield {slot: (waiting_card(headings[slot], "Waiting for its turn"), None) for slot in SLOTS}
    done: set[str] = set()
    for event in pipeline.generate(request, SLOTS, lambda: stops.wanted(session)):
        if isinstance(event, Progress):
            yield {event.slot: (progress_card(headings[event.slot], event), None)}
            continue
        path = folder / file_name(event)
        audio.write(path, event.waveform)
        done.add(event.slot)
        yield {event.slot: (result_card(headings[event.slot], event), str(path))}
    for slot in SLOTS:
        if slot not in done:
            yield {slot: (waiting_card(headings[slot], "Stopped before it began"), None)}


def _advanced() -> list[gr.components.Component]:
    """Sampling settings: temperature, top-k, top-p, guidance, negative prompt."""
    with gr.Accordion("Sampling", open=False), gr.Row():
        return [
            gr.Slider(0, 2, 1.0, step=0.05, label="Temperature", info="0 takes the likeliest"),
            gr.Slider(0, 2048, 250, step=1, label="Top-k", info="0 keeps all tokens"),
            gr.Slider(0.01, 1, 1.0, step=0.01, label="Top-p", info="1 keeps all tokens"),
            gr.Slider(1, 10, 3.0, step=0.1, label="Guidance", info="1 is none"),
            gr.Textbox("", label="Negative prompt", info="What to steer away from"),
        ]


def _side(pipeline: Pipeline, slot: str) -> tuple[gr.Dropdown, gr.HTML, gr.Audio]:
    with gr.Column(min_width=320):
        source = pipeline.slots[slot].origin.id
        model = gr.Dropdown(
            sorted({source, *offered()}),
            value=source,
            label=f"{slot.capitalize()} model",
            allow_custom_value=may_load_any(),
            elem_id=f"{slot}-model",
            info="A bundled model, a folder, or org/name@revision" if may_load_any() else None,
        )
        card = gr.HTML(waiting_card(title(pipeline, slot), "Nothing yet"), elem_id=f"{slot}-card")
        player = gr.Audio(
            type="filepath",
            interactive=False,
            label=f"{slot.capitalize()} clip",
            buttons=["download"],
            elem_id=f"{slot}-player",
        )
    return model, card, player


def build(pipeline: Pipeline) -> None:
    """Lay out the tab and wire its buttons."""
    stops, longest = Stops(), pipeline.limits().max_duration_s
    prompt = gr.Textbox(
        label="Prompt",
        lines=2,
        max_lines=4,
        elem_id="prompt",
        placeholder='For example "calm solo piano, slow, sad"',
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
        sides = {slot: _side(pipeline, slot) for slot in SLOTS}

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
        stops.clear(session)
        try:
            chosen = pipeline.with_slots(left, right)
            checked = chosen.validate(**raw)
            with tempfile.TemporaryDirectory() as folder:
                for changes in stream(chosen, checked, stops, session, Path(folder)):
                    yield {seed: checked.seed} | {
                        component: value
                        for slot, pair in changes.items()
                        for component, value in zip(sides[slot][1:], pair, strict=True)
                    }
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from error

    def ask_to_stop(request: gr.Request) -> None:
        stops.request(str(request.session_hash))

    inputs = [prompt, duration, seed, fresh, *sampling, *(side[0] for side in sides.values())]
    outputs = [seed, *(component for side in sides.values() for component in side[1:])]
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
