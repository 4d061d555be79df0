"""Codec config.json: bounds of its sizes, codes in use of each book, tensors it does without."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers import EncodecConfig
from transformers.utils import logging

from simba_music.errors import CheckpointError
from simba_music.files import read_json

# Largest values of a codec's config.json; Meta's have 32 filters and 2048 codes.
_BOUNDS = {
    "num_filters": 128,
    "hidden_size": 2048,
    "codebook_dim": 2048,
    "codebook_size": 65_536,
    "kernel_size": 127,
    "last_kernel_size": 127,
    "residual_kernel_size": 31,
    "num_residual_layers": 8,
    "num_lstm_layers": 8,
    "audio_channels": 2,
}


def check_bounds(folder: Path) -> None:
    """Refuse a config.json whose network would not fit in memory.

    Raises:
        CheckpointError: If a size is not a whole number up to its bound.
    """
    config = read_json(folder / "config.json")
    if not isinstance(config, dict):
        raise CheckpointError(f"{folder / 'config.json'} is not a codec's.")
    for name, most in _BOUNDS.items():
        value = config.get(name, 1)
        if type(value) is not int or not 0 < value <= most:
            raise CheckpointError(
                f"{folder / 'config.json'}: {name} is {value!r}; a codec may have 1 to {most}."
            )
    ratios = config.get("upsampling_ratios", [1])
    fits = isinstance(ratios, list) and 0 < len(ratios) <= 8
    if not fits or any(type(ratio) is not int or not 0 < ratio <= 16 for ratio in ratios):
        raise CheckpointError(
            f"{folder / 'config.json'}: upsampling_ratios must be up to 8 numbers from 1 to 16."
        )
    sizes, most = config.get("codes_per_book"), config.get("codebook_size", 1024)
    fits = isinstance(sizes, list) and 0 < len(sizes) <= 32
    if sizes is not None and not (
        fits and all(type(size) is int and 0 < size <= most for size in sizes)
    ):
        raise CheckpointError(
            f"{folder / 'config.json'}: codes_per_book must be 1 to {most} for each book."
        )


def codes_per_book(config: EncodecConfig) -> tuple[int, ...]:
    """Codes in use of every book; a codec that does not say uses all.

    Raises:
        CheckpointError: If it says so of fewer or more books than it has.
    """
    found = getattr(config, "codes_per_book", None)
    if found is None:
        return (config.codebook_size,) * config.num_quantizers
    if len(found) != config.num_quantizers:
        raise CheckpointError(
            f"The codec's codes_per_book has {len(found)} books, its bandwidths "
            f"{config.num_quantizers}."
        )
    return tuple(found)


def may_be_missing(name: str) -> bool:
    """Whether a tensor serves no encoding or decoding: the averages that a book learned from."""
    return re.fullmatch(r"quantizer\.layers\.\d+\.codebook\.embed_avg", name) is not None


@contextmanager
def no_load_report() -> Iterator[None]:
    """Loads without transformers' report of missing tensors, for who checks them."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
