"""ZeroGPU: generation in the GPU process of a Space, for as long as it will need."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from simba_music.conditioning.request import Request
from simba_music.generation.clip import Clip
from simba_music.generation.pipeline import Pipeline
from simba_music.generation.request import SIDES
from simba_music.generation.service import Asked, Event, GenerationService, asked_of, never

STARTUP_S = 8.0  # a GPU call's own overhead, and scoring
# The quota is checked on what is asked for; a call that runs out loses its clip. Half as much again
# holds a clip of a pair that is nearly empty and drawn again (`streaming.redrawing`).
MARGIN = 1.5
SHORTEST_S, LONGEST_S = 15, 120
FIRST_TOKENS_PER_S = 60.0  # before anything was measured


def seconds_needed(tokens: int, tokens_per_s: float) -> int:
    """GPU seconds to ask for, for so many tokens of all models together."""
    wanted = STARTUP_S + MARGIN * tokens / max(tokens_per_s, 1e-3)
    return int(min(max(wanted, SHORTEST_S), LONGEST_S))


def _on_gpu(
    function: Callable[..., Iterator[Any]], duration: Callable[..., int]
) -> Callable[..., Iterator[Any]] | None:
    """`function` with a GPU for `duration(*the same arguments)` seconds; None without `spaces`.

    The function runs in a process of its own, forked from this one: its arguments and what
    it yields are pickled, and it sees models as they were when the app started.
    """
    try:
        import spaces
    except ImportError:
        return None
    decorated: Callable[..., Iterator[Any]] = spaces.GPU(duration=duration)(function)
    return decorated


class ZeroGpu:
    """Makes the service of a pipeline: in the GPU process where there is one, else here.

    Models cannot be sent to that process, so a run names them. Create this once, when the app
    starts: the GPU process sees models as they were then.
    """

    def __init__(self, pipeline: Pipeline):
        self.pipeline, self.tokens_per_s = pipeline, FIRST_TOKENS_PER_S
        self._run = _on_gpu(self._generate, self._seconds)

    def _generate(
        self,
        names: tuple[str, str],
        request: Asked,
        sides: Sequence[str],
        should_stop: Callable[[], bool],
        stream: bool,
    ) -> Iterator[Event]:
        chosen = self.pipeline.with_models(*names)
        yield from chosen.generate(request, sides, should_stop, stream)

    def _seconds(
        self, names: tuple[str, str], request: Asked, sides: Sequence[str], *rest: object
    ) -> int:
        tokens = 0.0
        for side, own in asked_of(request, sides).items():
            config = self.pipeline.models[side].lm.config
            # What a clip goes on from is made again there, where nothing is kept.
            length_s = own.duration_s * own.takes + sum(own.grown_s)
            tokens += length_s * config.codec.frame_rate * config.n_codebooks
        return seconds_needed(round(tokens), self.tokens_per_s)

    @property
    def here(self) -> bool:
        """Whether generation is in this process."""
        return self._run is None

    def of(self, chosen: Pipeline) -> GenerationService:
        """The service that generates with these models."""
        return chosen if self.here else OnZeroGpu(self, chosen)

    def run(self, *arguments: object) -> Iterator[Event]:
        """One call of the GPU process; its speed decides how long the next one asks for."""
        assert self._run is not None, "there is no GPU process here"
        for event in self._run(*arguments):
            if isinstance(event, Clip):
                self.tokens_per_s = event.tokens_per_s
            yield event


@dataclass(frozen=True)
class OnZeroGpu:
    """The service of a pipeline on ZeroGPU: one call of the GPU process for both sides."""

    gpu: ZeroGpu
    chosen: Pipeline

    def validate(self, sides: Sequence[str] = SIDES, **raw: object) -> Request:
        """See `GenerationService`."""
        return self.chosen.validate(sides, **raw)

    def generate(
        self,
        request: Asked,
        sides: Sequence[str] = SIDES,
        should_stop: Callable[[], bool] = never,
        stream: bool = False,
    ) -> Iterator[Event]:
        """See `GenerationService`."""
        left, right = (self.chosen.models[side].origin.id for side in SIDES)
        yield from self.gpu.run((left, right), request, tuple(sides), should_stop, stream)

    def generate_batch(self, requests: Sequence[Request], side: str) -> list[Clip]:
        """See `GenerationService`; a call a request."""
        events = (event for request in requests for event in self.generate(request, (side,)))
        return [event for event in events if isinstance(event, Clip)]
