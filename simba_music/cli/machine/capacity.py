"""The capacity command: how long a crowd waits, and how many machines it needs."""

from pathlib import Path
from typing import Annotated

import typer

from simba_music.cli.options import example, finite, new_group
from simba_music.errors import RequestError
from simba_music.settings.process import prepare_libraries

commands = new_group()

_FIGURES = Path("docs/performance.json")
_CPU_SLOTS, _GPU_SLOTS = 2, 8

Users = Annotated[int, typer.Option(min=1, max=5000, help="Visitors, from 1 to 5000.")]
Gpus = Annotated[int, typer.Option(min=0, max=1000, help="GPUs, from 0 (CPU machines) to 1000.")]
Machines = Annotated[
    int,
    typer.Option(min=1, max=1000, help="Machines of two cores, where --gpus is 0, from 1 to 1000."),
]
Slots = Annotated[
    int | None,
    typer.Option(min=1, max=1024, help="Requests at once on each, from 1; default 2, on a GPU 8."),
]
Rate = Annotated[
    float | None,
    typer.Option(
        min=1,
        callback=finite,
        help="Codes a second of a GPU, all slots together, from 1; default as measured.",
    ),
]
Duration = Annotated[float, typer.Option(min=2, max=600, help="Seconds a clip, from 2 to 600.")]
Between = Annotated[
    float,
    typer.Option(min=0, max=3600, help="Mean seconds between a visitor's clips, from 0 to 3600."),
]
Wait = Annotated[
    float,
    typer.Option(min=0, help="Seconds in line that 95 % may have, from 0, for the advice."),
]
Longest = Annotated[
    int, typer.Option(min=0, help="Places in line, from 0; beyond, a visitor is refused.")
]
Together = Annotated[
    bool, typer.Option("--together", help="All press Generate at one moment; default off.")
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the visitors, from 0.")]
Figures = Annotated[Path, typer.Option(metavar="FILE", help="What bench wrote of one CPU machine.")]


@commands.command(epilog=example("capacity --users 200 --together"))
def capacity(
    *,
    users: Users,
    gpus: Gpus = 0,
    machines: Machines = 1,
    slots: Slots = None,
    tokens_per_second: Rate = None,
    duration: Duration = 10.0,
    between: Between = 60.0,
    together: Together = False,
    wait: Wait = 10.0,
    longest: Longest = 20,
    seed: Seed = 0,
    figures: Figures = _FIGURES,
) -> None:
    """Say how long a crowd would wait for clips of both models, by the figures of bench."""
    prepare_libraries(1)
    from simba_music.training.capacity.figures import CORES, Gpu, read_gpu, read_measured
    from simba_music.training.capacity.queueing import Crowd, Machine
    from simba_music.training.capacity.report import advice, answer

    measured = read_measured(figures)
    if gpus:
        slots = slots or _GPU_SLOTS
        if tokens_per_second is None:
            gpu = read_gpu(figures.with_name(f"{figures.stem}-gpu.json"), slots)
        else:
            gpu = Gpu.given(tokens_per_second, slots)
        visit, machine, count, each = gpu.visit(measured, duration), gpu.machine(), gpus, "GPU"
        print(f"GPU: {gpu.source}. Codec, loudness and scorer: {measured.name}, a core a request.")
    elif tokens_per_second is not None:
        raise RequestError("--tokens-per-second is a GPU's. Say how many with --gpus.")
    else:
        machine, count, each = Machine(CORES, slots or _CPU_SLOTS), machines, "machine"
        visit = measured.visit(duration)
        print(f"Machine: {CORES} cores of {measured.name}, {machine.seats} requests at once.")
    crowd = Crowd(users, (visit,), between, together)
    print(answer(crowd, machine, count, seed, longest))
    print(advice(crowd, machine, each, wait, seed))
