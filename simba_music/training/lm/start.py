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
from simba_music.training.lm.grow import check_growth, deepened

EMBEDDING_SCALE, HEAD_SCALE = 0.3, 0.03  # of unit-variance code vectors


@torch.no_grad()
def start_from_codebooks(model: MusicLM, codebooks: Tensor) -> None:
    """Start token embedding and head from the codec's code vectors `[K, V, C]`, whitened.

    Codes that sound alike then begin alike, which a short run cannot learn from a random start.
    """
    width, size = model.config.d_model, codebooks.shape[-1]
    row = first = 0  # of the book's embeddings, and of its heads
    for book, count in enumerate(model.sizes):
        codebook = codebooks[book, :count].float()
        centred = codebook - codebook.mean(0)
        # U of the SVD is the whitened codebook: variances of its directions differ by orders, and
        # most distances would be along a few of them.
        left, _, _ = torch.linalg.svd(centred, full_matrices=False)
        white = left * count**0.5  # every direction has unit variance
        # A random rotation keeps all distances, and spreads the C directions over the model's D.
        square = torch.linalg.qr(torch.randn(max(width, size), max(width, size)))[0]
        vectors = white @ square[: white.shape[1], :width] * (width / white.shape[1]) ** 0.5
        model.token_embedding.weight[row : row + count] = EMBEDDING_SCALE * vectors
        model.head.weight[first : first + count] = HEAD_SCALE * vectors
        row, first = row + count + 1, first + count


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

    A model may get conditions that it had not: then the weights lack their projections. It may get
    books after its own: then the weights lack their rows (`with_books`), and its history is not
    gone on with, whose losses are of fewer codes. It may have two or more times its layers: then it
    is grown in depth (`grow.deepened`), and loses at first what it lost.

    Raises:
        RequestError: If it has another config.
    """
    found, _ = load_language_model(str(folder))
    own, other = (_shape(c) for c in (config, found.config))
    other["conditions"] = own["conditions"] | other["conditions"]  # new ones begin at zero
    more = found.config.codes_per_book != config.codes_per_book
    if more and found.config.codes_per_book == config.codes_per_book[: found.config.n_codebooks]:
        other |= {name: own[name] for name in ("n_codebooks", "codebook_pattern")}
    times, rest = divmod(config.n_layers, found.config.n_layers)
    if times > 1 and not rest:
        check_growth(found.config, times)
        other["n_layers"] = own["n_layers"]
    if own != other:
        raise RequestError(
            f"{folder} has another shape or codec than this training; "
            "choose its preset, --backbone, --mixer, --conditioning and --codec."
        )
    history = folder / "history.jsonl"
    known = history.exists() and not more
    weights = deepened(found.state_dict(), times) if times > 1 else found.state_dict()
    return weights, list(read_rows(history)) if known else []


def with_books(weights: dict[str, Tensor], model: MusicLM) -> dict[str, Tensor]:
    """Weights of a model of fewer books as those of `model`, which has more.

    The other books' embeddings are zero, so that all else is computed as before; their heads stay
    as they are in `model`.
    """
    found, own = dict(weights), model.state_dict()
    for name in ("token_embedding.weight", "head.weight"):
        rows = own[name].clone()
        rows[: len(weights[name])] = weights[name]
        if name == "token_embedding.weight":
            rows[len(weights[name]) :] = 0
        found[name] = rows
    return found
