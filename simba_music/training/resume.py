"""Resume states: private files of a training, written whole, never loaded from elsewhere.

Several ranks share the writing: each writes the tensors that are its own into a shard, and the
first then the state, which names the shards. Any number of ranks reads them.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simba_music.errors import RequestError
from simba_music.training.ranks import ALONE, Ranks

_SHARDS, _TENSOR = "shards of a state", "tensor of a shard"


def write_state(path: Path, state: dict[str, Any], ranks: Ranks = ALONE) -> None:
    """Write a state whole or not at all; every rank of a training calls this, with the same.

    The state before is removed once this one is written.
    """
    if ranks.count == 1:
        _save(path, state)
        _remove_shards(path)
        return
    tensors = list[Tensor]()

    def kept(tensor: Tensor) -> dict[str, int]:
        tensors.append(tensor)
        return {_TENSOR: len(tensors) - 1}

    tree = _mapped(state, Tensor, kept)
    version = int(ranks.number_of_first(time.time_ns() // 1000))
    shards = [f"{path.stem}-{version}-{n + 1}-of-{ranks.count}.shard" for n in range(ranks.count)]
    own = {i: tensors[i] for i in _share(tensors, ranks)}
    _save(path.with_name(shards[ranks.rank]), own)
    ranks.wait()
    if ranks.first:
        _save(path, {_SHARDS: shards, "state": tree})
        _remove_shards(path, keep=shards)


def read_state(path: Path, device: str) -> dict[str, Any]:
    """What `write_state` wrote: tensors, numbers and texts, no code.

    Raises:
        RequestError: If a shard is missing.
    """
    found: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    if _SHARDS not in found:
        return found
    tensors = dict[int, Tensor]()
    for name in found[_SHARDS]:
        shard = path.with_name(name)
        if not shard.exists():
            raise RequestError(
                f"{path} goes with {shard.name}, which is missing. Put the shards of all processes "
                f"into {path.parent}, or begin anew with another --out."
            )
        tensors |= torch.load(shard, map_location=device, weights_only=True)
    whole: dict[str, Any] = _mapped(
        found["state"], dict, lambda part: tensors[part[_TENSOR]] if _TENSOR in part else part
    )
    return whole


def remove_state(path: Path) -> None:
    """Remove a state, if there is one, with its shards."""
    path.unlink(missing_ok=True)
    _remove_shards(path)


def _save(path: Path, what: object) -> None:
    part = path.with_name(f"{path.name}.part")
    torch.save(what, part)
    part.replace(path)


def _remove_shards(path: Path, keep: list[str] | None = None) -> None:
    for shard in path.parent.glob(f"{path.stem}-*-of-*.shard"):
        if shard.name not in (keep or ()):
            shard.unlink(missing_ok=True)


def _share(tensors: list[Tensor], ranks: Ranks) -> list[int]:
    """Numbers of the tensors that this rank writes: all ranks write about as many bytes."""
    loads, own = [0] * ranks.count, list[int]()
    for i in sorted(range(len(tensors)), key=lambda i: -tensors[i].nbytes):
        least = loads.index(min(loads))
        loads[least] += tensors[i].nbytes
        if least == ranks.rank:
            own.append(i)
    return own


def _mapped(tree: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """A tree of dicts, lists and tuples with every part of a kind changed, from the leaves up."""
    if isinstance(tree, dict):
        tree = {name: _mapped(part, kind, change) for name, part in tree.items()}
    elif isinstance(tree, list | tuple):
        tree = type(tree)(_mapped(part, kind, change) for part in tree)
    return change(tree) if isinstance(tree, kind) else tree
