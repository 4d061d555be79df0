"""Capture: the step as CUDA graphs of one step and of a chunk, or as it is where none can be."""

import logging
import threading
import time
from collections.abc import Callable

import torch

from simba_music.generation.engines.graph.buffers import CHUNK, Buffers

logger = logging.getLogger(__name__)

WARM_UPS = 3  # runs before a capture: libraries make their handles and plans in these
_ONE_AT_A_TIME = threading.Lock()


class Runner:
    """Runs steps on one set of buffers; captured, a whole chunk is one launch."""

    def __init__(self, step: Callable[[Buffers], None], buffers: Buffers):
        self._step, self.buffers = step, buffers
        self._graphs = dict[int, torch.cuda.CUDAGraph]()
        self.capture_s = 0.0

    @property
    def captured(self) -> bool:
        """Whether steps are replayed."""
        return bool(self._graphs)

    def capture(self, chunk: bool = True) -> None:
        """Capture one step and, with `chunk`, so many together; the state stays as it is.

        Raises:
            RuntimeError: If CUDA cannot; the steps run as they did before.
        """
        with _ONE_AT_A_TIME, torch.cuda.device(self.buffers.at.device):
            kept, graphs = self.buffers.snapshot(), dict[int, torch.cuda.CUDAGraph]()
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(WARM_UPS):
                    self.buffers.at.zero_()
                    self._step(self.buffers)
            torch.cuda.current_stream().wait_stream(side)
            torch.cuda.synchronize()
            started = time.monotonic()  # kernels that had to be compiled first are others' too
            for count in (1, CHUNK) if chunk else (1,):
                graphs[count] = graph = torch.cuda.CUDAGraph()
                # Other threads may go on using the device while this one captures.
                with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
                    for _ in range(count):
                        self._step(self.buffers)
            self.buffers.restore(kept)
            torch.cuda.synchronize()
        self._graphs, self.capture_s = graphs, time.monotonic() - started
        logger.info("Captured %s in %.2f s.", self.buffers.size, self.capture_s)

    def run(self, count: int) -> None:
        """The next `count` steps of the chunk."""
        if not self._graphs:
            for _ in range(count):
                self._step(self.buffers)
            return
        whole = self._graphs.get(count)
        if whole is not None:
            whole.replay()
            return
        for _ in range(count):
            self._graphs[1].replay()
