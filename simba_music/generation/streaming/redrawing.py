"""Redrawing: which clips are nearly empty, and the draws that are tried in their place.

A request whose `subseed` is None leaves it open: draw 0 is tried, and up to `MOST_REDRAWS` others
where a clip is nearly empty. The request in a clip's recipe names the draw that was kept, so that
it is made again by that one alone.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby

import numpy as np
from torch import Tensor

from simba_music.audio import Waveform
from simba_music.audio.emptiness import LEAST_ACTIVE, MOST_GAIN_DB, active_share
from simba_music.conditioning.request import Request
from simba_music.generation.request import MOST_REDRAWS

SILENT_S = 3.0  # a side that is silent for so long at its beginning starts again; never later
# Rests and held notes repeat a code: 1.5 times the 99th percentile of the longest runs in held-out
# pieces is 5.2 s (393 codes at 75 Hz).
STUCK_S = 5.2


def draws(request: Request) -> Iterator[tuple[Request, bool]]:
    """The request of every draw that may be tried, and whether another may follow it."""
    # Without noise the next draw would be the same one.
    last = MOST_REDRAWS if request.subseed is None and request.temperature > 0 else 0
    for subseed in range(request.subseed or 0, (request.subseed or 0) + last + 1):
        yield replace(request, subseed=subseed), subseed < last


def longest_run(tokens: Tensor | np.ndarray) -> int:
    """Length of the longest run of one repeated token of `[S]`; 0 if there is none."""
    return max((sum(1 for _ in group) for _, group in groupby(tokens.tolist())), default=0)


def why_empty(wave: Waveform, gain_db: float, codes: Tensor, frame_rate: float) -> str:
    """What makes a clip nearly empty, in a few words; nothing if it is not.

    Args:
        wave: the clip at playing level.
        gain_db: the gain that brought it there.
        codes: its codes `[K, S]`.
        frame_rate: frames a second.
    """
    if gain_db > MOST_GAIN_DB:
        return "very faint"
    if active_share(wave) < LEAST_ACTIVE:
        return "mostly silent"
    return "stuck on one code" if longest_run(codes[0]) > STUCK_S * frame_rate else ""
