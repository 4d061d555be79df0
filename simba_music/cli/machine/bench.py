"""The bench command: how fast this machine decodes."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from simba_music.cli.app import begin_ray
from simba_music.cli.options import ClipSeconds, example, new_group
from simba_music.settings.process import prepare_libraries

commands = new_group()

_THREADS = 1  # all rows are measured with one


# Of replicas.
OnReplicas = Annotated[
    bool,
    typer.Option(
        "--ray",
        help="Replicas instead, each pinned to a core: two beside one; default off.",
    ),
]
Clients = Annotated[int, typer.Option(min=1, help="With --ray: clients at once, from 1.")]
Runs = Annotated[
    int, typer.Option(min=1, help="With --ray: runs of both models, of a client, from 1.")
]


class Group(StrEnum):
    """Groups of rows, as `run_benchmark` names them."""

    DECODING = "decoding"
    LATENCY = "latency"
    TOGETHER = "together"
    LENGTH = "length"
    PARTS = "parts"


@commands.command(epilog=example("bench --quick --json runs/performance.json"))
def bench(
    *,
    json: Annotated[
        Path, typer.Option(metavar="FILE", help="JSON file that every row is written to at once.")
    ],
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="A minute and a half: the bundled size alone, short clips; default off, which "
            "takes up to 25 minutes.",
        ),
    ] = False,
    only: Annotated[
        list[Group] | None,
        typer.Option(help="Group that is measured, may be given again; default all."),
    ] = None,
    gpu: Annotated[
        bool,
        typer.Option(
            "--gpu",
            help="The GPU instead: graphs against eager, batches, training; without one, a dry run "
            "with tiny models; default off.",
        ),
    ] = False,
    minutes: Annotated[
        float, typer.Option(min=0, help="With --gpu: time that it may take, from 0.")
    ] = 8.0,
    tiny: Annotated[
        bool, typer.Option("--tiny", help="With --gpu: a dry run with tiny models; default off.")
    ] = False,
    ray: OnReplicas = False,
    clients: Clients = 16,
    runs: Runs = 2,
    seconds: ClipSeconds = 10.0,
) -> None:
    """Measure how fast this machine decodes, and beside what."""
    prepare_libraries(_THREADS)
    if ray:
        begin_ray(own=True)
        from simba_music.serving.ray.throughput import measure, table
        from simba_music.training.record import machine

        print(table(measure(clients, runs, seconds, json, machine(), print)))
        return
    if gpu:
        from simba_music.training.benchmark.gpu.run import run_gpu_benchmark

        measured = run_gpu_benchmark(json, minutes, print, tiny)
        print(f"{len(measured.rows)} rows in {measured.minutes:g} minutes: {json}")
        return
    from simba_music.training.benchmark.run import FULL, QUICK, run_benchmark

    found = run_benchmark(QUICK if quick else FULL, json, print, [*(only or Group)])
    print(f"{len(found.rows)} rows in {found.minutes:g} minutes: {json}")
