"""Making a graph engine: with the fused kernels where they work, with PyTorch's where not."""

import logging

import torch

from simba_music.generation.engines.graph.buffers import (
    CACHE_STEP,
    CHUNK,
    TEXT_STEP,
    Size,
    bucket,
)
from simba_music.generation.engines.graph.engine import GraphEngine
from simba_music.generation.engines.self_check import wrong_values
from simba_music.generation.sampling import Sampling
from simba_music.models.lm import MusicLM

logger = logging.getLogger(__name__)

_PREFIX = 64  # tokens of text that the first captured size has room for, with a clip of few seconds


def make(lm: MusicLM, dtype: str) -> GraphEngine:
    """The engine of a model, its values not yet checked where PyTorch computes them.

    Raises:
        EngineError: If there is no such dtype.
    """
    if lm.head.weight.device.type == "cuda":
        engine, problem = _fused(lm, dtype)
        if engine is not None and not problem:
            return engine
        logger.warning("The graph engine's own kernels are not used: %s.", problem)
    return GraphEngine(lm, dtype)


def _fused(lm: MusicLM, dtype: str) -> tuple[GraphEngine | None, str]:
    """The engine with kernels in Triton, and what is wrong with it."""
    try:
        from simba_music.generation.engines.graph.fused import FusedStep

        engine = GraphEngine(lm, dtype, FusedStep)
        return engine, wrong_values(engine, lm) or wrong_draws(engine)
    except Exception as error:  # Triton's compiler and driver raise their own
        return None, f"{type(error).__name__}: {str(error).splitlines()[:1]}"


def first_size(engine: GraphEngine) -> Size:
    """The size that a first short clip of one request with guidance has."""
    config = engine.lm.config
    text = TEXT_STEP if config.conditioning == "cross" else 0
    attention = config.backbone == "transformer"
    return Size(1, True, bucket(_PREFIX, CACHE_STEP) if attention else 0, text)


@torch.inference_mode()
def _run(engine: GraphEngine, capture: bool) -> torch.Tensor:
    """Codes `[n, B, K]` of a chunk from an empty state, with noise and plane that are fixed."""
    runner = engine.runner(first_size(engine), CHUNK, capture)
    buffers, random = runner.buffers, torch.Generator().manual_seed(1)
    buffers.clear([0])
    buffers.set_sampling(Sampling(top_k=50, guidance=2.0), [0])
    buffers.at.zero_()
    buffers.plane.copy_(0.1 * torch.randn(buffers.plane.shape, generator=random))
    buffers.noise.copy_(torch.empty(buffers.noise.shape).exponential_(generator=random))
    buffers.active.fill_(True)
    runner.run(CHUNK)
    found = buffers.codes.to("cpu", copy=True)
    buffers.clear([0])
    engine.give_back(runner)
    return found


@torch.inference_mode()
def wrong_draws(engine: GraphEngine) -> str:
    """What is wrong with codes that the engine draws, beside PyTorch's drawing; empty if nothing.

    A draw that is as close as rounding may turn, and then the rest is another clip; but not the
    first step of a chunk.
    """
    found = _run(engine, capture=False)
    other = _run(GraphEngine(engine.lm, engine.dtype), capture=False)
    return "" if torch.equal(found[0], other[0]) else f"it draws {found[0]}, not {other[0]}"


def capture_problem(engine: GraphEngine) -> str:
    """Why steps cannot be captured on this GPU, in words; empty if they can, or on a CPU."""
    if engine.device.type != "cuda":
        return ""
    plain, captured = _run(engine, capture=False), _run(engine, capture=True)
    if engine.cannot:
        return f"its steps cannot be captured ({engine.cannot})"
    if not torch.equal(plain, captured):
        return "captured, its steps draw other codes"
    return ""
