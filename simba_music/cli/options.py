"""Options that several commands share, and the form of every command's help."""

import math
import os
import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from simba_music.settings import DEVICE, EngineName, WeightDtype, settings
from simba_music.settings.process import openmp_threads, prepare_libraries

CODEC = Path("checkpoints/codec")
BENCH = Path("tests/data/bench_v1")
REPORT = Path("checkpoints/REPORT.json")


def new_group(about: str | None = None, line: str = "") -> typer.Typer:
    """A group of commands.

    Args:
        about: what the group is for; None for commands that stand beside other groups.
        line: an example of use, without the program's name.
    """
    return typer.Typer(
        help=about,
        epilog=example(line),
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def example(line: str) -> str:
    """The end of a command's help; the mark before it keeps the line in one piece."""
    return f"\b\nExample: simba-music {line}".rstrip()


def finite(value: float | None) -> float | None:
    """Refuse `nan` and `inf`, which pass every bound that is compared with."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no number to count with.")
    return value


def _checked_device(value: str) -> str:
    if not re.fullmatch(DEVICE, value):
        raise typer.BadParameter(f"{value!r} is none of auto, cpu, cuda, cuda:N and mps.")
    return value


def _checked_training_device(value: str) -> str:
    if value == "auto" or not re.fullmatch(DEVICE, value):
        raise typer.BadParameter(f"{value!r} is none of cpu, cuda, cuda:N and mps.")
    return value


def _bundled_codec(folder: Path) -> Path:
    """The default is a folder of the checkout; where there is none, what the package brings."""
    if folder != CODEC or folder.exists():
        return folder
    from simba_music.hub.places import BUNDLED

    return BUNDLED / folder.name


def _prepared(threads: int) -> int:
    """Options are read before a command imports torch, which reads the number once."""
    prepare_libraries(threads)
    return threads


def _cores() -> int:
    return os.cpu_count() or 1


def _training_threads() -> int:
    return openmp_threads() or _cores()


# Which checkpoints, and where they run; `cli.pipeline.load_pipeline` takes all five.
Left = Annotated[
    str,
    typer.Option(
        default_factory=lambda: settings().left,
        show_default=False,
        metavar="CHECKPOINT",
        help="Left side: a folder, a bundled name, or org/name@revision on the Hub; default "
        "SIMBA_MUSIC_LEFT, else simba.",
    ),
]
Right = Annotated[
    str,
    typer.Option(
        default_factory=lambda: settings().right,
        show_default=False,
        metavar="CHECKPOINT",
        help="Right side, likewise; default SIMBA_MUSIC_RIGHT, else transformer.",
    ),
]
Scorer = Annotated[
    str,
    typer.Option(
        default_factory=lambda: settings().scorer,
        show_default=False,
        metavar="CHECKPOINT",
        help="Scorer of text against sound, likewise, a ClapModel of the Hub, or none; default "
        "SIMBA_MUSIC_SCORER, else clap.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        default_factory=lambda: settings().device,
        show_default=False,
        callback=_checked_device,
        metavar="DEVICE",
        help="auto (the best there is), cpu, cuda, cuda:N or mps; default SIMBA_MUSIC_DEVICE, "
        "else auto.",
    ),
]
Threads = Annotated[
    int,
    typer.Option(
        default_factory=lambda: settings().threads,
        show_default=False,
        callback=_prepared,
        min=1,
        help="CPU threads, from 1; default SIMBA_MUSIC_THREADS, else 1.",
    ),
]

Engine = Annotated[
    EngineName,
    typer.Option(
        default_factory=lambda: settings().engine,
        show_default=False,
        help="What decodes: auto (the fastest that is ready), graph, compiled, packed or "
        "reference; default SIMBA_MUSIC_ENGINE, else auto.",
    ),
]
Weights = Annotated[
    WeightDtype,
    typer.Option(
        default_factory=lambda: settings().weights,
        show_default=False,
        help="Weights of compiled and graph: float32, bfloat16 or (compiled) int8, each faster and "
        "less exact than the one before; default SIMBA_MUSIC_WEIGHTS, else float32.",
    ),
]

# Of training.
TrainingDevice = Annotated[
    str,
    typer.Option(
        callback=_checked_training_device,
        metavar="DEVICE",
        help="cpu, cuda, cuda:N or mps.",
    ),
]
TrainingThreads = Annotated[
    int,
    typer.Option(
        default_factory=_training_threads,
        show_default=False,
        callback=_prepared,
        min=1,
        help="CPU threads, from 1; default OMP_NUM_THREADS, else all cores.",
    ),
]
Workers = Annotated[
    int,
    typer.Option(
        default_factory=_cores,
        show_default=False,
        min=1,
        help="Processes that work at once, from 1; default all cores.",
    ),
]
CodecFolder = Annotated[
    Path,
    typer.Option(
        callback=_bundled_codec,
        metavar="DIR",
        help="Folder of the codec's checkpoint; outside a checkout the default is the bundled one.",
    ),
]
Bench = Annotated[
    Path, typer.Option(metavar="DIR", help="Benchmark of held-out pieces, by corpus freeze.")
]
Report = Annotated[
    Path, typer.Option(metavar="FILE", help="Report that the figures are written to.")
]
SampleRate = Annotated[
    Literal["24000", "32000"], typer.Option(help="Hz of the audio, 24000 or 32000.")
]
ClipSeconds = Annotated[
    float,
    typer.Option(
        help="Seconds a clip, from 2 to the longest that the models were trained for, in steps of "
        "0.5."
    ),
]

# Of what serves a page, or goes to the Hub.
Port = Annotated[
    int | None,
    typer.Option(
        min=1, max=65535, help="Port of the page, 1 to 65535; default the first free from 7860."
    ),
]
Share = Annotated[
    bool, typer.Option("--share", help="Also serve a public address for a week; default off.")
]
Private = Annotated[
    bool,
    typer.Option("--private", help="A new repository is hidden from others; default off."),
]
