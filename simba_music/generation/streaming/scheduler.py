"""Scheduler: requests of several people stepped together, in slots that they join and leave."""

import queue
import threading
from collections import deque
from collections.abc import Iterator

import torch
from torch import Tensor

from simba_music.conditioning.request import Request
from simba_music.generation.decoding import PLANE_S, CodeBuffer, frames_of, read_requests
from simba_music.generation.engines.graph.buffers import CHUNK
from simba_music.generation.engines.types import DAMAGED, Chunk, Slots, SlottedEngine
from simba_music.generation.sampling import Sampling, draw_noise, generator_of
from simba_music.models.codebook_pattern import pattern
from simba_music.models.lm import LMState
from simba_music.models.text_encoder import TextEncoder


class _Seat:
    """A request: its conditions and noise step by step, and the codes that wait for its reader."""

    def __init__(self, engine: SlottedEngine, encoder: TextEncoder, request: Request):
        config = engine.lm.config
        self.engine, self.config = engine, config
        self.sampling, self.order = Sampling.of([request]), pattern(config.codebook_pattern)
        self.batch = read_requests(config, encoder, [request], engine.device)
        self.frames = frames_of(config, request)
        self.total = self.order.steps(self.frames, config.n_codebooks)
        self.generator = generator_of(request)
        self.buffer, self.done = CodeBuffer(config), 0
        self.out: queue.SimpleQueue[Tensor | BaseException | None] = queue.SimpleQueue()
        self.left = threading.Event()
        self._plane, self._plane_at = torch.empty(0), 0
        given = self.batch.conditioning(1, config.codec.frame_rate)
        self.prefilled: LMState = engine.lm.init_state(given, 0)

    def plane(self, count: int) -> Tensor:
        """Rows `[g, n, D]` of the next n steps; computed some seconds at a time."""
        if not len(self._plane) or self._plane_at + self._plane.shape[1] < self.done + count:
            rate, books = self.config.codec.frame_rate, self.config.n_codebooks
            ahead = max(count, CHUNK * round(PLANE_S * rate / CHUNK))
            frame = self.order.frame_of(self.done, ahead, books, self.frames)
            first, last = int(frame[0]), int(frame[-1])
            given = self.batch.conditioning(last - first + 1, rate, first)
            self._plane_at = self.done
            self._plane = self.engine.plane(given)[:, (frame - first).to(self.engine.device)]
        start = self.done - self._plane_at
        return self._plane[:, start : start + count]

    def chunk(self, count: int) -> Chunk:
        """What the next n steps need."""
        books, shape = self.config.n_codebooks, (self.config.n_codebooks, self.config.vocab)
        noise = draw_noise([self.generator], count, shape)[:, 0]
        active = self.order.active(books, self.done, count, self.frames).t()
        return Chunk(self.plane(count), noise, active)


class Scheduler:
    """One model for many at a time: every chunk of steps is run for all who are seated.

    Every request has its own noise, and neighbours change nothing of its sums, so that its codes
    are the same alone and in any company. Who waits is seated in the order of coming, between
    chunks; a seat is free within a chunk after its reader has gone.
    """

    def __init__(self, engine: SlottedEngine, encoder: TextEncoder, slots: int = 8):
        self.engine, self.encoder, self.slots = engine, encoder, slots
        self._waiting = deque[_Seat]()
        self._seated = dict[int, _Seat]()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._slots: Slots | None = None

    @torch.inference_mode()
    def generate(self, request: Request) -> Iterator[Tensor]:
        """Yield codes `[1, K, n]` on the CPU until all frames are there, as `decoding.generate`.

        Closing leaves the slot within a chunk.

        Raises:
            FloatingPointError: If a logit is NaN.
        """
        seat = _Seat(self.engine, self.encoder, request)
        with self._lock:
            self._waiting.append(seat)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)
                self._thread.start()
        try:
            while (found := seat.out.get()) is not None:
                if isinstance(found, BaseException):
                    raise found
                yield found
        finally:
            seat.left.set()

    @property
    def seated(self) -> int:
        """How many are being generated now."""
        with self._lock:
            return sum(not seat.left.is_set() for seat in self._seated.values())

    def _run(self) -> None:
        torch.get_num_threads()  # see `threads`: a thread uses every core until it has asked
        try:
            with torch.inference_mode():
                while self._changed():
                    self._chunk()
        except BaseException as error:  # of the device: nobody may be left waiting
            with self._lock:
                for seat in (*self._seated.values(), *self._waiting):
                    seat.out.put(error)
                self._seated.clear()
                self._waiting.clear()
                self._thread = self._slots = None

    def _changed(self) -> bool:
        """Free the seats of who has gone, seat who waits; False, and the end, if nobody is left."""
        with self._lock:
            for slot, seat in list(self._seated.items()):
                if seat.left.is_set():
                    self._rise(slot)
            self._waiting = deque(seat for seat in self._waiting if not seat.left.is_set())
            free = [slot for slot in range(self.slots) if slot not in self._seated]
            joining = {slot: self._waiting.popleft() for slot in free if self._waiting}
            self._seated |= joining
            if not self._seated:
                self._end()
                return False
        for slot, seat in joining.items():
            self._sit(slot, seat)
        return True

    def _end(self) -> None:
        if self._slots is not None:
            self._slots.close()
        self._thread = self._slots = None

    def _sit(self, slot: int, seat: _Seat) -> None:
        """Load a request into its slot."""
        if self._slots is None:
            self._slots = self.engine.slots(self.slots)
        self._slots.join(slot, seat.prefilled, seat.total + CHUNK, seat.sampling)

    def _rise(self, slot: int) -> None:
        """A slot is free; the caller holds the lock."""
        del self._seated[slot]
        if self._slots is not None:
            self._slots.leave(slot)

    def _chunk(self) -> None:
        """A chunk of steps for all who are seated."""
        assert self._slots is not None
        found = self._slots.run({slot: seat.chunk(CHUNK) for slot, seat in self._seated.items()})
        for slot, seat in list(self._seated.items()):
            count, tokens = min(CHUNK, seat.total - seat.done), found[slot]
            seat.done += count
            if tokens is None:
                seat.out.put(FloatingPointError(DAMAGED))
                seat.left.set()
                continue
            seat.out.put(seat.buffer.add(tokens[:count].t()[None]))
            if seat.done == seat.total:
                seat.out.put(None)
                seat.left.set()
