"""Growing: a clip goes on from the codes it has, to a greater length, under conditions of that one.

A request with `grown_s` says at which lengths its clip was continued, so that it is made again from
the request alone: first a clip of the first length, then on from there to the next, and so on.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from simba_music.conditioning.request import Request
from simba_music.generation.decoding import generate
from simba_music.generation.engines.types import AnyEngine
from simba_music.generation.loaded_models import LoadedModel

ENDING_S = 2.0  # of a clip is its ending, which is left out where the clip goes on
KEPT = 64  # clips whose codes are at hand to go on from; some kB each
_Key = tuple[str, str, str, int, Request]


class _Made:
    """Codes `[1, K, S]` of the last clips, by what made them."""

    def __init__(self) -> None:
        self._kept = OrderedDict[_Key, Tensor]()
        self._lock = threading.Lock()

    def keep(self, key: _Key, codes: Tensor) -> None:
        with self._lock:
            self._kept[key] = codes
            self._kept.move_to_end(key)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)

    def get(self, key: _Key) -> Tensor | None:
        with self._lock:
            return self._kept.get(key)


_made = _Made()


def _key(model: LoadedModel, engine: AnyEngine, request: Request, slots: int) -> _Key:
    return model.origin.sha256, engine.name, engine.dtype, slots, request


def keep(
    model: LoadedModel, engine: AnyEngine, request: Request, slots: int, codes: Tensor
) -> None:
    """Have the codes `[K, S]` of a finished clip at hand, for when it is continued."""
    _made.keep(_key(model, engine, request, slots), codes[None])


def before(request: Request) -> Request:
    """The request of the clip that this one continues."""
    return replace(request, duration_s=request.grown_s[-1], grown_s=request.grown_s[:-1])


def grown_blocks(
    model: LoadedModel, engine: AnyEngine, request: Request, slots: int
) -> Iterator[Tensor]:
    """Codes `[1, K, n]` of a request, a few frames at a time, those that it goes on from first.

    A clip comes to an end by its length, so it goes on from before its ending (`ENDING_S`, at most
    half of the clip). A continuation has its engine to itself, whatever `slots` says of others.
    """
    if not request.grown_s:
        yield from model.blocks(engine, request, slots)
        return
    first = before(request)
    begun = _made.get(_key(model, engine, first, slots))
    if begun is None:
        begun = torch.cat(list(grown_blocks(model, engine, first, slots)), dim=-1)
    frames = begun.shape[-1]
    ending = min(round(ENDING_S * model.lm.config.codec.frame_rate), frames // 2)
    begun = begun[..., : frames - ending]
    yield from generate(engine, model.lm.config, model.encoder, [request], begun)
