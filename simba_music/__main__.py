"""The command line; imports training and the app lazily."""

import argparse
import errno
import logging
import os
import sys
from pathlib import Path
from typing import Any

from simba_music.errors import UserError
from simba_music.options import make_parser


def _pipeline(args: argparse.Namespace) -> Any:
    # OpenMP reads this when torch is imported; other threads than ours inherit it only from here.
    os.environ.setdefault("OMP_NUM_THREADS", str(args.threads))
    from transformers.utils.logging import disable_progress_bar

    from simba_music.pipeline import Pipeline

    disable_progress_bar()
    scorer = None if args.scorer == "none" else args.scorer
    return Pipeline.load(args.left, args.right, scorer, args.device, args.threads, _download_bar())


def _download_bar() -> Any:
    """A report that draws a progress bar for every repository that downloads."""
    from tqdm import tqdm

    bars: dict[str, Any] = {}

    def report(event: Any) -> None:
        if event.repository not in bars:
            bars[event.repository] = tqdm(
                desc=event.repository, total=event.total, unit="B", unit_scale=True, disable=None
            )
        bar = bars[event.repository]
        bar.update(event.done - bar.n)

    return report


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


def _gallery(args: argparse.Namespace) -> None:
    from simba_music.gallery import write_gallery
    from simba_music.training.prompt_files import read_prompts

    pipeline = _pipeline(args)
    limits = pipeline.limits()
    found, left_out = read_prompts(args.prompts, limits.count_tokens, limits.max_text_tokens)
    print("\n".join(left_out), file=sys.stderr)
    write_gallery(pipeline, [prompt.text for prompt in found], args.duration, args.out)


def _study(args: argparse.Namespace) -> None:
    from simba_music import study

    if args.action == "render":
        config = study.read_study(args.file)
        pipeline = _pipeline(args) if config.prompts else None
        count = study.render_study(pipeline, args.file, args.dir)
        print(f"{count} pairs. Serve them with: simba-music study serve {args.dir}")
        return
    opened = study.open_study(args.dir)
    if args.action == "serve":
        os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
        from simba_music.ui.app import launch_study

        launch_study(opened, port=args.port, share=args.share)
        return
    from simba_music import study_data

    if args.action == "report":
        print(study_data.study_report(opened), end="")
        return
    study_data.export(opened, args.out)
    if args.hub:
        from simba_music.publish import push_dataset

        print(push_dataset(args.out, args.hub, private=not args.public))


