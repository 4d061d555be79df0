"""LM start: weights to start from, made from the codec's codes or found in a checkpoint."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simba_music.errors import RequestError
from simba_music.models.checkpoint import load_language_model
from simba_music.models.config import LMConfig
from simba_music.models.lm import MusicLM
from simba_music.training.corpus.store import read_rows

EMBEDDING_SCALE, HEAD_SCALE = 0.3, 0.03  # of unit-variance code vectors


@torch.no_grad()
def start_from_codebook(model: MusicLM, codebook: Tensor) -> None:
    """Start token embedding and head from the codec's code vectors `[V, C]`, whitened.

    Codes that sound alike then begin alike, which a short run cannot learn from a random start.
    """
    centred = (codebook - codebook.mean(0)).float()
    left, _, _ = torch.linalg.svd(centred, full_matrices=False)
    white = left * len(codebook) ** 0.5  # every direction has unit variance
    width, size = model.config.d_model, white.shape[1]
    square = torch.linalg.qr(torch.randn(max(width, size), max(width, size)))[0]
    vectors = white @ square[:size, :width] * (width / size) ** 0.5
    model.token_embedding.weight[: len(vectors)] = EMBEDDING_SCALE * vectors
    model.head.weight.copy_(HEAD_SCALE * vectors)


def _shape(config: LMConfig) -> dict[str, Any]:
    """What two configs must share for weights to go from one to the other; levels may differ."""
    conditions = {
        name: condition.model_dump(exclude=set(condition.generation_only))
        for name, condition in config.conditions.items()
    }
    return config.model_dump() | {"codec": config.codec.sha256, "conditions": conditions}


def exported_start(
    folder: Path, config: LMConfig
) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Weights and history of an exported checkpoint, to go on from.

    A model may get conditions that it had not: then the weights lack their projections.

    Raises:
        RequestError: If it has another config.
    """
    found, _ = load_language_model(str(folder))
    own, other = (_shape(c) for c in (config, found.config))
    other["conditions"] = own["conditions"] | other["conditions"]  # new ones begin at zero
    if own != other:
        raise RequestError(
            f"{folder} has another shape or codec than this training; "
            "choose its preset, --backbone, --mixer, --conditioning and --codec."
        )
    history = folder / "history.jsonl"
    return found.state_dict(), list(read_rows(history)) if history.exists() else []
