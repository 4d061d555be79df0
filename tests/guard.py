"""What the bundled pair generates for eight prompts, kept so that no change of code changes it.

Run it to write the file again for other weights: `python tests/guard.py`.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from simba_music.conditioning.request import Request
from simba_music.generation.decoding import frames_of, generate, read_requests
from simba_music.generation.engines.reference import ReferenceEngine
from simba_music.generation.loaded_models import LoadedModel
from simba_music.training.record import machine

FILE = Path(__file__).parent / "data" / "guard" / "guard.safetensors"
FRAMES, IDS = slice(None, None, 15), slice(None, None, 64)  # of the logits that are kept
_SAID = [
    Request("calm solo piano, slow, sad", 4.0, 1),
    Request("upbeat funk with slap bass, brass section and drums, 104 bpm, E minor", 4.0, 2),
    Request(
        "peaceful ambient with warm pad and harp", 4.0, 3, negative="drums, distorted guitar, fast"
    ),
    Request("energetic rock with distorted guitar, bass guitar and drums, fast", 6.0, 4),
    Request(
        "jazz trio without drums, medium tempo, 2 in D dorian",
        3.0,
        5,
        negative="in C minor, 90 bpm",
    ),
    Request("chiptune lead, joyful, video game", 2.0, 6),
    Request("dark techno with synth bass and a drum beat, 128 bpm", 4.0, 7),
    Request("asdf qwer", 4.0, 8),
]
# As the pair was measured before anything was drawn: what a seed draws is tested on its own.
REQUESTS = [replace(request, draw=False) for request in _SAID]


def processor() -> str:
    """Kind of CPU and of arithmetic: on another, rounding may turn a draw."""
    name = machine().rpartition(",")[0]
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}"


def generated(model: LoadedModel) -> list[torch.Tensor]:
    """Codes `[S]` of every request, together in one batch."""
    blocks = list(generate(ReferenceEngine(model.lm), model.lm.config, model.encoder, REQUESTS))
    return [
        row[0, : frames_of(model.lm.config, request)]
        for row, request in zip(torch.cat(blocks, dim=-1), REQUESTS, strict=True)
    ]


@torch.inference_mode()
def teacher_forced(model: LoadedModel, codes: torch.Tensor) -> torch.Tensor:
    """Some of the logits of both branches, given codes `[B, S]`."""
    found = read_requests(model.lm.config, model.encoder, REQUESTS)
    given = found.conditioning(codes.shape[-1], model.lm.config.codec.frame_rate)
    engine = ReferenceEngine(model.lm)
    state = engine.prefill(given, codes.shape[-1])
    logits = engine.logits(state, codes[:, None], engine.plane(given))
    return logits[:, 0, FRAMES, IDS].contiguous()


def write() -> None:
    """Write the file for the bundled weights."""
    found, about = {}, {"cpu": processor()}
    for name in ("simba", "transformer"):
        model = LoadedModel.load(name)
        blocks = generate(ReferenceEngine(model.lm), model.lm.config, model.encoder, REQUESTS)
        codes = torch.cat(list(blocks), dim=-1)[:, 0]
        found[f"{name}.codes"] = codes.to(torch.int16).contiguous()
        found[f"{name}.logits"] = teacher_forced(model, codes)
        about[name] = model.origin.sha256
    save_file(found, FILE, metadata=about)


def read() -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors, and of which weights and CPU they are."""
    with safe_open(FILE, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()


if __name__ == "__main__":
    sys.exit(write())
