"""Call: one run on one replica, its messages read in a thread, so that whoever waits can leave."""

import contextvars
import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

from ray.exceptions import RayError, RayTaskError, TaskCancelledError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from simba_music.errors import RequestError
from simba_music.serving.ray.plan import Asked, Message

_Read = list[Message] | BaseException | None


class LostError(Exception):
    """The replica of a run is gone, or says nothing any more."""


def said(error: BaseException) -> BaseException:
    """What an error of a call is to whoever asked: a sentence, a lost replica, or what it was."""
    if isinstance(error, BackPressureError):
        waiting = error.args[1]
        return RequestError(
            f"All places are taken and {waiting} others wait already. Try again in a minute."
        )
    if isinstance(error, DeploymentUnavailableError):
        return RequestError("No replica of the models can start; the log says why. Try later.")
    if isinstance(error, RayTaskError):
        cause = error.cause
        return cause if isinstance(cause, BaseException) else error
    lost = isinstance(error, RayError) and not isinstance(error, TaskCancelledError)
    return LostError(str(error)) if lost else error


class Call:
    """Groups of messages of a run, each as it comes; [] is a beat."""

    def __init__(self, handle: Any, asked: Asked):
        self._found = queue.SimpleQueue[_Read]()
        self._ended = False
        # A context of its own: a run of the page ends by being closed, not with a request of HTTP.
        self._response = contextvars.Context().run(handle.generate.remote, asked)
        threading.Thread(target=self._read, name="call", daemon=True).start()

    def _read(self) -> None:
        try:
            for group in self._response:
                self._found.put(group)
            self._found.put(None)
        except BaseException as error:
            self._found.put(error)

    def groups(self, every_s: float, silent_s: float) -> Iterator[list[Message] | None]:
        """Groups as they come, and None where nothing has come for `every_s` seconds.

        Args:
            every_s: how often whoever reads wants to look around, in s.
            silent_s: how long a replica that has begun may say nothing, in s; 0 is no limit.

        Raises:
            LostError: If the replica is gone or silent.
            RequestError: If no replica takes the run.
        """
        last: float | None = None
        while True:
            try:
                found = self._found.get(timeout=every_s)
            except queue.Empty:
                if last is not None and silent_s and time.monotonic() - last > silent_s:
                    raise LostError(f"A replica has said nothing for {silent_s:g} s") from None
                yield None
                continue
            if not isinstance(found, list):
                self._ended = True
                if found is not None:
                    raise said(found)
                return
            last = time.monotonic()
            yield found

    def cancel(self) -> None:
        """End the run, wherever it is; at once, and no matter whether it can still be reached."""
        if not self._ended:
            # It waits for a place that is just being given; nobody has to wait with it.
            threading.Thread(target=self._response.cancel, name="cancel", daemon=True).start()
