"""Decoding on a GPU: tokens a second by engine and prompts, and parity with the reference."""

import functools
import time
from collections.abc import Iterator

import torch

from simba_music.errors import EngineError
from simba_music.generation.decoding import BLOCK, generate
from simba_music.generation.engines.graph.engine import GraphEngine
from simba_music.generation.engines.graph.making import capture_problem
from simba_music.generation.engines.graph.making import make as make_graph
from simba_music.generation.engines.reference import ReferenceEngine
from simba_music.generation.engines.self_check import relative_error
from simba_music.generation.engines.types import AnyEngine
from simba_music.models.lm import MusicLM
from simba_music.training.benchmark.gpu.models import Models, RandomText, read, requests
from simba_music.training.benchmark.gpu.rows import GpuRow
from simba_music.training.benchmark.rows import Spread, figure

LIMITS = {"float32": 1e-4, "bfloat16": 2e-2}  # of the largest logit
_FRAMES = 24


def synchronise(device: str) -> None:
    """Wait until the device has done all it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def peak_gb(device: str) -> float | None:
    """Most memory since the last reset, GB; None on a CPU."""
    if not device.startswith("cuda"):
        return None
    return figure(torch.cuda.max_memory_allocated() / 1e9)


class Engines:
    """Every engine that rows need, made when it is first asked for."""

    def __init__(self, models: Models):
        self.models = models
        self._made = dict[tuple[str, str, str, str], AnyEngine]()

    def get(self, name: str, dtype: str, size: str, system: str) -> AnyEngine:
        """An engine of a model: `graph`, `launched` (the same without a graph), or `reference`.

        Raises:
            EngineError: If it cannot be had.
        """
        key = (name, dtype, size, system)
        if key not in self._made:
            self._made[key] = self._make(name, dtype, self.models.lm(size, system))
        return self._made[key]

    def _make(self, name: str, dtype: str, lm: MusicLM) -> AnyEngine:
        if name == "reference":
            return ReferenceEngine(lm)
        engine = make_graph(lm, dtype)
        if name == "launched":
            engine.cannot = "it is measured without"
        elif problem := capture_problem(engine):
            raise EngineError(f"{problem[0].upper()}{problem[1:]}.")
        return engine


@torch.inference_mode()
def parity(engines: Engines, dtype: str, size: str, system: str) -> Iterator[GpuRow]:
    """Largest difference of teacher-forced logits from the reference's, over the largest logit."""
    engine, lm = engines.get("graph", dtype, size, system), engines.models.lm(size, system)
    device = engines.models.device
    given, random = read(lm, 1, _FRAMES, device), torch.Generator().manual_seed(1)
    shape = (1, lm.config.n_codebooks, _FRAMES)
    tokens = torch.randint(lm.config.vocab, shape, generator=random).to(device)
    wanted, found = (
        one.logits(one.prefill(given, _FRAMES), tokens, one.plane(given)).float()
        for one in (engines.get("reference", "float32", size, system), engine)
    )
    error = relative_error(found, wanted)
    yield GpuRow(
        group="parity",
        what=system,
        size=engines.models.name(size),
        engine=_named(engine),
        dtype=dtype,
        error=figure(error),
        limit=LIMITS[dtype],
        note="" if error <= LIMITS[dtype] else "FAILED",
    )


def _named(engine: AnyEngine) -> str:
    if not isinstance(engine, GraphEngine):
        return engine.name
    way = "launched step by step" if engine.cannot else "graph"
    return f"{way}, {engine.kernels} kernels"


def _captured(engine: AnyEngine) -> str:
    if not isinstance(engine, GraphEngine) or engine.device.type == "cpu" or engine.cannot:
        return ""
    return f"captured in {engine.capture_s:.2f} s"


def decoding(
    engines: Engines, name: str, dtype: str, size: str, system: str, prompts: int
) -> Iterator[GpuRow]:
    """Tokens a second, sampling and guidance included, text and prefill not."""
    models, scale = engines.models, engines.models.scale
    engine, lm = engines.get(name, dtype, size, system), models.lm(size, system)
    device = models.device
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    run = functools.partial(_ms_per_step, engine, lm, prompts, models)
    run(min(scale.steps, 4 * BLOCK))  # captures and compiles
    found = list[float]()
    for _ in range(scale.repeats):
        found.append(run(scale.steps))
        spread = Spread.of(found)
        tokens = prompts * lm.config.n_codebooks * 1000 / spread.median
        yield GpuRow(
            group="decoding",
            what=system,
            size=models.name(size),
            engine=_named(engine),
            dtype=dtype,
            prompts=prompts,
            ms_per_step=spread,
            tokens_per_s=figure(tokens),
            times_real_time=figure(1000 / spread.median / lm.config.codec.frame_rate),
            peak_gb=peak_gb(device),
            note=_captured(engine),
        )


def _ms_per_step(engine: AnyEngine, lm: MusicLM, prompts: int, models: Models, steps: int) -> float:
    """Of so many steps, or as many as fit in the time of a measurement."""
    frame_rate, done = lm.config.codec.frame_rate, 0
    asked = requests(prompts, max(models.scale.clip_s, (steps + BLOCK) / frame_rate))
    blocks = generate(engine, lm.config, RandomText.of(lm.config), asked)
    next(blocks)
    synchronise(models.device)
    started = time.perf_counter()
    for block in blocks:
        done += block.shape[-1]
        if done >= steps or time.perf_counter() - started > models.scale.seconds:
            break
    synchronise(models.device)
    taken = time.perf_counter() - started
    blocks.close()  # type: ignore[attr-defined]
    return 1000 * taken / done
