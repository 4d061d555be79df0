"""Making a graph engine: with the fused kernels where they work, with PyTorch's where not."""

import functools
import logging

import torch
from torch import Tensor

from simba_music.generation.engines.graph.buffers import (
    CACHE_STEP,
    CHUNK,
    TEXT_STEP,
    Buffers,
    Size,
    bucket,
)
from simba_music.generation.engines.graph.engine import GraphEngine
from simba_music.generation.engines.graph.step import TorchStep
from simba_music.generation.engines.self_check import wrong_values
from simba_music.generation.sampling import Sampling
from simba_music.models.lm import MusicLM

AGREED = 0.5  # of a chunk's codes; of 50 likely ones, chance would find 2 %
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
def _run(engine: GraphEngine, capture: bool) -> Tensor:
    """Codes `[n, B, K]` of a chunk from an empty state, with noise and plane that are fixed."""
    runner = engine.runner(first_size(engine), CHUNK, capture)
    buffers = runner.buffers
    _fill(buffers)
    runner.run(CHUNK)
    found = buffers.codes.to("cpu", copy=True)
    buffers.clear([0])
    engine.give_back(runner)
    return found


def _fill(buffers: Buffers) -> None:
    """Inputs of a chunk that are fixed and random, of one request."""
    random = torch.Generator().manual_seed(1)
    buffers.clear([0])
    buffers.set_sampling(Sampling(top_k=50, guidance=2.0), [0])
    buffers.at.zero_()
    buffers.plane.copy_(0.1 * torch.randn(buffers.plane.shape, generator=random))
    buffers.noise.copy_(torch.empty(buffers.noise.shape).exponential_(generator=random))
    buffers.active.fill_(True)


@torch.inference_mode()
def wrong_draws(engine: GraphEngine) -> str:
    """What is wrong with codes that are drawn, beside PyTorch's from the same logits."""
    runner = engine.runner(first_size(engine), CHUNK, capture=False)
    buffers, found = runner.buffers, list[Tensor]()
    _fill(buffers)
    logits = buffers.plane.new_empty(buffers.logits.shape)
    logits.copy_(2 * torch.randn(logits.shape, generator=torch.Generator().manual_seed(2)))
    for draw in (engine.step.draw, functools.partial(TorchStep.draw, engine.step)):
        draw(buffers, logits)
        found.append(buffers.codes[0].to("cpu", copy=True))
    buffers.clear([0])
    engine.give_back(runner)
    own, other = found
    return "" if torch.equal(own, other) else f"of the same logits it draws {own}, not {other}"


def capture_problem(engine: GraphEngine) -> str:
    """Why steps cannot be captured on this GPU, in words; empty if they can, or on a CPU."""
    if engine.device.type != "cuda":
        return ""
    plain, captured = _run(engine, capture=False), _run(engine, capture=True)
    if engine.cannot:
        return f"its steps cannot be captured ({engine.cannot})"
    # Products may be summed in another order in a graph, so that a close draw turns.
    if (plain == captured).float().mean() < AGREED:
        return "captured, its steps draw other codes"
    return ""