def _hub(args: argparse.Namespace) -> None:
    if args.action == "push":
        from simba_music.publish import push

        made = push(args.checkpoint, args.repository, args.private)
        print(f"Published. Load it with --left {made}")
        return
    import tempfile

    from simba_music import space

    sides = {"left": args.left, "right": args.right}
    if not args.dry_run:
        print(space.push_space(args.repository, args.hardware, sides, args.private))
        return
    with tempfile.TemporaryDirectory() as made:
        out = args.out or Path(made) / "space"
        space.write_space(out, args.hardware, sides)
        print("\n".join(space.contents(out)))


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

    from simba_music.training import (
        clap_trainer,
        codec_preset,
        codec_trainer,
        lm_preset,
        lm_trainer,
        tagger,
        tokens,
    )

    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    args.preset = args.preset or ("bundle" if args.stage == "lm" else "cpu")
    if args.stage == "codec":
        preset = codec_preset.preset_with(args.preset, minutes=args.minutes)
        corpora, state = [args.corpus, *args.also], args.out / "resume.state"
        codec_trainer.train_codec(
            corpora, args.out, preset, state, args.stop_after, args.device, args.start
        )
        return
    if args.stage == "tagger":
        tagger.train_tagger(args.corpus, args.out, tagger.PRESETS[args.preset])
        return
    ref = tokens.codec_ref(args.codec)
    if args.stage == "lm":
        mixer = {"simba": args.mixer, "mamba": "none", "transformer": "mlp"}[args.backbone]
        lm_trainer.train_lm(
            args.corpus,
            args.out,
            lm_preset.Architecture(args.backbone, mixer, args.conditioning),
            lm_preset.preset_with(
                args.preset,
                steps=args.steps,
                seed=args.seed,
                accumulate=args.accumulate,
                tokens_per_batch=args.tokens_per_batch,
            ),
            ref,
            tokens.codebook_of(args.codec),
            args.device,
            args.stop_after,
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


def _sizes(args: argparse.Namespace) -> None:
    from simba_music.training import lm_preset, tokens

    ref, preset = tokens.codec_ref(args.codec), lm_preset.preset_with(args.preset)
    for name, architecture in lm_preset.ARCHITECTURES.items():
        config = lm_preset.make_config(architecture, preset, ref)
        size = f"width {config.d_model}, {config.n_layers} layers, feed-forward {config.d_ff}"
        print(f"{name:22} {lm_preset.count_parameters(config):>12,}  {size}")


def _search(args: argparse.Namespace) -> None:
    import torch

    from simba_music.training.codec_search import search, search_report

    torch.set_num_threads(args.threads)
    search(args.corpus or [], args.out, args.minutes, args.device)
    search_report(args.out, args.bench, args.pieces)


def _steps(args: argparse.Namespace) -> None:
    from simba_music.text_encoder import TextEncoder
    from simba_music.training.prompt_files import read_prompts
    from simba_music.training.step_clips import write_step_clips
    from simba_music.training.tokens import MINILM

    count = TextEncoder.load(MINILM).count_tokens
    found, _ = read_prompts(args.prompts, count, MINILM.max_tokens, args.limit)
    runs = {"simba": args.simba, "transformer": args.transformer}
    write_step_clips(runs, [prompt.text for prompt in found], args.duration, args.out)


def _experiment(args: argparse.Namespace) -> None:
    from simba_music.training import convergence, lm_preset
    from simba_music.training.report import update_report

    preset = lm_preset.preset_with(args.preset, steps=args.steps)
    plan = convergence.Plan(args.corpus, args.codec, args.out, args.bench, preset)
    rows, remarks, runs = convergence.run_convergence(plan, args.seeds, args.workers, args.scorer)
    update_report(args.report, {"convergence": rows}, remarks=remarks)
    convergence.draw(runs, args.report.parent.parent / "docs" / "experiment.png")
    print("\n".join(remarks))


def _evaluate(args: argparse.Namespace) -> None:
    from simba_music.errors import RequestError

    if args.what == "prompts" and args.prompts is not None:
        from simba_music.training.prompt_evaluation import evaluate_prompts

        out = args.out or Path("runs/prompts") / args.prompts.stem
        evaluate_prompts(
            _pipeline(args),
            args.prompts,
            out,
            args.bench,
            args.reference,
            args.duration,
            args.limit,
        )
        return
    if args.what in ("clips", "all") and args.corpus is None:
        raise RequestError(f"evaluate {args.what} needs --corpus DIR.")
    if args.what in ("codec", "all"):
        from simba_music.training.codec_evaluation import evaluate_codec

        codecs = args.codec or [Path("checkpoints/codec")]
        evaluate_codec(codecs, args.bench, args.real, args.corpus, args.report, args.pieces)
    if args.what in ("scorer", "all"):
        from simba_music.training.scorer_evaluation import evaluate_scorer

        pipeline = _pipeline(args)
        if pipeline.scorer is None:
            raise RequestError("evaluate scorer needs a --scorer.")
        codec = pipeline.slots["left"].codec
        evaluate_scorer(pipeline.scorer, codec, args.bench, args.report)
    if args.what in ("prompts", "all"):
        from simba_music.training.adherence_evaluation import evaluate_adherence

        out = args.out or Path("runs/prompts") / args.bench.name
        evaluate_adherence(_pipeline(args), out, args.bench, args.report, args.beside, args.limit)
    if args.what in ("clips", "all"):
        from simba_music.training.evaluation import evaluate_clips

        evaluate_clips(_pipeline(args), args.corpus, args.report, args.work)


def _report(args: argparse.Namespace) -> None:
    from simba_music.training.report import write_readme

    write_readme(args.report, args.readme)


def main(argv: list[str] | None = None) -> int:
    """Run one command; bad input prints its message and returns 2."""
    args = make_parser(__doc__).parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # the app asks itself whether it is up
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # our errors say what failed
    command = {
        "generate": _generate,
        "app": _app,
        "gallery": _gallery,
        "study": _study,
        "hub": _hub,
        "corpus": _corpus,
        "train": _train,
        "search": _search,
        "sizes": _sizes,
        "steps": _steps,
        "experiment": _experiment,
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
