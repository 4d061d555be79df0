"""ZeroGPU: run a generator in the GPU process of a Space, for as long as it will need."""

from collections.abc import Callable, Iterator
from typing import Any

STARTUP_S = 8.0  # a GPU call's own overhead, and scoring
MARGIN = 1.5  # the quota is checked on what is asked for; a call that runs out loses its clip
SHORTEST_S, LONGEST_S = 15, 120
FIRST_TOKENS_PER_S = 60.0  # before anything was measured


def seconds_needed(tokens: int, tokens_per_s: float) -> int:
    """GPU seconds to ask for, for so many tokens of all models together."""
    wanted = STARTUP_S + MARGIN * tokens / max(tokens_per_s, 1e-3)
    return int(min(max(wanted, SHORTEST_S), LONGEST_S))


def on_gpu(
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
