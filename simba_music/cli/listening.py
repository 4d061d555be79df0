"""Commands of listening tests: the blind test's gallery, and studies."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from simba_music.cli.options import (
    ClipSeconds,
    Device,
    Left,
    Port,
    Right,
    Scorer,
    Share,
    Threads,
    example,
    new_group,
)

commands = new_group()
study = new_group(
    "Run a listening study: render, serve, report, export.",
    "study render docs/study-example.yaml --out runs/study",
)


class _Progress:
    """Says on stderr how many pairs are rendered, and how long the others take."""

    def __init__(self) -> None:
        self.before: int | None = None
        self.started = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Say it; at the first call nothing has been rendered in this run."""
        if self.before is None:
            self.before = done
        left = ""
        if done > self.before:
            each_s = (time.monotonic() - self.started) / (done - self.before)
            left = f", about {each_s * (total - done):.0f} s left" if done < total else ", done"
        print(f"{done} of {total} pairs{left}", file=sys.stderr, flush=True)


StudyFolder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder that render wrote.")]


@commands.command(epilog=example("gallery docs/gallery-prompts.txt --duration 10"))
def gallery(
    prompts: Annotated[
        Path, typer.Argument(metavar="FILE", help="Prompts: a CSV (column prompt), or lines.")
    ],
    *,
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="File that the pairs are written to.")
    ] = Path("checkpoints/gallery.json"),
    duration: ClipSeconds = 10.0,
    left: Left,
    right: Right,
    scorer: Scorer,
    device: Device,
    threads: Threads,
) -> None:
    """Write the pairs of the blind test's gallery."""
    from simba_music.cli.pipeline import load_pipeline
    from simba_music.generation.prompt_files import read_prompts
    from simba_music.listening.gallery import write_gallery

    pipeline = load_pipeline(left, right, scorer, device, threads)
    limits = pipeline.limits()
    found, left_out = read_prompts(prompts, limits.count_tokens, limits.max_text_tokens)
    print("\n".join(left_out), file=sys.stderr)
    write_gallery(pipeline, [prompt.text for prompt in found], duration, out)


@study.command(epilog=example("study render docs/study-example.yaml --out runs/study"))
def render(
    file: Annotated[
        Path,
        typer.Argument(metavar="STUDY.yaml", help="The study; docs/study-example.yaml is one."),
    ],
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the study, made if missing.")],
    left: Left,
    right: Right,
    scorer: Scorer,
    device: Device,
    threads: Threads,
) -> None:
    """Write the pairs of a study file, from prompts or from sound files."""
    from simba_music.cli.pipeline import load_pipeline
    from simba_music.listening.study.file import read_study, render_study

    prompted = bool(read_study(file).prompts)
    pipeline = load_pipeline(left, right, scorer, device, threads) if prompted else None
    count = render_study(pipeline, file, out, _Progress())
    print(f"{count} pairs. Serve them with: simba-music study serve {out}")


@study.command(epilog=example("study serve runs/study --port 7860"))
def serve(folder: StudyFolder, *, port: Port = None, share: Share = False) -> None:
    """Serve the study's page, and nothing else."""
    from simba_music.listening.study.session import open_study

    opened = open_study(folder, mirrored=True)
    from simba_music.serving.host import launch_study

    launch_study(opened, port=port, share=share)


@study.command(epilog=example("study report runs/study"))
def report(folder: StudyFolder) -> None:
    """Print what the votes say so far, as Markdown."""
    from simba_music.listening.study.data import study_summary
    from simba_music.listening.study.session import open_study

    print(study_summary(open_study(folder)), end="")


@study.command(epilog=example("study export runs/study --out data --hub org/name"))
def export(
    folder: StudyFolder,
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the CSV files and the card.")],
    hub: Annotated[
        str | None,
        typer.Option(metavar="org/name", help="Also to this dataset on the Hub; default nowhere."),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="A new dataset is seen by everyone; default off.")
    ] = False,
) -> None:
    """Write votes and listeners as CSV, with a dataset card."""
    from simba_music.listening.study import data
    from simba_music.listening.study.session import open_study

    data.export(open_study(folder), out)
    if hub:
        from simba_music.publishing.push import push_dataset

        print(push_dataset(out, hub, private=not public))
