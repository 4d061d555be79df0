"""Graph engine: decodes on buffers that stay; on CUDA a chunk of steps is one launch."""

import contextlib
import logging
import threading
import weakref
from collections import defaultdict
from collections.abc import Iterator

import torch
from torch import Tensor

from simba_music.conditioning.types import Conditioning
from simba_music.errors import EngineError
from simba_music.generation.engines.graph.buffers import (
    CACHE_STEP,
    CHUNK,
    TEXT_STEP,
    Buffers,
    Size,
    bucket,
)
from simba_music.generation.engines.graph.capture import Runner
from simba_music.generation.engines.graph.slots import GraphSlots
from simba_music.generation.engines.graph.step import TorchStep
from simba_music.generation.engines.graph.weights import Weights
from simba_music.generation.engines.types import DAMAGED
from simba_music.generation.sampling import Sampling
from simba_music.models.lm import LMState, MusicLM
from simba_music.models.transformer import AttentionState

logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
KEPT = 2  # sets of buffers of one size that wait to be used again
# Before anything was measured: what a capture takes, and what it saves a step.
FIRST_CAPTURE_S, SAVED_S = 1.0, 4e-3


class GraphState:
    """The state of G rows: what was prefilled, and buffers once it is known how codes are drawn."""

    def __init__(self, prefilled: LMState, rows: int, steps: int):
        self.prefilled: LMState | None = prefilled
        self.rows, self.steps, self.done = rows, steps, 0
        self.runner: Runner | None = None


