"""Resume states: private files of a training, written whole, never loaded from elsewhere."""

from pathlib import Path
from typing import Any

import torch


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write a state whole or not at all."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def read_state(path: Path, device: str) -> dict[str, Any]:
    """What `write_state` wrote: tensors, numbers and texts, no code."""
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return state
