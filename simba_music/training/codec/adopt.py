"""Adopt: put a codec in another's place, once its tokens are found to be the same."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import EncodecConfig, EncodecModel

from simba_music.errors import RequestError
from simba_music.files import sha256, write_atomic
from simba_music.hub.places import CONFIG, WEIGHTS
from simba_music.training.codec.deepening import moved
from simba_music.training.codec.model import book_codes

# What a decoder may have otherwise, or a codec may have more of.
_FREE = {
    "num_residual_layers",
    "dilation_growth_rate",
    "target_bandwidths",
    "codes_per_book",
    "transformers_version",
    "dtype",
}
_FILES = (WEIGHTS, CONFIG, "training.json", "history.jsonl")


def check_same_tokens(old: Path, new: Path) -> None:
    """Compare encoders and books of two codecs, bit for bit; `new` may have more books.

    Raises:
        RequestError: If a sound could get other codes from `new`.
    """
    configs = [EncodecConfig.from_pretrained(folder) for folder in (old, new)]
    a, b = ({k: v for k, v in c.to_dict().items() if k not in _FREE} for c in configs)
    differing = sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))
    if differing:
        raise RequestError(f"{new} has another {differing[0]} than {old}.")
    for name in ("num_residual_layers", "num_quantizers"):
        if getattr(configs[0], name) > getattr(configs[1], name):
            raise RequestError(f"{new} has a smaller {name} than {old}.")
    before: Any
    after: Any
    before, after = (EncodecModel(config) for config in configs)
    kept, found = load_file(old / WEIGHTS), load_file(new / WEIGHTS)
    encoder = {moved(k, before, after): v for k, v in kept.items() if k.startswith("encoder.")}
    for name, value in found.items():
        if name in encoder:
            same = torch.equal(encoder[name], value)
        else:  # a block that the old one lacks must add nothing
            adds = name.startswith("encoder.") and name.endswith(("original0", "bias"))
            same = not adds or not value.any()
        if not same:
            raise RequestError(f"{new} has another {name} than {old}: its tokens differ.")
    for i, (one, other) in enumerate(zip(book_codes(old), book_codes(new), strict=False), 1):
        if not torch.equal(one, other):
            raise RequestError(f"Book {i} of {new} is another than that of {old}.")


def adopt_codec(new: Path, old: Path, files: Iterable[Path]) -> list[Path]:
    """Put `new` in the place of `old`, and its sha256 for the old one's into `files`.

    Returns:
        The files that named it.

    Raises:
        RequestError: If its tokens are not the same.
    """
    check_same_tokens(old, new)
    before, after = (sha256(folder / WEIGHTS) for folder in (old, new))
    named = []
    for file in files:
        text = file.read_text()
        if before in text:
            write_atomic(file, text.replace(before, after).encode())
            named.append(file)
    for name in _FILES:  # last, so that what was interrupted can be run again
        if (new / name).exists():
            shutil.copyfile(new / name, old / name)
    return named
