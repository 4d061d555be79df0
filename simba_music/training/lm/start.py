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


def exported_start(
    folder: Path, config: LMConfig
) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Weights and history of an exported checkpoint, to go on from.

    A model without a clock, key or line-up may get one: then the weights lack its vectors.

    Raises:
        RequestError: If it has another config.
    """
    found, _ = load_language_model(str(folder))
    own, other = (c.model_dump() | {"codec": c.codec.sha256} for c in (config, found.config))
    told = ("beat_clock", "end_clock", "key_signature", "line_up")
    other |= {new: own[new] for new in told if own[new] and not other[new]}
    other["tail_s"] = own["tail_s"]  # says nothing of the weights
    if own != other:
        raise RequestError(
            f"{folder} has another shape or codec than this training; "
            "choose its preset, --backbone, --mixer, --conditioning and --codec."
        )
    history = folder / "history.jsonl"
    return found.state_dict(), list(read_rows(history)) if history.exists() else []