class GraphEngine:
    """See `Engine`; matrices and caches are float32 or bfloat16, the rest is float32.

    Whether it runs captured is decided by every prefill: a graph must save more than it costs.
    """

    name = "graph"

    def __init__(self, lm: MusicLM, dtype: str = "float32", step: "type[TorchStep]" = TorchStep):
        """Prepare the weights of `lm`.

        Args:
            lm: the model, on the device to decode on.
            dtype: of matrices and caches.
            step: what computes a step.

        Raises:
            EngineError: If there is no such dtype, or the model has no memory.
        """
        self.lm, self.dtype, self.device = lm, dtype, lm.head.weight.device
        if dtype not in DTYPES or self.device.type == "meta":
            raise EngineError(
                f"The graph engine has {', '.join(DTYPES)} on a CPU or GPU, not {dtype} on "
                f"{self.device}. Choose one of these, or the engine reference."
            )
        self._kind = DTYPES[dtype]
        self.step = step(lm.config, Weights.of(lm, self._kind))
        self.capture_s = FIRST_CAPTURE_S
        self._free: dict[Size, list[Runner]] = defaultdict(list)
        self._lock = threading.Lock()
        self.cannot = ""  # why nothing is captured any more

    @property
    def kernels(self) -> str:
        """What computes a step: torch or fused."""
        return self.step.kernels

    def plane(self, given: Conditioning) -> Tensor:
        """See `Engine`."""
        return self.lm.plane(given)

    @torch.inference_mode()
    def prefill(self, given: Conditioning, steps: int) -> GraphState:
        """See `Engine`; the model itself reads the text, all tokens at once."""
        return GraphState(self.lm.init_state(given, 0), len(given.null), steps)

    def slots(self, count: int) -> GraphSlots:
        """See `SlottedEngine`."""
        return GraphSlots(self, count)

    def size_of(self, state: LMState, steps: int, batch: int, sampling: Sampling) -> Size:
        """The size of buffers that so many steps from a prefilled state need."""
        text = 0
        if state.context is not None:
            text = bucket(state.context.mask.shape[1], TEXT_STEP)
        cache = 0
        if isinstance(state.backbone, AttentionState):
            cache = bucket(state.backbone.mask.shape[1] + steps, CACHE_STEP)
        return Size(batch, sampling.guided, cache, text, sampling.top_p < 1)

    def runner(self, size: Size, steps: int, capture: bool | None = None) -> Runner:
        """Buffers of a size and what runs on them; captured if so many steps are worth it.

        Args:
            size: of the buffers.
            steps: that will be run.
            capture: whether to capture; None is what pays.
        """
        with self._lock:
            waiting = self._free[size]
            found = waiting.pop() if waiting else None
        if found is None:
            with torch.inference_mode():
                found = Runner(self.step, Buffers(self.lm.config, size, self.device, self._kind))
        pays = steps * SAVED_S > self.capture_s if capture is None else capture
        if pays and not found.captured and self.device.type == "cuda" and not self.cannot:
            self._capture(found)
        return found

    def _capture(self, runner: Runner) -> None:
        try:
            with torch.inference_mode():
                runner.capture()
            self.capture_s = runner.capture_s
        except RuntimeError as error:  # of CUDA: no memory, or what cannot be captured
            self.cannot = str(error).splitlines()[0]
            logger.warning("No CUDA graph, so each step is launched: %s", self.cannot)

    def give_back(self, runner: Runner) -> None:
        """Keep buffers for the next who needs that size."""
        with self._lock:
            waiting = self._free[runner.buffers.size]
            if len(waiting) < KEPT:
                waiting.append(runner)

    def _begun(self, state: GraphState, batch: int, sampling: Sampling) -> Runner:
        """The runner of a state, loaded; a state that is dropped gives it back."""
        if state.runner is None:
            assert state.prefilled is not None
            size = self.size_of(state.prefilled, state.steps, batch, sampling)
            state.runner = self.runner(size, state.steps)
            weakref.finalize(state, self.give_back, state.runner)
            state.runner.buffers.load(state.prefilled, range(batch))
            state.prefilled = None
        state.runner.buffers.set_sampling(sampling, range(batch))
        return state.runner

    def _check_room(self, state: GraphState, runner: Runner, steps: int) -> None:
        if state.done + steps > state.steps and runner.buffers.keys:
            raise ValueError(
                f"The KV cache holds {state.steps} steps and {state.done + steps} are needed; "
                "call prefill with more steps."
            )

    @torch.inference_mode()
    def decode_n(
        self,
        state: GraphState,
        plane: Tensor,
        noise: Tensor,
        active: Tensor,
        sampling: Sampling,
    ) -> tuple[Tensor, GraphState]:
        """See `Engine`; the host waits once a chunk.

        Raises:
            ValueError: If the state has no room for so many steps.
            FloatingPointError: If a logit is NaN.
        """
        count, batch = len(noise), noise.shape[1]
        runner = self._begun(state, batch, sampling)
        self._check_room(state, runner, count)
        buffers, found = runner.buffers, list[Tensor]()
        for start in range(0, count, CHUNK):
            part = slice(start, min(start + CHUNK, count))
            length = part.stop - part.start
            buffers.at.zero_()
            buffers.plane[:length] = plane[:, part].transpose(0, 1)
            buffers.noise[:length].copy_(noise[part], non_blocking=True)
            buffers.active[:length] = active[:, part].t()[:, None].to(self.device)
            runner.run(length)
            found.append(buffers.codes[:length].permute(1, 2, 0).to("cpu", copy=True))
        state.done += count
        if buffers.damaged.any():
            raise FloatingPointError(DAMAGED)
        return torch.cat(found, -1), state

    @torch.inference_mode()
    def logits(self, state: GraphState, tokens: Tensor, plane: Tensor) -> Tensor:
        """See `Engine`; leaves the state as it is."""
        batch, count = len(tokens), tokens.shape[-1]
        guided = Sampling(guidance=2.0 if state.rows > batch else 1.0)
        with self._borrowed(state, batch, guided) as runner:
            buffers, found = runner.buffers, list[Tensor]()
            self._check_room(state, runner, count)
            for i in range(count):
                found.append(self.step.logits(buffers, plane[:, i].float()))
                own = tokens[..., i].to(self.device)
                buffers.previous.view(-1, *own.shape).copy_(own)
                buffers.length.add_(1)
        return torch.stack(found, dim=2)

    @contextlib.contextmanager
    def _borrowed(self, state: GraphState, batch: int, sampling: Sampling) -> Iterator[Runner]:
        runner = self._begun(state, batch, sampling)
        kept = runner.buffers.snapshot()
        yield runner
        runner.buffers.restore(kept)
