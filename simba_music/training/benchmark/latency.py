"""Latency: what a listener waits for through the service, and how many clips several get."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

from simba_music.conditioning.request import Request
from simba_music.generation.clip import AudioChunk, Clip
from simba_music.generation.engines.choice import SLOTS
from simba_music.generation.pipeline import Pipeline
from simba_music.generation.request import SIDES
from simba_music.generation.streaming.threads import cores
from simba_music.training.benchmark.machine import in_a_new_process, pinned, quiet
from simba_music.training.benchmark.rows import (
    Book,
    LatencyRow,
    PartRow,
    Spread,
    TogetherRow,
    figure,
)
from simba_music.training.benchmark.systems import PROMPT


@dataclass(frozen=True)
class Checkpoints:
    """What a pipeline is loaded from."""

    simba: str = "simba"
    transformer: str = "transformer"
    scorer: str = "clap"

    def load(self) -> Pipeline:
        """The pipeline, on the CPU with one thread."""
        return Pipeline.load(self.simba, self.transformer, self.scorer, "cpu")


@dataclass(frozen=True)
class Case:
    """So many listeners at one moment, the length of their clips, and how often that is repeated.

    On one core, or on all; with one core free for each, both models generate at the same time.
    With a neighbour, another process keeps one of these cores busy meanwhile.
    """

    users: int
    duration_s: float
    repeats: int
    all_cores: bool = True
    neighbour: bool = False


@dataclass(frozen=True)
class Waiting:
    """Wall seconds until the first sound, and until all is there; and the engine that it took."""

    first_audio_s: float
    total_s: float
    engine: str


def listen(pipeline: Pipeline, request: Request) -> Waiting:
    """Have both clips made, their sound as it comes, and their scores."""
    started, first, engine = time.perf_counter(), None, ""
    for event in pipeline.generate(request, stream=True):
        if isinstance(event, Clip):
            engine = f"{event.recipe.engine}, {event.recipe.dtype}"
        if first is None and isinstance(event, AudioChunk) and event.waveform.samples.numel():
            first = time.perf_counter() - started
    total = time.perf_counter() - started
    return Waiting(total if first is None else first, total, engine)


def listen_together(pipeline: Pipeline, request: Request, users: int) -> list[Waiting]:
    """As `listen`, of so many who ask at one moment, each with a seed of their own."""
    together = threading.Barrier(users)

    def one(user: int) -> Waiting:
        together.wait()
        return listen(pipeline, replace(request, seed=request.seed + user))

    with ThreadPoolExecutor(users) as pool:
        return list(pool.map(one, range(users)))


def from_nothing(
    checkpoints: Checkpoints, request: Request
) -> tuple[float, float, Waiting, Waiting]:
    """Seconds to load and to warm up, as the page does, and what the first and the second take.

    For a process that did nothing before.
    """
    quiet()
    started = time.perf_counter()
    pipeline = checkpoints.load()
    loaded = time.perf_counter()
    pipeline.warm_up()
    warm = time.perf_counter()
    return loaded - started, warm - loaded, listen(pipeline, request), listen(pipeline, request)


@contextmanager
def neighbour(busy: bool) -> Iterator[None]:
    """Another process that keeps one of the cores of this one busy, or none."""
    if not busy:
        yield
        return
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        try:
            yield
        finally:
            other.kill()


def measure_latency(
    pipeline: Pipeline,
    checkpoints: Checkpoints,
    cases: Sequence[Case],
    cold_s: float,
    book: Book,
) -> None:
    """Measure what listeners wait for.

    Args:
        pipeline: a warm one.
        checkpoints: what it was loaded from.
        cases: what warm listeners ask for.
        cold_s: seconds of the clip that a fresh process makes first.
        book: where the rows go.
    """
    request = Request(PROMPT, cold_s, seed=1)
    with pinned():
        loaded, warmed, first, second = in_a_new_process(from_nothing, checkpoints, request)
    book.put(_row("first", 1, 1, cold_s, [first]))
    book.put(_row("second", 1, 1, cold_s, [second]))
    part = "load both models, their encoder and codec, and the scorer"
    book.put(PartRow(part=part, audio_s=0.0, seconds=Spread.of([loaded])))
    part = "warm up, while the page opens"
    book.put(PartRow(part=part, audio_s=0.0, seconds=Spread.of([warmed])))
    book.done("latency of a fresh process")
    with pinned():
        listen(pipeline, request)  # so that it is warm
    for case in cases:
        used = len(cores()) if case.all_cores else 1
        with pinned(used), neighbour(case.neighbour):
            request, found = Request(PROMPT, case.duration_s, seed=1), list[Waiting]()
            for _ in range(case.repeats):
                found += listen_together(pipeline, request, case.users)
                row = _row("warm", case.users, used, case.duration_s, found, case.neighbour)
                book.put(row)
        book.done(f"latency, {case.users} at once, {used} cores, {case.duration_s:g} s")


def _row(
    start: Literal["first", "second", "warm"],
    users: int,
    used: int,
    duration_s: float,
    found: Sequence[Waiting],
    neighbour: bool = False,
) -> LatencyRow:
    return LatencyRow(
        start=start,
        users=users,
        cores=used,
        neighbour=neighbour,
        duration_s=figure(duration_s),
        engine=" or ".join(sorted({one.engine for one in found})),
        first_audio_s=Spread.of([one.first_audio_s for one in found]),
        total_s=Spread.of([one.total_s for one in found]),
    )


@dataclass(frozen=True)
class Clients:
    """So many clients who each want both clips of a prompt; and how often that is repeated."""

    count: int
    duration_s: float
    repeats: int


def with_slots(pipeline: Pipeline, slots: int) -> Pipeline:
    """The same models, stepped in so many slots, or each request on its own where 0."""
    choice = replace(pipeline.choice, slots=slots)
    return Pipeline(
        pipeline.models, pipeline.scorer, pipeline.device, pipeline.cache, choice=choice
    )


def measure_together(pipeline: Pipeline, clients: Clients, book: Book) -> None:
    """Measure both ways by turns, on all cores: sound streamed, loudness and scores included.

    One after the other, both sides of a request are at once where there are cores for both.

    Args:
        pipeline: a warm one.
        clients: how many.
        book: where the row goes.
    """
    request = Request(PROMPT, clients.duration_s, seed=1)
    alone, slotted = with_slots(pipeline, 0), with_slots(pipeline, SLOTS)
    apart, together, found = list[float](), list[float](), list[Waiting]()
    with pinned(len(cores())):
        for _ in range(clients.repeats):
            started = time.perf_counter()
            for client in range(clients.count):
                found.append(listen(alone, replace(request, seed=request.seed + client)))
            between = time.perf_counter()
            found += listen_together(slotted, request, clients.count)
            apart.append(between - started)
            together.append(time.perf_counter() - between)
            row = _together_row(clients, found[0].engine, apart, together)
            book.put(row)
            book.done(
                f"{row.users} clients on {row.cores} cores, clips a minute: "
                f"{row.together.median:g} through {row.slots} slots, {row.apart.median:g} one "
                f"after the other; {row.ratio:.2f} times"
            )


def _together_row(
    clients: Clients, engine: str, apart: list[float], together: list[float]
) -> TogetherRow:
    clips = 60 * clients.count * len(SIDES)
    return TogetherRow(
        users=clients.count,
        cores=len(cores()),
        duration_s=figure(clients.duration_s),
        engine=engine,
        slots=SLOTS,
        apart=Spread.of([clips / seconds for seconds in apart]),
        together=Spread.of([clips / seconds for seconds in together]),
    )
