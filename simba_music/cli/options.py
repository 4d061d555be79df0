"""The command line's options."""

import argparse
import os
from pathlib import Path
from typing import Any

from simba_music.settings import settings


def _settings(parser: argparse.ArgumentParser) -> None:
    """Options that choose checkpoints."""
    said = settings()
    group = parser.add_argument_group("checkpoints: a folder, a bundled name, or org/name@revision")
    group.add_argument("--left", default=said.left)
    group.add_argument("--right", default=said.right)
    group.add_argument(
        "--scorer",
        default=said.scorer,
        help='scorer checkpoint, or "none"',
    )
    group.add_argument("--device", default=said.device)
    group.add_argument("--threads", type=int, default=said.threads)


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Every command with its options."""
    parser = argparse.ArgumentParser(prog="simba-music", description=description)
    commands = parser.add_subparsers(dest="command", required=True)

    generate = commands.add_parser("generate", help="prompts to WAV files and recipes")
    generate.add_argument("prompt", nargs="?", default="")
    generate.add_argument(
        "--prompts",
        type=Path,
        metavar="FILE.csv",
        help="columns id,prompt[,duration_s,seed]; writes manifest.jsonl, resumes",
    )
    generate.add_argument("--batch", type=int, default=4, help="prompts decoded together")
    generate.add_argument("--out", type=Path, default=Path("out"))
    generate.add_argument(
        "--model", default="both", help="left, right, both or a checkpoint's name"
    )
    for option, kind in (
        ("duration", float),
        ("seed", int),
        ("takes", int),
        ("temperature", float),
        ("top-k", int),
        ("top-p", float),
        ("guidance", float),
    ):
        generate.add_argument(f"--{option}", type=kind)
    generate.add_argument("--negative")
    _settings(generate)

    app = commands.add_parser("app", help="open the app in a browser")
    app.add_argument("--port", type=int)
    app.add_argument("--share", action="store_true")
    _settings(app)

    gallery = commands.add_parser("gallery", help="write the pairs of the blind test's gallery")
    gallery.add_argument("prompts", type=Path, metavar="FILE", help="CSV (prompt) or lines")
    gallery.add_argument("--out", type=Path, default=Path("checkpoints/gallery.json"))
    gallery.add_argument("--duration", type=float, default=10.0, help="seconds a clip")
    _settings(gallery)

    _study(commands)
    _hub(commands)
    _corpus(commands)
    _training(commands)
    return parser


def _study(commands: Any) -> None:
    """Options of listening studies."""
    study = commands.add_parser("study", help="a listening study: render, serve, report, export")
    actions = study.add_subparsers(dest="action", required=True)
    render = actions.add_parser("render", help="write the pairs of a study file")
    render.add_argument("file", type=Path, metavar="STUDY.yaml")
    render.add_argument("--out", dest="dir", type=Path, required=True, metavar="DIR")
    _settings(render)
    serve = actions.add_parser("serve", help="the study's page, and nothing else")
    serve.add_argument("--port", type=int)
    serve.add_argument("--share", action="store_true")
    report = actions.add_parser("report", help="what the votes say so far, as Markdown")
    export = actions.add_parser("export", help="votes and listeners as CSV, with a dataset card")
    export.add_argument("--out", type=Path, required=True)
    export.add_argument("--hub", metavar="org/name", help="also to this dataset on the Hub")
    export.add_argument("--public", action="store_true", help="a new dataset is seen by everyone")
    for made in (serve, report, export):
        made.add_argument("dir", type=Path, metavar="DIR")


def _hub(commands: Any) -> None:
    """Options of what goes to the Hub."""
    hub = commands.add_parser("hub", help="publish a checkpoint or a Space on the Hub")
    actions = hub.add_subparsers(dest="action", required=True)
    push = actions.add_parser("push", help="a language model, with its codec and a model card")
    push.add_argument("checkpoint", help="a folder or a bundled name")
    push.add_argument("repository", metavar="org/name")
    space = actions.add_parser("space", help="the app, from this checkout")
    space.add_argument("repository", metavar="org/name")
    space.add_argument("--hardware", default="cpu-basic", help="a hint, such as zero-a10g")
    space.add_argument("--left", default="", help="org/name[@revision], pinned and preloaded")
    space.add_argument("--right", default="", help="org/name[@revision], pinned and preloaded")
    space.add_argument("--dry-run", action="store_true", help="list the files, send nothing")
    space.add_argument("--out", type=Path, help="with --dry-run: write the files here")
    for made in (push, space):
        made.add_argument("--private", action="store_true", help="a new repository is hidden")


def _corpus(commands: Any) -> None:
    """Options of the corpus stages."""
    corpus = commands.add_parser("corpus", help="compose or import, render, caption, tokenise")
    stages = corpus.add_subparsers(dest="stage", required=True)

    def stage(name: str, text: str) -> argparse.ArgumentParser:
        made = stages.add_parser(name, help=text)
        made.add_argument("dir", type=Path)
        return made

    compose = stages.add_parser("compose", help="write scores (MIDI) and their facts")
    compose.add_argument("--out", dest="dir", type=Path, required=True, metavar="DIR")
    compose.add_argument("--hours", type=float, default=10.0)
    compose.add_argument(
        "--seed",
        type=int,
        default=1,
        help="of the first piece; piece i has seed + i, so ranges that overlap share pieces",
    )
    render = stage("render", "scores to audio; needs FluidSynth and two soundfonts")
    render.add_argument("--hours", type=float, help="only the first hours")
    render.add_argument("--sample-rate", type=int, choices=(24_000, 32_000), default=24_000)
    stage("caption", "facts to captions")
    tokens = stage("tokens", "audio to tokens and captions to text states")
    tokens.add_argument("--hours", type=float, help="only the first hours")
    tokens.add_argument("--codec", type=Path, default=Path("checkpoints/codec"))
    for made in (compose, render, tokens):
        made.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    bring = stages.add_parser("import", help="your own recordings and captions to a corpus")
    bring.add_argument("audio", type=Path, metavar="AUDIO_DIR")
    bring.add_argument("--out", dest="dir", type=Path, required=True, metavar="DIR")
    bring.add_argument(
        "--captions", type=Path, metavar="FILE.csv", help="columns file,caption[,split,licence]"
    )
    bring.add_argument("--sample-rate", type=int, choices=(24_000, 32_000), default=24_000)
    stage("inspect", "a page of counts, pictures, captions and players: DIR/inspect.html")
    check = stage("check", "compare the facts with what an independent ear finds")
    check.add_argument("--pieces", type=int, default=200)
    check.add_argument("--out", type=Path, help="report; default DIR/check.json")
    freeze = stage("freeze", "200 held-out pieces of a corpus as a benchmark set")
    freeze.add_argument("--out", type=Path, required=True)
    words = stage("words", "which frequent words of a caption list ours can produce")
    words.add_argument("prompts", type=Path, metavar="PROMPTS.csv")
    words.add_argument("--out", type=Path, default=Path("docs/prompt-words.json"))


def _training(commands: Any) -> None:
    """Options of training, evaluation and reports."""
    train = commands.add_parser("train", help="train the codec, a language model or the scorer")
    train.add_argument("stage", choices=("codec", "lm", "clap", "tagger"))
    train.add_argument("--corpus", type=Path, required=True)
    train.add_argument(
        "--also", type=Path, action="append", default=[], help="codec: another corpus, pooled"
    )
    train.add_argument(
        "--start", type=Path, help="codec, lm: begin with the weights of this one of the same shape"
    )
    train.add_argument("--out", type=Path, required=True)
    train.add_argument("--preset", help='default "bundle" for lm, else "cpu"')
    train.add_argument("--stop-after", type=int, metavar="STEPS", help="a dry run")
    train.add_argument("--minutes", type=float, help="codec: time budget")
    train.add_argument("--backbone", choices=("simba", "mamba", "transformer"), default="simba")
    train.add_argument("--mixer", choices=("mlp", "einfft"), default="mlp", help="lm: of simba")
    train.add_argument("--conditioning", choices=("prefix", "cross"), default="prefix")
    for option in ("steps", "seed", "accumulate", "tokens-per-batch"):
        train.add_argument(f"--{option}", type=int, help="lm: instead of the preset's")
    train.add_argument("--learning-rate", type=float, help="lm: instead of the preset's")
    train.add_argument("--codec", type=Path, default=Path("checkpoints/codec"))
    train.add_argument("--device", default="cpu")
    train.add_argument("--threads", type=int, default=os.cpu_count() or 1)

    average = commands.add_parser("average", help="lm: weights between a training's two ends")
    average.add_argument("start", type=Path, help="the checkpoint that the training started from")
    average.add_argument("run", type=Path, help="its --out")
    average.add_argument("--share", type=float, default=0.6, help="of the way from start to run")
    average.add_argument("--corpus", type=Path, required=True, help="with held-out tokens")
    average.add_argument("--out", type=Path, required=True)

    sizes = commands.add_parser("sizes", help="parameters of every architecture of a preset")
    sizes.add_argument("--preset", default="bundle")
    sizes.add_argument("--codec", type=Path, default=Path("checkpoints/codec"))

    search = commands.add_parser("search", help="codec: short runs that differ in one factor each")
    search.add_argument("out", type=Path)
    search.add_argument("--corpus", type=Path, action="append", help="one for each sample rate")
    search.add_argument("--minutes", type=float, default=11.0, help="of compute, each run")
    search.add_argument("--bench", type=Path, default=Path("tests/data/bench_v1"))
    search.add_argument("--pieces", type=int, default=60, help="of the benchmark, to measure on")
    search.add_argument("--device", default="cpu")
    search.add_argument("--threads", type=int, default=os.cpu_count() or 1)

    steps = commands.add_parser("steps", help="clips of two trainings' snapshots, as tokens")
    steps.add_argument("prompts", type=Path, metavar="FILE", help="CSV (prompt) or lines")
    steps.add_argument("--simba", type=Path, required=True, metavar="RUN", help="a train lm --out")
    steps.add_argument("--transformer", type=Path, required=True, metavar="RUN")
    steps.add_argument("--duration", type=float, default=10.0, help="seconds a clip")
    steps.add_argument("--limit", type=int, default=12, help="prompts")
    steps.add_argument("--out", type=Path, default=Path("checkpoints/steps.json"))

    experiment = commands.add_parser("experiment", help="compare architectures, seed by seed")
    experiment.add_argument("what", choices=("convergence",))
    experiment.add_argument("--corpus", type=Path, required=True)
    experiment.add_argument("--codec", type=Path, default=Path("checkpoints/codec"))
    experiment.add_argument("--out", type=Path, default=Path("runs/convergence"))
    experiment.add_argument("--bench", type=Path, default=Path("tests/data/bench_v1"))
    experiment.add_argument("--preset", default="small")
    experiment.add_argument("--steps", type=int, help="instead of the preset's")
    experiment.add_argument("--seeds", type=int, default=3)
    experiment.add_argument(
        "--measured", type=int, default=3, choices=(1, 2, 3), help="steps at which clips are made"
    )
    experiment.add_argument(
        "--known",
        type=Path,
        metavar="FILE",
        help="figures of an earlier run (docs/experiment.json), which are not made again",
    )
    experiment.add_argument("--scorer", default="clap")
    experiment.add_argument("--report", type=Path, default=Path("checkpoints/REPORT.json"))
    experiment.add_argument("--workers", type=int, default=os.cpu_count() or 1)

    evaluate = commands.add_parser("evaluate", help="measure checkpoints into REPORT.json")
    evaluate.add_argument("what", choices=("codec", "scorer", "clips", "prompts", "all"))
    evaluate.add_argument("--corpus", type=Path, help="codec: rendered, to teach the mel floor")
    evaluate.add_argument(
        "--prompts",
        type=Path,
        metavar="FILE",
        help="prompts: CSV (prompt, caption) or lines; default made from the benchmark's facts",
    )
    evaluate.add_argument(
        "--beside",
        type=Path,
        action="append",
        default=[],
        help="prompts of the benchmark: an earlier --out, whose clips are measured too",
    )
    evaluate.add_argument("--limit", type=int, help="prompts: only the first")
    evaluate.add_argument("--duration", type=float, default=10.0, help="prompts: seconds a clip")
    evaluate.add_argument(
        "--reference", type=Path, help="prompts: audio to compare with; default the benchmark"
    )
    evaluate.add_argument("--out", type=Path, help="prompts: folder; default under runs/prompts")
    evaluate.add_argument(
        "--codec", type=Path, action="append", help="several are compared; default the bundled one"
    )
    evaluate.add_argument("--bench", type=Path, default=Path("tests/data/bench_v1"))
    evaluate.add_argument("--pieces", type=int, default=200, help="of the benchmark")
    evaluate.add_argument("--real", type=Path, help="imported recordings; their test split is used")
    evaluate.add_argument("--report", type=Path, default=Path("checkpoints/REPORT.json"))
    evaluate.add_argument("--work", type=Path, default=Path("runs/evaluate"))
    _settings(evaluate)

    report = commands.add_parser("report", help="write README's tables from REPORT.json")
    report.add_argument("--report", type=Path, default=Path("checkpoints/REPORT.json"))
    report.add_argument("--readme", type=Path, default=Path("README.md"))
