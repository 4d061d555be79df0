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
def start_from_codebooks(model: MusicLM, codebooks: Tensor) -> None:
    """Start token embedding and head from the codec's code vectors `[K, V, C]`, whitened.

    Codes that sound alike then begin alike, which a short run cannot learn from a random start.
    """
    width, size = model.config.d_model, codebooks.shape[-1]
    for book, codebook in enumerate(codebooks):
        centred, count = (codebook - codebook.mean(0)).float(), len(codebook)
        # U of the SVD is the whitened codebook: variances of its directions differ by orders, and
        # most distances would be along a few of them.
        left, _, _ = torch.linalg.svd(centred, full_matrices=False)
        white = left * count**0.5  # every direction has unit variance
        # A random rotation keeps all distances, and spreads the C directions over the model's D.
        square = torch.linalg.qr(torch.randn(max(width, size), max(width, size)))[0]
        vectors = white @ square[: white.shape[1], :width] * (width / white.shape[1]) ** 0.5
        at = book * (count + 1)
        model.token_embedding.weight[at : at + count] = EMBEDDING_SCALE * vectors
        model.head.weight[book * count : (book + 1) * count] = HEAD_SCALE * vectors


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
