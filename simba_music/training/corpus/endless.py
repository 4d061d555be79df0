"""Endless corpus: pieces composed and rendered on worker processes while a network trains."""

import functools
import itertools
import multiprocessing
import os
import queue
import signal
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

import numpy as np

from simba_music.errors import RequestError
from simba_music.training.corpus.composing.mma import Accompaniment, find_mma
from simba_music.training.corpus.composing.plan import split_of
from simba_music.training.corpus.store import Row

PREFIXES: dict[str, Accompaniment] = {"compose:": "own", "mma:": "mma"}  # of names
AHEAD = 3  # pieces that a worker has ready before it waits
PATIENCE_S = 2.0  # with a worker that was asked to end
Made = tuple[Row, np.ndarray]
Maker = Callable[[int, int], Made]
_Sent = tuple[int, Row, np.ndarray, str]  # number, manifest row, samples, error


@dataclass(frozen=True)
class Piece:
    """One piece: its place in the stream from 0, its manifest row, its int16 samples `[T]`."""

    number: int
    row: Row
    samples: np.ndarray


def compose_seed(name: Path | str) -> int | None:
    """The seed of an endless corpus' name, `compose:SEED` or `mma:SEED`; None for a folder's.

    Raises:
        RequestError: If what stands after the colon is no seed.
    """
    text = str(name)
    prefix = next((prefix for prefix in PREFIXES if text.startswith(prefix)), None)
    if prefix is None:
        return None
    seed = text.removeprefix(prefix)
    if not (seed.isascii() and seed.isdigit()):
        raise RequestError(f"{text!r} is no endless corpus: write {prefix}SEED, a number from 0.")
    return int(seed)


def accompaniment_of(name: Path | str) -> Accompaniment:
    """What accompanies the pieces of an endless corpus by its name."""
    return next((one for prefix, one in PREFIXES.items() if str(name).startswith(prefix)), "own")


def train_seeds(seed: int) -> Iterator[int]:
    """Seeds from `seed` on whose pieces are for training, those of the other splits left out."""
    return (s for s in itertools.count(seed) if split_of(s) == "train")


def compose_and_render(seed: int, sample_rate: int, accompaniment: Accompaniment = "own") -> Made:
    """A piece as `corpus compose` and `corpus render` make it: manifest row, int16 `[T]`."""
    from simba_music.training.corpus import build

    row = build.compose_piece(seed, accompaniment=accompaniment)
    return row, build.render_piece(row, sample_rate)


def name_of(seed: int, accompaniment: Accompaniment) -> str:
    """The name of an endless corpus."""
    return next(prefix for prefix, one in PREFIXES.items() if one == accompaniment) + str(seed)


def sources_of(accompaniment: Accompaniment) -> dict[str, str]:
    """What plays and sounds in composed pieces, with its licence.

    Raises:
        RequestError: If it is not installed.
    """
    from simba_music.training.corpus.rendering.render import find_soundfonts

    found = {path.name: "MIT" for path in find_soundfonts()}
    if accompaniment == "mma":
        find_mma()
        found["mma (its notes, none of its files)"] = "GPL-2.0-or-later"
    return found


class Endless(Iterator[Piece]):
    """Pieces of the training split, made by processes ahead of need and delivered in order.

    Piece `i` has the `i`-th training seed from `seed` on and is made by worker `i mod workers`,
    so the stream depends neither on the number of workers nor on their speed. A context manager;
    the processes end with it, and by themselves when their parent dies.
    """

    def __init__(
        self,
        seed: int,
        workers: int,
        sample_rate: int,
        first: int = 0,
        make: Maker | None = None,
        accompaniment: Accompaniment = "own",
    ):
        """Start the processes at piece `first`, where a training goes on.

        Raises:
            RequestError: If nothing can be rendered here.
        """
        self.seed, self.name = seed, name_of(seed, accompaniment)
        self.sources: dict[str, str] = {}  # what sounds, and its licence
        if make is None:
            # Fails here, with its advice, rather than in every worker.
            self.sources = sources_of(accompaniment)
            make = functools.partial(compose_and_render, accompaniment=accompaniment)
        self.waited_s = 0.0  # for pieces that were not ready
        self._number = first
        spawn = multiprocessing.get_context("spawn")  # a forked child cannot use CUDA's libraries
        self._pipes: list[connection.Connection] = []
        self._processes: list[SpawnProcess] = []
        # Also when an exception drops the last reference, and when the interpreter ends.
        self._end = weakref.finalize(self, _end, self._processes, self._pipes)
        for place in range(workers):
            number = first + (place - first) % workers  # the first that is this worker's
            reader, writer = spawn.Pipe(duplex=False)
            task = (writer, seed, number, workers, sample_rate, make)
            process = spawn.Process(target=_work, args=task, daemon=True)
            process.start()
            writer.close()  # so that the pipe ends with the worker
            self._processes.append(process)
            self._pipes.append(reader)

    def __next__(self) -> Piece:
        """The next piece.

        Raises:
            RuntimeError: If its worker failed or died; the message has the piece's seed.
        """
        if not self._end.alive:
            raise StopIteration
        started = time.monotonic()
        place = self._number % len(self._pipes)
        sent: _Sent
        try:
            sent = self._pipes[place].recv()
        except EOFError:
            self._processes[place].join(PATIENCE_S)
            code = self._processes[place].exitcode
            self.close()
            raise RuntimeError(
                f"The worker that was to make piece {self._number} died (exit code {code})."
            ) from None
        number, row, samples, error = sent
        self.waited_s += time.monotonic() - started
        if error:
            self.close()
            raise RuntimeError(error)
        assert number == self._number
        self._number += 1
        return Piece(number, row, samples)

    def close(self) -> None:
        """End the processes; there are no pieces after it."""
        self._end()

    def __enter__(self) -> "Endless":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _end(processes: list[SpawnProcess], pipes: list[connection.Connection]) -> None:
    """End processes, and close what they wrote to."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(PATIENCE_S)
        if process.is_alive():
            process.kill()
            process.join()
    for pipe in pipes:
        pipe.close()


def _end_with_parent() -> None:
    """End this process when its parent does, whatever it is waiting for."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def _send(ready: "queue.Queue[_Sent | None]", pipe: connection.Connection) -> None:
    """Send what is ready, in a thread, so that the next piece is made meanwhile."""
    while (made := ready.get()) is not None:
        pipe.send(made)


def _work(
    pipe: connection.Connection,
    seed: int,
    first: int,
    stride: int,
    sample_rate: int,
    make: Maker,
) -> None:
    """Make every `stride`-th piece from piece `first` on, until the process is ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    ready: queue.Queue[_Sent | None] = queue.Queue(AHEAD)
    sender = threading.Thread(target=_send, args=(ready, pipe), daemon=True)
    sender.start()
    for number, piece_seed in itertools.islice(enumerate(train_seeds(seed)), first, None, stride):
        try:
            ready.put((number, *make(piece_seed, sample_rate), ""))
        except Exception:
            text = f"The piece of seed {piece_seed} could not be made:\n{traceback.format_exc()}"
            ready.put((number, {}, np.zeros(0, np.int16), text))
            ready.put(None)
            sender.join()
            return
