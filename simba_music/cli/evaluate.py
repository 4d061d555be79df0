"""Commands that measure and report: steps, experiment, evaluate, report."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from simba_music.cli.options import (
    BENCH,
    CODEC,
    REPORT,
    Bench,
    ClipSeconds,
    CodecFolder,
    Device,
    Left,
    Report,
    Right,
    Scorer,
    Threads,
    Workers,
    example,
    new_group,
)
from simba_music.errors import RequestError

if TYPE_CHECKING:
    from simba_music.generation.pipeline import Pipeline

commands = new_group()


@commands.command(epilog=example("steps prompts.txt --simba runs/simba --transformer runs/tf"))
def steps(
    prompts: Annotated[
        Path, typer.Argument(metavar="FILE", help="Prompts: a CSV (column prompt), or lines.")
    ],
    *,
    simba: Annotated[Path, typer.Option(metavar="RUN", help="A train lm --out, of SiMBA.")],
    transformer: Annotated[
        Path, typer.Option(metavar="RUN", help="A train lm --out, of the Transformer.")
    ],
    duration: ClipSeconds = 10.0,
    limit: Annotated[int, typer.Option(min=1, help="Prompts to take, from 1.")] = 12,
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="File that the tokens are written to.")
    ] = Path("checkpoints/steps.json"),
) -> None:
    """Write clips of two trainings' snapshots, as tokens."""
    from simba_music.generation.prompt_files import read_prompts
    from simba_music.models.text_encoder import TextEncoder
    from simba_music.training.corpus.tokens import MINILM
    from simba_music.training.experiments.step_clips import write_step_clips

    count = TextEncoder.load(MINILM).count_tokens
    found, _ = read_prompts(prompts, count, MINILM.max_tokens, limit)
    runs = {"simba": simba, "transformer": transformer}
    write_step_clips(runs, [prompt.text for prompt in found], duration, out)


@commands.command(epilog=example("experiment convergence --corpus runs/corpus --seeds 3"))
def experiment(
    what: Annotated[
        Literal["convergence"], typer.Argument(help="convergence: loss and clips by step.")
    ],
    *,
    corpus: Annotated[Path, typer.Option(metavar="DIR", help="Tokenised corpus to train on.")],
    codec: CodecFolder = CODEC,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the runs.")] = Path(
        "runs/convergence"
    ),
    bench: Bench = BENCH,
    preset: Annotated[str, typer.Option(help="tiny, small, cpu, bundle, gpu or paper.")] = "small",
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of each run, from 1; default the preset's.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Seeds of each architecture, from 2.")] = 3,
    measured: Annotated[int, typer.Option(min=1, max=3, help="Steps at which clips are made.")] = 3,
    known: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Figures of an earlier run (docs/experiment.json), which are not made again; "
            "default none.",
        ),
    ] = None,
    scorer: Annotated[str, typer.Option(help="Scorer checkpoint.")] = "clap",
    report: Report = REPORT,
    workers: Workers,
) -> None:
    """Compare architectures, seed by seed."""
    from simba_music.files import sha256
    from simba_music.hub.places import WEIGHTS, locate
    from simba_music.training.corpus.tokens import codec_ref
    from simba_music.training.evaluation.report import update_report
    from simba_music.training.experiments import convergence, convergence_report
    from simba_music.training.judges.tagger import tagger_weights
    from simba_music.training.lm.preset import preset_with

    made = preset_with(preset, steps=steps)
    plan = convergence.Plan(corpus, codec, out, bench, made, count=measured, known=known)
    rows, remarks, runs = convergence.run_convergence(plan, seeds, workers, scorer)
    judge = {"scorer": sha256(locate(scorer).folder / WEIGHTS)}
    weights = codec_ref(codec).weights | judge | tagger_weights()
    update_report(report, {"convergence": rows}, weights, remarks=remarks)
    figure = report.parent.parent / "docs" / "experiment.png"
    convergence_report.draw(runs, plan.measured, figure)
    print("\n".join(remarks))


