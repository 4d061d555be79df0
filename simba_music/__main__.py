"""The command line; imports training and the app lazily."""

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import Any

from simba_music.errors import UserError


def _settings(parser: argparse.ArgumentParser) -> None:
    """Options that choose checkpoints."""
    group = parser.add_argument_group("checkpoints: a folder, a bundled name, or org/name@revision")
    group.add_argument("--left", default=os.environ.get("SIMBA_MUSIC_LEFT", "simba"))
    group.add_argument("--right", default=os.environ.get("SIMBA_MUSIC_RIGHT", "transformer"))
    group.add_argument(
        "--scorer",
        default=os.environ.get("SIMBA_MUSIC_SCORER", "clap"),
        help='scorer checkpoint, or "none"',
    )
    group.add_argument("--device", default=os.environ.get("SIMBA_MUSIC_DEVICE", "auto"))
    group.add_argument("--threads", type=int, default=int(os.environ.get("SIMBA_MUSIC_THREADS", 1)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="simba-music", description=__doc__)
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

    corpus = commands.add_parser("corpus", help="compose, render, caption, tokenise")
    corpus.add_argument("stage", choices=("compose", "render", "caption", "tokens"))
    corpus.add_argument("dir", type=Path)
    corpus.add_argument("--hours", type=float, default=10.0)
    corpus.add_argument("--seed", type=int, default=1000)
    corpus.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    corpus.add_argument("--codec", type=Path, default=Path("checkpoints/codec"))

    train = commands.add_parser("train", help="train the codec, a language model or the scorer")
    train.add_argument("stage", choices=("codec", "lm", "clap"))
    train.add_argument("--corpus", type=Path, required=True)
    train.add_argument("--out", type=Path, required=True)
    train.add_argument("--backbone", choices=("simba", "transformer"), default="simba")
    train.add_argument("--preset", default="cpu")
    train.add_argument("--steps", type=int, help="stop early, for a dry run")
    train.add_argument("--minutes", type=float, help="codec: time budget")
    train.add_argument("--codec", type=Path, default=Path("checkpoints/codec"))
    train.add_argument("--device", default="cpu")
    train.add_argument("--threads", type=int, default=os.cpu_count() or 1)

    evaluate = commands.add_parser("evaluate", help="measure checkpoints into REPORT.json")
    evaluate.add_argument("what", choices=("codec", "prompts", "clips", "all"))
    evaluate.add_argument("--corpus", type=Path, required=True)
    evaluate.add_argument("--report", type=Path, default=Path("checkpoints/REPORT.json"))
    evaluate.add_argument("--work", type=Path, default=Path("runs/evaluate"))
    _settings(evaluate)

    report = commands.add_parser("report", help="write README's tables from REPORT.json")
    report.add_argument("--report", type=Path, default=Path("checkpoints/REPORT.json"))
    report.add_argument("--readme", type=Path, default=Path("README.md"))
    return parser


def _pipeline(args: argparse.Namespace) -> Any:
    # OpenMP reads this when torch is imported; other threads than ours inherit it only from here.
    os.environ.setdefault("OMP_NUM_THREADS", str(args.threads))
    from transformers.utils.logging import disable_progress_bar

    from simba_music.pipeline import Pipeline

    disable_progress_bar()
    scorer = None if args.scorer == "none" else args.scorer
    return Pipeline.load(args.left, args.right, scorer, args.device, args.threads)


def _generate(args: argparse.Namespace) -> None:
    pipeline = _pipeline(args)
    from simba_music import generate_command

    if args.prompts is None:
        generate_command.generate_one(pipeline, args)
    else:
        generate_command.generate_prompts(pipeline, args)


def _app(args: argparse.Namespace) -> None:
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    from simba_music.ui.app import launch

    launch(_pipeline(args), port=args.port, share=args.share)


def _corpus(args: argparse.Namespace) -> None:
    from simba_music.training.corpus import build

    if args.stage == "compose":
        build.compose_corpus(args.hours, args.seed, args.dir)
    elif args.stage == "render":
        build.render_corpus(args.dir, args.workers)
    elif args.stage == "caption":
        build.caption_corpus(args.dir)
    else:
        from simba_music.text_encoder import TextEncoder
        from simba_music.training import tokens

        tokens.encode_corpus(args.dir, args.codec, args.workers)
        tokens.encode_captions(args.dir, TextEncoder.load(tokens.MINILM))


def _train(args: argparse.Namespace) -> None:
    import torch

    from simba_music.training import clap_trainer, codec_trainer, lm_trainer, tokens

    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    state = args.out / "resume.state"
    if args.stage == "codec":
        preset = codec_trainer.preset_with(args.preset, minutes=args.minutes)
        codec_trainer.train_codec(args.corpus, args.out, preset, state, args.steps, args.device)
        return
    ref = tokens.codec_ref(args.codec)
    if args.stage == "lm":
        lm_trainer.train_lm(
            args.corpus,
            args.out,
            args.backbone,
            lm_trainer.PRESETS[args.preset],
            ref,
            tokens.codebook_of(args.codec),
            state,
            args.device,
            args.steps,
        )
    else:
        from simba_music.codec import Codec

        clap_trainer.train_clap(
            args.corpus,
            args.out,
            Codec.load(args.codec, ref),
            clap_trainer.PRESETS[args.preset],
            args.device,
        )


def _evaluate(args: argparse.Namespace) -> None:
    from simba_music.training.evaluation import evaluate

    evaluate(_pipeline(args), args.what, args.corpus, args.report, args.work)


def _report(args: argparse.Namespace) -> None:
    from simba_music.training.report import write_readme

    write_readme(args.report, args.readme)


def main(argv: list[str] | None = None) -> int:
    """Run one command; bad input prints its message and returns 2."""
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # the app asks itself whether it is up
    command = {
        "generate": _generate,
        "app": _app,
        "corpus": _corpus,
        "train": _train,
        "evaluate": _evaluate,
        "report": _report,
    }[args.command]
    try:
        command(args)
    except UserError as error:
        print(f"simba-music: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
