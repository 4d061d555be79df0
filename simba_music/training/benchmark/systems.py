"""Systems: both language models at a size, on every engine and dtype that this machine has."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import get_args

import torch
from torch import nn

from simba_music.conditioning.request import Request
from simba_music.errors import EngineError
from simba_music.generation.decoding import BLOCK, generate
from simba_music.generation.engines.choice import FASTEST_FIRST, engine_of
from simba_music.generation.engines.types import AnyEngine
from simba_music.generation.loaded_models import LoadedModel
from simba_music.models.config import LMConfig
from simba_music.models.lm import MusicLM
from simba_music.settings import EngineName, WeightDtype
from simba_music.training.benchmark import memory_floor
from simba_music.training.lm.preset import BUNDLED, Architecture, LMPreset, make_config

PROMPT = "calm solo piano, slow, sad"
DTYPES: tuple[WeightDtype, ...] = get_args(WeightDtype)
OURS = ("simba", "transformer")
_SEED = 1
_SPREAD = 0.02  # of random weights


@dataclass(frozen=True)
class Size:
    """A size that all systems are measured at: `steps` a time, so often.

    The bundled one has no dimensions of its own, and weights that are trained.
    """

    d_model: int = 0
    n_layers: int = 0
    d_state: int = 0
    steps: int = 150
    repeats: int = 5


@dataclass(frozen=True)
class Competitor:
    """What decodes: `run` takes a number of steps and gives the CPU seconds of one.

    `weights` are the bytes that a step reads of them, and `moved` gives those of the state or cache
    in the mean of so many steps; `most` bounds the repeats of what is slow.
    """

    system: str
    engine: str
    dtype: str
    shape: str
    run: Callable[[int], float]
    weights: int
    moved: Callable[[int], int]
    most: int | None = None


@dataclass(frozen=True)
class Pair:
    """Both language models of a size, and what reads prompts for them."""

    models: dict[str, LoadedModel]

    @property
    def name(self) -> str:
        """Such as `d256 × 4`: width and layers."""
        config = self.config("simba")
        return f"d{config.d_model} × {config.n_layers}"

    def config(self, system: str) -> LMConfig:
        """The config of one of `OURS`."""
        return self.models[system].lm.config


def millions(module: nn.Module) -> str:
    """Parameters of a model, in words."""
    return f"{sum(p.numel() for p in module.parameters()) / 1e6:.3g} M"


def shape_of(config: LMConfig, lm: nn.Module) -> str:
    """What a table says of a model beside width and layers."""
    state = f", d_state {config.d_state}" if config.d_state else ""
    return f"{millions(lm)}, d_ff {config.d_ff}{state}"


def random_pair(size: Size, like: dict[str, LoadedModel]) -> Pair:
    """Models of a size with random weights: the same parts as the bundled ones, scaled.

    `d_ff` is 2.5 times the width in SiMBA, and what makes as many parameters in the Transformer;
    heads have 64 channels.
    """
    preset = LMPreset(
        size.d_model,
        size.n_layers,
        5 * size.d_model // 2,
        d_state=size.d_state,
        conditions=BUNDLED,
    )
    found = dict[str, LoadedModel]()
    for system in OURS:
        codec = like[system].lm.config.codec
        config = make_config(Architecture(system), preset, codec)  # type: ignore[arg-type]
        with torch.device("meta"):
            lm = MusicLM(config)
        found[system] = replace(like[system], lm=_filled(lm))
    return Pair(found)


def _filled(lm: MusicLM) -> MusicLM:
    """A model on the meta device with random weights; quicker than to make it with its own."""
    torch.manual_seed(_SEED)
    lm = lm.to_empty(device="cpu").eval().requires_grad_(False)
    for name, parameter in lm.named_parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=_SPREAD)
        else:  # norms; A = -exp(0) and the step sizes of Mamba-2
            parameter.fill_(0.0 if name.endswith(("A_log", "dt_bias", "bias")) else 1.0)
    return lm


def fastest(lm: MusicLM, names: Sequence[EngineName] = FASTEST_FIRST) -> AnyEngine:
    """The first of these engines, in float32, that is to be had; waits for it to be compiled.

    Raises:
        EngineError: If none is.
    """
    for name in names[:-1]:
        try:
            return engine_of(lm, name)
        except EngineError:
            continue
    return engine_of(lm, names[-1])


def engines(pair: Pair, system: str) -> Iterator[tuple[str, Callable[[], Competitor]]]:
    """Every engine and dtype by name, and what makes it for one of `OURS`.

    That raises EngineError where it is not to be had on this machine.
    """
    for name in FASTEST_FIRST:
        for dtype in DTYPES:
            yield (
                f"{name} {dtype} {system}",
                partial(_made, pair.models[system], system, name, dtype),
            )


def _made(model: LoadedModel, system: str, name: EngineName, dtype: WeightDtype) -> Competitor:
    return of_engine(engine_of(model.lm, name, dtype), model, system)


def of_engine(engine: AnyEngine, model: LoadedModel, system: str) -> Competitor:
    """An engine's decode loop as `generate` runs it, text and prefill apart."""
    config = model.lm.config

    def run(steps: int) -> float:
        request = Request(PROMPT, (BLOCK + steps) / config.codec.frame_rate, _SEED)
        blocks = generate(engine, config, model.encoder, [request])
        next(blocks)
        started = time.process_time()
        made = sum(block.shape[-1] for block in blocks)
        return (time.process_time() - started) / made

    def moved(steps: int) -> int:
        return memory_floor.moved_bytes(config, BLOCK + steps // 2)

    weights = memory_floor.weight_bytes(memory_floor.decoded_parameters(model.lm), engine.dtype)
    shape = shape_of(config, model.lm)
    return Competitor(system, engine.name, engine.dtype, shape, run, weights, moved)
