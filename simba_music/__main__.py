"""The command line; imports training and the app lazily."""

import argparse
import errno
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

    corpus = commands.add_parser("corpus", help="compose or import, render, caption, tokenise")
    stages = corpus.add_subparsers(dest="stage", required=True)

    def stage(name: str, text: str) -> argparse.ArgumentParser:
        made = stages.add_parser(name, help=text)
        made.add_argument("dir", type=Path)
        return made

    compose = stages.add_parser("compose", help="write scores (MIDI) and their facts")
    compose.add_argument("--out", dest="dir", type=Path, required=True, metavar="DIR")
    compose.add_argument("--hours", type=float, default=10.0)
    compose.add_argument("--seed", type=int, default=1)
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
        build.compose_corpus(args.hours, args.seed, args.dir, args.workers)
    elif args.stage == "render":
        build.render_corpus(args.dir, args.workers, args.hours, args.sample_rate)
    elif args.stage == "caption":
        build.caption_corpus(args.dir)
    elif args.stage == "tokens":
        from simba_music.text_encoder import TextEncoder
        from simba_music.training import tokens

        tokens.encode_corpus(args.dir, args.codec, args.workers, args.hours)
        tokens.encode_captions(args.dir, TextEncoder.load(tokens.MINILM))
    elif args.stage == "import":
        from simba_music.training.corpus.recordings import import_recordings

        import_recordings(args.audio, args.captions, args.dir, args.sample_rate)
    elif args.stage == "inspect":
        from simba_music.training.corpus.inspect import write_page

        write_page(args.dir)
    elif args.stage == "check":
        from simba_music.training.corpus.check import check_corpus

        check_corpus(args.dir, args.pieces, args.out or args.dir / "check.json")
    elif args.stage == "freeze":
        from simba_music.training.corpus.bench import freeze

        freeze(args.dir, args.out)
    else:
        from simba_music.training.corpus.coverage import write_coverage

        write_coverage(args.dir, args.prompts, args.out)


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
    except KeyboardInterrupt:
        print("simba-music: stopped. What is finished is kept; run it again.", file=sys.stderr)
        return 130
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print(
            f"simba-music: the disk is full ({error.filename or 'no space left'}). Nothing is half "
            "written; make room and run the same command again.",
            file=sys.stderr,
        )
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
