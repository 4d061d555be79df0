"""Codec crops: endless batches of training audio, cut at random from one or more corpora."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from simba_music.errors import RequestError
from simba_music.training.codec.model import CodecShape
from simba_music.training.corpus.store import corpus_sample_rate, piece_audio


def random_crops(
    corpora: Sequence[Path],
    shape: CodecShape,
    batch: int,
    crop_s: float,
    rng: np.random.Generator,
) -> Iterator[Tensor]:
    """Endless batches `[B, T]` of training audio, nine in ten louder than silence.

    Raises:
        RequestError: If a corpus was rendered at another sample rate.
    """
    rate = shape.sample_rate
    for corpus in corpora:
        its_rate = corpus_sample_rate(corpus)
        if its_rate != rate:
            raise RequestError(
                f"{corpus} holds audio at {its_rate} Hz, the codec wants {rate} Hz. "
                f"Render it again: simba-music corpus render --sample-rate {rate}."
            )
    length = round(crop_s * rate) // shape.hop * shape.hop
    audio = (entry for corpus in corpora for entry in piece_audio(corpus))
    pieces = [a for row, a in audio if row["split"] == "train" and len(a) > length]
    # By length, so that every second of audio is as likely as any other.
    weights = np.array([len(p) for p in pieces], dtype=np.float64)
    weights /= weights.sum()
    while True:
        found: list[np.ndarray] = []
        while len(found) < batch:
            piece = pieces[rng.choice(len(pieces), p=weights)]
            start = rng.integers(len(piece) - length)
            crop = piece[start : start + length].astype(np.float32) / 32768
            # Some silence, which codes must cover too; all of it would take a good part of the
            # batches.
            if np.abs(crop).max() > 0.01 or rng.random() < 0.1:
                found.append(crop)
        yield torch.from_numpy(np.stack(found))
