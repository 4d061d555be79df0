"""Commands of training and evaluation, from their options; each loads only what it needs."""

import argparse
from pathlib import Path

from simba_music.cli.pipeline import load_pipeline


def corpus(args: argparse.Namespace) -> None:
    """Stages of a corpus."""
    from simba_music.training.corpus import build

    if args.stage == "compose":
        build.compose_corpus(args.hours, args.seed, args.dir, args.workers)
    elif args.stage == "render":
        build.render_corpus(args.dir, args.workers, args.hours, args.sample_rate)
    elif args.stage == "caption":
        build.caption_corpus(args.dir)
    elif args.stage == "tokens":
        from simba_music.models.text_encoder import TextEncoder
        from simba_music.training.corpus import tokens

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
        from simba_music.training.corpus.captioning.coverage import write_coverage

        write_coverage(args.dir, args.prompts, args.out)


def train(args: argparse.Namespace) -> None:
    """Train a codec, a language model, the scorer or the tagger."""
    import torch

    from simba_music.training.codec import preset as codec_preset
    from simba_music.training.codec import trainer as codec_trainer
    from simba_music.training.corpus import tokens
    from simba_music.training.judges import scorer as clap_trainer
    from simba_music.training.judges import tagger
    from simba_music.training.lm import preset as lm_preset
    from simba_music.training.lm import trainer as lm_trainer

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
                learning_rate=args.learning_rate,
                accumulate=args.accumulate,
                tokens_per_batch=args.tokens_per_batch,
            ),
            ref,
            tokens.codebooks_of(args.codec),
            args.device,
            args.stop_after,
            args.start,
        )
    else:
        from simba_music.models.codec import Codec

        clap_trainer.train_clap(
            args.corpus,
            args.out,
            Codec.load(args.codec, ref),
            clap_trainer.PRESETS[args.preset],
            args.device,
        )


def average(args: argparse.Namespace) -> None:
    """Weights between the two ends of a language model's training."""
    from simba_music.training.lm.average import average_training

    average_training(args.start, args.run, args.share, args.corpus, args.out)


def sizes(args: argparse.Namespace) -> None:
    """Parameters of every architecture of a preset."""
    from simba_music.training.corpus import tokens
    from simba_music.training.lm import preset as lm_preset

    ref, preset = tokens.codec_ref(args.codec), lm_preset.preset_with(args.preset)
    for name, architecture in lm_preset.ARCHITECTURES.items():
        config = lm_preset.make_config(architecture, preset, ref)
        size = f"width {config.d_model}, {config.n_layers} layers, feed-forward {config.d_ff}"
        print(f"{name:22} {lm_preset.count_parameters(config):>12,}  {size}")


def search(args: argparse.Namespace) -> None:
    """Short codec runs that differ in one factor each."""
    import torch

    from simba_music.training.codec.search import search, search_report

    torch.set_num_threads(args.threads)
    search(args.corpus or [], args.out, args.minutes, args.device)
    search_report(args.out, args.bench, args.pieces)


def steps(args: argparse.Namespace) -> None:
    """Clips of the snapshots of two trainings."""
    from simba_music.generation.prompt_files import read_prompts
    from simba_music.models.text_encoder import TextEncoder
    from simba_music.training.corpus.tokens import MINILM
    from simba_music.training.experiments.step_clips import write_step_clips

    count = TextEncoder.load(MINILM).count_tokens
    found, _ = read_prompts(args.prompts, count, MINILM.max_tokens, args.limit)
    runs = {"simba": args.simba, "transformer": args.transformer}
    write_step_clips(runs, [prompt.text for prompt in found], args.duration, args.out)


def experiment(args: argparse.Namespace) -> None:
    """The paper's experiment."""
    from simba_music.files import sha256
    from simba_music.models.checkpoint import WEIGHTS, locate
    from simba_music.training.corpus.tokens import codec_ref
    from simba_music.training.evaluation.report import update_report
    from simba_music.training.experiments import convergence, convergence_report
    from simba_music.training.judges.tagger import tagger_weights
    from simba_music.training.lm import preset as lm_preset

    preset = lm_preset.preset_with(args.preset, steps=args.steps)
    plan = convergence.Plan(
        args.corpus,
        args.codec,
        args.out,
        args.bench,
        preset,
        count=args.measured,
        known=args.known,
    )
    rows, remarks, runs = convergence.run_convergence(plan, args.seeds, args.workers, args.scorer)
    judge = {"scorer": sha256(locate(args.scorer).folder / WEIGHTS)}
    weights = codec_ref(args.codec).weights | judge | tagger_weights()
    update_report(args.report, {"convergence": rows}, weights, remarks=remarks)
    figure = args.report.parent.parent / "docs" / "experiment.png"
    convergence_report.draw(runs, plan.measured, figure)
    print("\n".join(remarks))


def evaluate(args: argparse.Namespace) -> None:
    """Measure checkpoints into the report."""
    from simba_music.errors import RequestError

    if args.what == "prompts" and args.prompts is not None:
        from simba_music.training.evaluation.prompt_lists import evaluate_prompt_list

        out = args.out or Path("runs/prompts") / args.prompts.stem
        evaluate_prompt_list(
            load_pipeline(args),
            args.prompts,
            out,
            args.bench,
            args.reference,
            args.duration,
            args.limit,
        )
        return
    if args.what in ("codec", "all"):
        from simba_music.training.evaluation.codec import evaluate_codec

        codecs = args.codec or [Path("checkpoints/codec")]
        evaluate_codec(codecs, args.bench, args.real, args.corpus, args.report, args.pieces)
    if args.what in ("scorer", "all"):
        from simba_music.training.evaluation.scorer import evaluate_scorer

        pipeline = load_pipeline(args)
        if pipeline.scorer is None:
            raise RequestError("evaluate scorer needs a --scorer.")
        codec = pipeline.models["left"].codec
        evaluate_scorer(pipeline.scorer, codec, args.bench, args.report)
    if args.what in ("prompts", "all"):
        from simba_music.training.evaluation.prompts import evaluate_prompts

        out = args.out or Path("runs/prompts") / args.bench.name
        evaluate_prompts(load_pipeline(args), out, args.bench, args.report, args.beside, args.limit)
    if args.what in ("clips", "all"):
        from simba_music.training.evaluation.clips import evaluate_clips

        evaluate_clips(load_pipeline(args), args.bench, args.report, args.work)


def report(args: argparse.Namespace) -> None:
    """Tables and figures of README."""
    from simba_music.publishing.report_pages import write_readme

    write_readme(args.report, args.readme)
