"""The generate command: its options, checked where every request is checked."""

from pathlib import Path
from typing import Annotated

import typer

from simba_music.cli.options import (
    Device,
    Engine,
    Left,
    Right,
    Scorer,
    Threads,
    Weights,
    example,
    new_group,
)
from simba_music.conditioning.request import Request
from simba_music.generation.request import DURATION_STEP_S, MAX_SEED, MAX_TAKES, MIN_DURATION_S

commands = new_group()
_default = Request("")

# Ranges stand in the help alone: validate_request refuses what is outside them, with the limits of
# the models that are loaded.
Prompt = Annotated[str, typer.Argument(help="What to play, in words; default none, see --prompts.")]
Prompts = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.csv",
        help="Many prompts: columns id,prompt[,duration_s,seed]; writes manifest.jsonl, resumes; "
        "default none.",
    ),
]
Batch = Annotated[int, typer.Option(help="Prompts of --prompts decoded together, from 1.")]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder of the files, made if missing.")]
Model = Annotated[str, typer.Option(help="left, right, both, or a checkpoint's name.")]
Duration = Annotated[
    float | None,
    typer.Option(
        help=f"Seconds a clip, from {MIN_DURATION_S:g} to the longest that the models were trained "
        f"for, in steps of {DURATION_STEP_S:g}; default {_default.duration_s:g}."
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        help=f"Of the first take, from 0 to {MAX_SEED}; the same seed gives the same clip; default "
        f"{_default.seed}."
    ),
]
Takes = Annotated[
    int | None,
    typer.Option(
        help=f"Clips a model, from 1 to {MAX_TAKES}, with seeds that follow; default "
        f"{_default.takes}."
    ),
]
Temperature = Annotated[
    float | None,
    typer.Option(
        help="Of sampling, from 0 (always the likeliest token) to 2; default "
        f"{_default.temperature:g}."
    ),
]
TopK = Annotated[
    int | None,
    typer.Option(
        help=f"Likeliest tokens to draw from, up to 65536; 0 is all; default {_default.top_k}."
    ),
]
TopP = Annotated[
    float | None,
    typer.Option(
        help="Probability that the likeliest tokens to draw from have together, above 0 to 1; "
        f"default {_default.top_p:g}."
    ),
]
Guidance = Annotated[
    float | None,
    typer.Option(
        help=f"How far the prompt leads, from 1 (no guidance) to 10; default {_default.guidance:g}."
    ),
]
Negative = Annotated[
    str | None, typer.Option(help="What guidance leads away from, in words; default nothing.")
]


Draw = Annotated[
    bool | None,
    typer.Option(
        "--draw/--no-draw",
        help="Whether the seed draws tempo and key where the prompt leaves them open; default "
        "SIMBA_MUSIC_DRAW, else yes.",
    ),
]


@commands.command(epilog=example('generate "calm solo piano, slow, sad" --duration 10 --seed 1'))
def generate(
    prompt: Prompt = "",
    *,
    prompts: Prompts = None,
    batch: Batch = 4,
    out: Out = Path("out"),
    model: Model = "both",
    duration: Duration = None,
    seed: Seed = None,
    takes: Takes = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    guidance: Guidance = None,
    negative: Negative = None,
    draw: Draw = None,
    left: Left,
    right: Right,
    scorer: Scorer,
    device: Device,
    threads: Threads,
    engine: Engine,
    weights: Weights,
) -> None:
    """Generate one prompt, or many of a CSV, as WAV files and recipes."""
    from simba_music.cli.pipeline import load_pipeline
    from simba_music.errors import RequestError

    if prompts is not None and (prompt or (takes or 1) > 1):
        raise RequestError(
            "--prompts reads every prompt from its file and makes one clip of each: give no other "
            "prompt and no --takes; rows with other seeds are other takes."
        )
    pipeline = load_pipeline(left, right, scorer, device, threads, engine, weights)
    from simba_music.cli.clip_files import generate_one, generate_prompts

    given = {
        "duration_s": duration,
        "seed": seed,
        "takes": takes,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "guidance": guidance,
        "negative": negative,
        "draw": draw,
    }
    options = {key: value for key, value in given.items() if value is not None}
    if prompts is None:
        generate_one(pipeline, prompt, options, model, out)
    else:
        generate_prompts(pipeline, prompts, options, model, out, batch)
