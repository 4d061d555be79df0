"""Choice of an engine by name and dtype; `auto` takes the fastest that is ready and sound."""

import functools
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from simba_music.errors import EngineError
from simba_music.generation.engines.building import Building
from simba_music.generation.engines.graph.making import capture_problem
from simba_music.generation.engines.graph.making import make as make_graph
from simba_music.generation.engines.packed import PackedEngine
from simba_music.generation.engines.reference import ReferenceEngine
from simba_music.generation.engines.self_check import problem_of, wrong_values
from simba_music.generation.engines.types import AnyEngine
from simba_music.models.lm import MusicLM
from simba_music.settings import EngineName, WeightDtype, settings

logger = logging.getLogger(__name__)

FASTEST_FIRST: tuple[EngineName, ...] = ("compiled", "packed", "reference")  # on a CPU
SLOTS = 8  # of the compiled engine, where nobody says how many
ON_GPU: tuple[EngineName, ...] = ("graph", "reference")


@dataclass(frozen=True)
class EngineChoice:
    """What was asked for; with fewer bits a weight it can only be compiled, or graph on a GPU."""

    name: EngineName = "auto"
    dtype: WeightDtype = "float32"
    slots: int | None = 0  # of requests stepped together; 0: each on its own; None: what suits

    @classmethod
    def of_settings(cls) -> "EngineChoice":
        """What the environment says."""
        return cls(settings().engine, settings().weights, settings().slots)

    @property
    def parts(self) -> tuple[EngineName, WeightDtype, int | None]:
        """All that it says."""
        return self.name, self.dtype, self.slots

    def slots_of(self, engine: AnyEngine) -> int:
        """How many requests an engine steps together.

        The rows of compiled are as fast alone as without slots. Those of graph are not, since a
        step has them all whoever is there, so its slots are only used where they were asked for.
        """
        if self.slots is None:
            return SLOTS if engine.name == "compiled" else 0
        return self.slots

    def __post_init__(self) -> None:
        """Refuse what no engine can do.

        Raises:
            EngineError: If these two do not go together.
        """
        if self.dtype != "float32" and self.name in ("packed", "reference"):
            raise EngineError(
                f"The engine {self.name} has float32 weights only, not {self.dtype}. Use the "
                "engine compiled (on a GPU: graph), or auto."
            )


@functools.cache
def kernels(dtype: WeightDtype) -> Building:
    """The compiled kernels of this process for one kind of weights, built at most once."""
    return Building(dtype)


def engine_of(lm: MusicLM, name: EngineName = "auto", dtype: WeightDtype = "float32") -> AnyEngine:
    """The engine of that name for a model, waiting for kernels that must be compiled first.

    Raises:
        EngineError: If this machine or this model cannot have it.
    """
    engines = Engines(lm)
    return engines.get(now([engines], EngineChoice(name, dtype)), dtype)


class Engines:
    """The engines of one language model, each made and checked once."""

    def __init__(self, lm: MusicLM):
        self.lm = lm
        self._made: dict[tuple[str, str], AnyEngine | str] = {}
        self._lock = threading.Lock()

    def get(self, name: str, dtype: WeightDtype) -> AnyEngine:
        """The engine of that name, whose kernels must be ready.

        Raises:
            EngineError: If this machine or this model cannot have it.
        """
        problem = self.problem(name, dtype)
        found = self._made.get((name, dtype))
        if problem or found is None or isinstance(found, str):
            raise EngineError(
                f"The engine {name} ({dtype}) cannot be had here: {problem}. "
                "Use --engine auto and --weights float32."
            )
        return found

    def problem(self, name: str, dtype: WeightDtype) -> str:
        """Why this model cannot have that engine now, in words; empty if it can."""
        with self._lock:
            if (name, dtype) not in self._made:
                if name == "compiled" and (waiting := kernels(dtype).problem()):
                    return waiting  # which may be over the next time
                self._made[name, dtype] = self._make(name, dtype)
            found = self._made[name, dtype]
        return found if isinstance(found, str) else ""

    def _make(self, name: str, dtype: WeightDtype) -> AnyEngine | str:
        """The engine, or why it cannot be had."""
        if name == "reference":
            return ReferenceEngine(self.lm)
        if name == "graph":
            return self._of_the_gpu(dtype)
        if self.lm.head.weight.device.type != "cpu":
            return f"it runs on the CPU, and the model is on {self.lm.head.weight.device}"
        engine = self._of_the_cpu(name, dtype)
        problem = problem_of(engine, self.lm)
        if problem:
            logger.warning("The engine %s (%s) is not used: %s.", name, dtype, problem)
        return problem or engine

    @property
    def on_gpu(self) -> bool:
        """Whether the model is on a GPU of CUDA."""
        return self.lm.head.weight.device.type == "cuda"

    def _of_the_gpu(self, dtype: WeightDtype) -> AnyEngine | str:
        """The graph engine, which runs on a CPU too, if it is asked for by name."""
        try:
            engine = make_graph(self.lm, dtype)
            problem = wrong_values(engine, self.lm)
            # In ZeroGPU's process, which ends with a call, only what pays is captured.
            if not problem and not settings().zero_gpu:
                problem = capture_problem(engine)
        except (EngineError, RuntimeError) as error:  # of CUDA: memory, or a card that is too old
            return str(error)
        if problem:
            logger.warning("The engine graph (%s) is not used: %s.", dtype, problem)
        return problem or engine

    def _of_the_cpu(self, name: str, dtype: WeightDtype) -> AnyEngine:
        if name == "packed":
            return PackedEngine(self.lm)
        # Its kernels import numba, which may be missing.
        from simba_music.generation.engines.compiled import CompiledEngine

        return CompiledEngine(self.lm, dtype)


def now(models: Sequence[Engines], choice: EngineChoice) -> EngineName:
    """Name of the engine that all of these models decode on from now on.

    One for all: both sides of a comparison are to differ in nothing but the model. `auto` never
    waits: while kernels are being compiled, and where they cannot be had, it takes the next one.

    Raises:
        EngineError: If the one that was asked for cannot be had, or is not ready yet.
    """
    on_gpu = all(engines.on_gpu for engines in models)
    if choice.name == "auto" and choice.dtype == "float32":
        for name in ON_GPU if on_gpu else FASTEST_FIRST:
            if not any(engines.problem(name, choice.dtype) for engines in models):
                return name
    fewer_bits: EngineName = "graph" if on_gpu else "compiled"
    name = fewer_bits if choice.name == "auto" else choice.name
    if name == "compiled":
        kernels(choice.dtype).wait()
    for engines in models:
        engines.get(name, choice.dtype)
    return name


def prepare(choice: EngineChoice, device: str) -> None:
    """Begin to build what a choice will need, in the background.

    Kernels that were kept from an earlier run are waited for: they are there within a second.
    """
    if torch.device(device).type == "cpu" and choice.name in ("auto", "compiled"):
        building = kernels(choice.dtype)
        building.start()
        if building.kept:
            building.wait()


def settled(choice: EngineChoice, device: str) -> None:
    """Wait for what `prepare` has begun to build, so that `auto` is the same from now on."""
    if torch.device(device).type == "cpu" and choice.name in ("auto", "compiled"):
        kernels(choice.dtype).settle()
