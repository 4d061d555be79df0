"""Figures of one machine for the capacity model: what a clip of both models takes, by its parts."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simba_music.errors import RequestError
from simba_music.generation.request import SIDES
from simba_music.training.benchmark.gpu.models import BUNDLED
from simba_music.training.benchmark.gpu.rows import GpuResults, read_gpu_results
from simba_music.training.benchmark.report import of_kind
from simba_music.training.benchmark.rows import (
    DecodingRow,
    LengthRow,
    PartRow,
    Results,
    read_results,
)
from simba_music.training.capacity.queueing import Machine, Visit

SYSTEMS = ("simba", "transformer")
GENERATE = "generate"
TEXT = "text encoder, prompt and unconditional"
# By seconds of sound; streamed as the page has it.
PARTS = ("codec, in chunks of 10 frames", "loudness and limiter", "scorer")
# A process decodes each model in one thread, so of more cores it makes little use.
CORES = 2
SPAN_S = 0.1  # s of a clip for which a step is taken to last as long


@dataclass(frozen=True)
class StepTimes:
    """Seconds of a step at positions in a clip, in s; between them it is taken to be linear."""

    at_s: tuple[float, ...]
    step_s: tuple[float, ...]

    def mean(self, duration_s: float) -> float:
        """Mean seconds of a step over a clip; before the first position it is as there."""
        middles = np.arange(SPAN_S / 2, duration_s, SPAN_S)
        return float(np.interp(middles, self.at_s, self.step_s).mean())


@dataclass(frozen=True)
class Measured:
    """One core of a machine: steps by system, seconds a second of sound of the rest, and text."""

    name: str
    frame_rate: int
    steps: Mapping[str, StepTimes]
    sound_s: float
    text_s: float

    def side_s(self, system: str, duration_s: float) -> float:
        """Seconds of a core for one model's clip, sound and score included."""
        frames = duration_s * self.frame_rate
        rest = self.sound_s * duration_s + self.text_s
        return frames * self.steps[system].mean(duration_s) + rest

    def visit(self, duration_s: float, share: float = 1.0) -> Visit:
        """A request for both clips, whose sides run side by side."""
        sides = tuple(self.side_s(system, duration_s) for system in SYSTEMS)
        return Visit(GENERATE, sides, share)


def read_measured(path: Path) -> Measured:
    """Figures of a CPU, from what `simba-music bench --json FILE` wrote.

    Raises:
        CheckpointError: If there is no such file.
        RequestError: If it lacks a group that is needed.
    """
    results = read_results(path)
    parts = {row.part: row for row in of_kind(results, PartRow)}
    missing = [name for name in (*PARTS, TEXT) if name not in parts]
    steps = {system: _steps(results, system) for system in SYSTEMS}
    missing += [f"steps of {system}" for system, found in steps.items() if not found.at_s]
    if missing:
        raise RequestError(
            f"{path} lacks: {'; '.join(missing)}. Measure them with simba-music bench --json {path}"
        )
    return Measured(
        results.machine.processor,
        of_kind(results, DecodingRow)[0].frame_rate,
        steps,
        sum(parts[name].seconds.median / parts[name].audio_s for name in PARTS),
        parts[TEXT].seconds.median,
    )


def _steps(results: Results, system: str) -> StepTimes:
    """A step of the fastest float32 engine, which is the default: along a clip, or else at 2 s."""
    along = [row for row in of_kind(results, LengthRow) if row.system == system]
    if along:
        along.sort(key=lambda row: row.seconds)
        times = tuple(row.ms_per_step.median / 1000 for row in along)
        return StepTimes(tuple(row.seconds for row in along), times)
    rows = of_kind(results, DecodingRow)
    own = [r for r in rows if (r.system, r.dtype, r.size) == (system, "float32", rows[0].size)]
    best = min((row.ms_per_step.median for row in own), default=None)
    return StepTimes((0.0,), (best / 1000,)) if best is not None else StepTimes((), ())


@dataclass(frozen=True)
class Gpu:
    """A GPU: codes a second of all slots together when one model decodes alone; where from.

    A step takes as long however many slots are taken, as a graph computes all of them, so that a
    request has `tokens_per_s / slots`, and half of that while both models decode.
    """

    tokens_per_s: Mapping[str, float]
    slots: int
    source: str

    @classmethod
    def given(cls, tokens_per_s: float, slots: int) -> "Gpu":
        """One that both models decode on as fast as somebody says."""
        return cls(dict.fromkeys(SYSTEMS, tokens_per_s), slots, f"{tokens_per_s:g} codes/s, given")

    def visit(self, measured: Measured, duration_s: float) -> Visit:
        """A request for both clips: decoding on the GPU, everything else on one core of the host.

        Both models take turns on the GPU, so it is one task.
        """
        frames = duration_s * measured.frame_rate
        decoding = sum(frames * self.slots / rate for rate in self.tokens_per_s.values())
        rest = measured.sound_s * duration_s + measured.text_s
        return Visit(GENERATE, (decoding + len(SIDES) * rest,))

    def machine(self) -> Machine:
        """Slots, each with a rate of its own."""
        return Machine(float(self.slots), self.slots)


def read_gpu(path: Path, slots: int) -> Gpu:
    """A GPU of the file that `simba-music bench --gpu --json FILE` wrote.

    Of the bundled size in the graph, the measurement with the fewest prompts that are not fewer
    than `slots`, whose step lasts at least as long.

    Raises:
        RequestError: If that was not measured.
    """
    if not path.exists():
        raise RequestError(
            f"No GPU was measured: there is no {path}. Say what one decodes with "
            "--tokens-per-second, or measure it with simba-music bench --gpu --json FILE."
        )
    results = read_gpu_results(path)
    rates = {system: _rate(results, system, slots) for system in SYSTEMS}
    lacking = ", ".join(system for system, rate in rates.items() if rate is None)
    if lacking:
        raise RequestError(
            f"{path} has no decoding of {lacking} with {slots} or more prompts. Say what a GPU "
            "decodes with --tokens-per-second, or take fewer --slots."
        )
    found = {system: rate for system, rate in rates.items() if rate is not None}
    return Gpu(found, slots, f"{results.card}, measured")


def _rate(results: GpuResults, system: str, slots: int) -> float | None:
    """Codes a second of so many prompts; None if it was not measured."""
    rows = [
        row
        for row in results.rows
        if (row.group, row.what) == ("decoding", system)
        and row.engine.startswith("graph")
        and row.size.startswith(BUNDLED)
        and row.prompts >= slots
        and row.tokens_per_s
    ]
    fewest = min((row.prompts for row in rows), default=0)
    rates = [row.tokens_per_s or 0.0 for row in rows if row.prompts == fewest]
    return max(rates) * slots / fewest if rates else None
