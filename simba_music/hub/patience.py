"""Patience: work of the Hub's client that is given up where nothing comes for too long."""

import contextvars
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from simba_music.hub.lookup import HangingError

# Of silence, in all. The client tries a refused file again for 23 s, and then says what the Hub
# answered.
PATIENCE_S = 28.0
_LOOK_S = 0.05

Result = TypeVar("Result")


class Patience:
    """A clock of silence that several calls share; each byte that arrives sets it back."""

    def __init__(self, longest_s: float | None = None):
        self.longest_s = PATIENCE_S if longest_s is None else longest_s
        self._heard = time.monotonic()
        self.over = threading.Event()

    def heard(self) -> None:
        """Something has arrived."""
        self._heard = time.monotonic()

    @property
    def left_s(self) -> float:
        """Seconds until it is over, in s."""
        return self.longest_s - (time.monotonic() - self._heard)

    def wait(self, work: Callable[[], Result]) -> Result:
        """What `work` returns or raises; it runs in a thread, which is left behind if it hangs.

        Raises:
            HangingError: If nothing has been heard for too long.
        """
        call, context = _Call(work), contextvars.copy_context()
        # For whom it is loaded, and so with which token, is known by the context.
        thread = threading.Thread(target=context.run, args=(call.run,), name="hub", daemon=True)
        thread.start()
        while not call.done.wait(_LOOK_S):
            if self.left_s <= 0:
                self.over.set()
                raise HangingError(self.longest_s)
        return call.result()


class _Call(Generic[Result]):
    """A call in a thread, and its outcome."""

    def __init__(self, work: Callable[[], Result]):
        self.work, self.done = work, threading.Event()
        self._found: list[Result] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._found.append(self.work())
        except BaseException as error:
            self._error = error
        finally:
            self.done.set()

    def result(self) -> Result:
        if self._error is not None:
            raise self._error
        return self._found[0]
