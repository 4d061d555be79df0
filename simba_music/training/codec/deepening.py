"""Deepening: a codec with more residual blocks that computes the same, until they are trained."""

from collections.abc import Iterator
from typing import Any

from torch import nn


def _deepening(before: nn.ModuleList, after: nn.ModuleList) -> Iterator[tuple[int | None, int]]:
    """Places of the layers of a deeper network, and those that they had before; None if new."""
    at = 0
    for place, layer in enumerate(after):
        if at < len(before) and type(before[at]) is type(layer):
            yield at, place
            at += 1
        else:
            yield None, place


def moved(name: str, before: Any, after: Any) -> str:
    """The name that a tensor of model `before` has in the deeper model `after`."""
    half, _, rest = name.partition(".layers.")
    if half not in ("encoder", "decoder"):
        return name
    index, _, rest = rest.partition(".")
    places = _deepening(getattr(before, half).layers, getattr(after, half).layers)
    (place,) = (new for old, new in places if old == int(index))
    return f"{half}.layers.{place}.{rest}"


def _new_blocks(before: Any, after: Any, half: str) -> Iterator[int]:
    places = _deepening(getattr(before, half).layers, getattr(after, half).layers)
    yield from (place for old, place in places if old is None)


def deepened(found: Any, model: Any) -> Any:
    """`model`, made to compute what `found` does, which has fewer residual blocks in a row.

    Both without weight norms. The new blocks add nothing: in the encoder for ever, in the decoder
    until they are trained.
    """
    tensors = {
        moved(name, found, model): value
        for name, value in found.state_dict().items()
        if not name.startswith("quantizer.")
    }
    assert not model.load_state_dict(tensors, strict=False).unexpected_keys
    for place in _new_blocks(found, model, "decoder"):
        first, last = (layer.conv for layer in model.decoder.layers[place].block[1::2])
        nn.init.normal_(first.weight, std=(first.in_channels * first.kernel_size[0]) ** -0.5)
        for tensor in (first.bias, last.weight, last.bias):
            nn.init.zeros_(tensor)
    for place in _new_blocks(found, model, "encoder"):
        model.encoder.layers[place] = nn.Identity()
    return model