What = Annotated[
    Literal["codec", "scorer", "clips", "prompts", "takes", "all"],
    typer.Argument(
        help="What to measure; prompts: whether clips have what was asked for; takes: what the "
        "best of four adds."
    ),
]
Corpus = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="codec: rendered corpus, to fit the mel floor to; default no floor."
    ),
]
Prompts = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="prompts: CSV (prompt, caption) or lines; default made from the benchmark's facts.",
    ),
]
Beside = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="DIR",
        help="prompts of the benchmark: an earlier --out, whose clips are measured too; may be "
        "given again; default none.",
    ),
]
Limit = Annotated[
    int | None, typer.Option(min=1, help="prompts, takes: only the first, from 1; default all.")
]
Skip = Annotated[
    int, typer.Option(min=0, help="prompts: lines or rows of --prompts passed over, from 0.")
]
Reference = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="prompts: audio to compare with; default the benchmark."),
]
Out = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="prompts, takes: folder of the clips; default under runs."),
]
Codecs = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="DIR",
        help="codec: checkpoint's folder, several are compared; default the bundled one.",
    ),
]
Pieces = Annotated[int, typer.Option(min=1, help="codec: pieces, and crops of recordings, from 1.")]
Real = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="codec: imported recordings; their test split is used; default none."
    ),
]
Paired = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="codec: print two codecs and their difference on pieces of this rendered corpus, "
        "report nothing; default no.",
    ),
]
Work = Annotated[Path, typer.Option(metavar="DIR", help="clips: folder of the clips.")]


@commands.command(epilog=example("evaluate prompts --prompts prompts.csv --limit 20"))
def evaluate(
    what: What,
    *,
    corpus: Corpus = None,
    prompts: Prompts = None,
    beside: Beside = None,
    limit: Limit = None,
    skip: Skip = 0,
    duration: ClipSeconds = 10.0,
    reference: Reference = None,
    out: Out = None,
    codec: Codecs = None,
    bench: Bench = BENCH,
    pieces: Pieces = 200,
    real: Real = None,
    paired: Paired = None,
    report: Report = REPORT,
    work: Work = Path("runs/evaluate"),
    left: Left,
    right: Right,
    scorer: Scorer,
    device: Device,
    threads: Threads,
) -> None:
    """Measure checkpoints into REPORT.json."""
    from simba_music.cli.pipeline import load_pipeline

    load = partial(load_pipeline, left, right, scorer, device, threads, weights="float32")
    if what == "prompts" and prompts is not None:
        from simba_music.training.evaluation.prompt_lists import evaluate_prompt_list

        folder = out or Path("runs/prompts") / prompts.stem
        evaluate_prompt_list(load(), prompts, folder, bench, reference, duration, limit, skip)
        return
    if what == "codec" and paired is not None:
        _compare_codecs(codec or [], paired, pieces)
        return
    if what in ("codec", "all"):
        from simba_music.training.evaluation.codec import evaluate_codec

        evaluate_codec(codec or [CODEC], bench, real, corpus, report, pieces)
    if what in ("scorer", "all"):
        _evaluate_scorer(load, bench, report)
    if what in ("prompts", "all"):
        from simba_music.training.evaluation.prompts import evaluate_prompts

        folder = out or Path("runs/prompts") / bench.name
        evaluate_prompts(load(), folder, bench, report, beside or [], limit)
    if what in ("takes", "all"):
        from simba_music.training.experiments.takes import evaluate_takes

        evaluate_takes(load(), out or Path("runs/takes"), bench, report, limit)
    if what in ("clips", "all"):
        from simba_music.training.evaluation.clips import evaluate_clips

        evaluate_clips(load(), bench, report, work)


def _compare_codecs(codecs: list[Path], corpus: Path, pieces: int) -> None:
    from simba_music.scoring.loading import load_scorer
    from simba_music.training.evaluation.codec import SCORER, compare_codecs, corpus_sounds

    if len(codecs) != 2:
        raise RequestError(f"--paired compares two codecs, got {len(codecs)}: give --codec twice.")
    sounds = corpus_sounds(corpus, pieces)
    for row in compare_codecs(codecs[0], codecs[1], sounds, load_scorer(SCORER)):
        interval = f"{row['value']:.4f} ({row['lo']:.4f} to {row['hi']:.4f})"
        print(f"{row['metric']:52} {row['model']:44} {interval:32} n {row['n']}")


def _evaluate_scorer(load: "Callable[[], Pipeline]", bench: Path, report: Path) -> None:
    from simba_music.training.evaluation.scorer import evaluate_scorer

    pipeline = load()
    if pipeline.scorer is None:
        raise RequestError("evaluate scorer needs a --scorer.")
    evaluate_scorer(pipeline.scorer, pipeline.models["left"].codec, bench, report)


@commands.command(epilog=example("report --report checkpoints/REPORT.json"))
def report(
    *,
    report: Annotated[Path, typer.Option(metavar="FILE", help="Figures to write.")] = REPORT,
    readme: Annotated[
        Path, typer.Option(metavar="FILE", help="README whose tables are written, docs beside it.")
    ] = Path("README.md"),
) -> None:
    """Write README's tables, and pages of docs, from REPORT.json."""
    from simba_music.publishing.report_pages import write_readme

    write_readme(report, readme)
