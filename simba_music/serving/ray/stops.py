"""Stops: one small actor that hands a wish to stop from whoever reads a run to its replica.

A full replica takes no call, not even by `broadcast`, so it waits for this one's answer instead.
"""

import asyncio
from typing import Any

import ray

NAME, NAMESPACE = "simba-music-stops", "simba-music"
_MOST = 10_000  # runs of all replicas that wait for an answer


class Stops:
    """Runs that are waited for, or should end; by name."""

    def __init__(self) -> None:
        self._asked = dict[str, asyncio.Event]()

    def _event(self, run: str) -> asyncio.Event:
        return self._asked.setdefault(run, asyncio.Event())

    async def wait(self, run: str) -> None:
        """Until a run should end, or has ended."""
        await self._event(run).wait()

    async def stop(self, run: str) -> None:
        """Ask a run to end; whoever waits for that, now or later, is answered."""
        self._event(run).set()

    async def forget(self, run: str) -> None:
        """A run has ended."""
        event = self._asked.pop(run, None)
        if event is not None:
            event.set()


def stops() -> Any:
    """The actor of this cluster, begun by whoever is the first to ask."""
    return (
        ray.remote(Stops)
        .options(
            name=NAME,
            namespace=NAMESPACE,
            get_if_exists=True,
            lifetime="detached",
            num_cpus=0,
            max_restarts=-1,
            max_concurrency=_MOST,
        )
        .remote()
    )
