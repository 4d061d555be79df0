"""Schemas: checkpoints and recipes of earlier versions, brought to the present form on loading.

Schema 1 had a parameter and a key of config.json of its own for each condition, and levels of
guidance that were constants of the code; schema 2 has `conditions`.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from simba_music.errors import CheckpointError

# Levels and times of version 0.1.0, by the condition's name; the line-up's names are added.
_LEVELS_1: dict[str, dict[str, float]] = {
    "beat": {"unguided": 0.85},
    "key": {"guided": 1.5, "unguided": 0.5},
    "line_up": {"guided": 1.5},
}
_LENGTH_1 = {"earliest_end_s": 5.0, "unguided_lead_s": 0.5}
_SWITCHES_1 = {"beat_clock": "beat", "key_signature": "key"}
_VECTORS_1 = {
    "beat": "clock_vectors",
    "key": "key_vectors",
    "line_up": "line_up_vectors",
}
_OF_LENGTH_1 = ("elapsed_embedding.weight", "total_embedding.weight", "end_vectors")
_OF_TEXT_1 = ("text_mean_projection.weight", "text_mean_projection.bias")


class Former(NamedTuple):
    """How the tensors of an earlier schema are named: present name -> former names.

    The present tensor is the former ones end to end, after `arranged`.
    """

    names: Mapping[str, tuple[str, ...]]

    def upgrade(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors, on any device, under their present names.

        Raises:
            CheckpointError: If former tensors do not fit together.
        """
        renamed = {part for parts in self.names.values() for part in parts}
        found = {name: tensor for name, tensor in tensors.items() if name not in renamed}
        try:
            for name, parts in self.names.items():
                found[name] = torch.cat([arranged(part, tensors[part]) for part in parts])
        except (KeyError, RuntimeError) as error:
            raise CheckpointError(
                f"Its weights do not fit its config.json of schema 1: {error}. "
                "Use the config.json that was saved with these weights."
            ) from error
        if "null_text" in tensors:
            found["null_text"] = tensors["null_text"]
        return found


def arranged(name: str, tensor: Tensor) -> Tensor:
    """A former tensor as rows `[F, D]` of a condition's projection."""
    if name == "text_mean_projection.weight":
        return tensor.T
    return tensor[None] if tensor.ndim == 1 else tensor


def upgrade_config(raw: object) -> tuple[object, Former | None]:
    """A config.json in the present schema, and how its weights were named; present ones as is."""
    if not isinstance(raw, dict) or raw.get("schema") != 1:
        return raw, None
    kept = dict(raw)
    names: dict[str, tuple[str, ...]] = {"conditions.text": (*_OF_TEXT_1, "null_text")}
    encoder = raw.get("text_encoder")
    width = encoder.get("width") if isinstance(encoder, dict) else None
    end_clock = bool(kept.pop("end_clock", False))
    conditions: dict[str, dict[str, object]] = {
        "text": {"states": width},
        "length": {
            "longest_s": raw.get("max_trained_s"),
            "end_clock": end_clock,
            "tail_s": kept.pop("tail_s", 0.0),
            **_LENGTH_1,
        },
    }
    names["conditions.length"] = _OF_LENGTH_1 if end_clock else _OF_LENGTH_1[:2]
    for switch, name in _SWITCHES_1.items():
        if kept.pop(switch, False):
            conditions[name] = dict(_LEVELS_1[name])
    line_up = kept.pop("line_up", ())
    if line_up:
        conditions["line_up"] = {"names": line_up, **_LEVELS_1["line_up"]}
    names |= {f"conditions.{n}": (v,) for n, v in _VECTORS_1.items() if n in conditions}
    return kept | {"schema": 2, "conditions": conditions}, Former(names)


def upgrade_recipe(raw: object) -> object:
    """A recipe in the present schema; in schema 1, what was read had keys of its own.

    Before 0.3 nothing was drawn, so a request that says nothing of it is made without; and a seed
    had one draw of its clip, however empty.
    """
    if not isinstance(raw, dict):
        return raw
    request = raw.get("request")
    if isinstance(request, dict):
        raw = raw | {"request": {"draw": False, "subseed": 0} | request}
    if raw.get("schema") != 1:
        return raw
    kept = dict(raw)
    tempo, key, names = (kept.pop(name, None) for name in ("tempo", "key", "line_up"))
    said = {
        "beat": f"{tempo:g} beats a minute" if isinstance(tempo, int | float) else None,
        "key": key,
        "line_up": ", ".join(map(str, names)) if isinstance(names, list) else None,
    }
    plain = {"guided": 1.0, "unguided": 1.0}
    conditions = {n: plain | _LEVELS_1[n] | {"value": value} for n, value in said.items() if value}
    return kept | {"schema": 2, "conditions": conditions}
