"""Corpus folder: manifest, captions, audio shards; written whole or not at all."""

import io
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from simba_music.errors import RequestError
from simba_music.files import read_json, write_atomic, write_json

MANIFEST = "manifest.jsonl"
CAPTIONS = "captions.jsonl"
AUDIO = "audio.json"
SPLITS = ("train", "valid", "test", "compositional")
# A cut in a sounding note clicks, and a codec would spend codes on the click.
FADE_IN_S, FADE_OUT_S = 0.005, 0.25  # of crops that begin or end inside a piece

Row = dict[str, Any]


def read_rows(path: Path) -> Iterator[Row]:
    """Rows of a JSON-lines file.

    Raises:
        RequestError: If it is missing.
    """
    try:
        with path.open() as lines:
            for line in lines:
                yield json.loads(line)
    except FileNotFoundError as error:
        raise RequestError(
            f"{path} is missing. Compose or import first: simba-music corpus compose|import."
        ) from error


def check_composed(corpus: Path, what: str) -> None:
    """Refuse a corpus whose pieces cannot be composed again, for what needs their notes.

    Raises:
        RequestError: If it holds recordings.
    """
    first = next(iter(read_rows(corpus / MANIFEST)), {})
    if "seed" not in first:
        raise RequestError(
            f"{corpus} holds recordings, and {what} needs the notes of composed pieces. "
            "Captions of recordings come with `corpus import --captions`."
        )


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write JSON lines through a temporary file."""
    write_atomic(path, "".join(json.dumps(row) + "\n" for row in rows).encode())


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a `.npy` file through a temporary file."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    write_atomic(path, buffer.getvalue())


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Samples in [-1, 1] as int16."""
    return (samples * 32767).round().clip(-32768, 32767).astype(np.int16)


def to_float(samples: np.ndarray) -> np.ndarray:
    """int16 samples as float32 in [-1, 1)."""
    return samples.astype(np.float32) / 32768


def shards(corpus: Path) -> list[list[Row]]:
    """Manifest rows grouped by audio shard, in order."""
    rows = read_rows(corpus / MANIFEST)
    return [list(group) for _, group in itertools.groupby(rows, key=lambda row: row["shard"])]


def shard_path(corpus: Path, shard: int) -> Path:
    """Audio of a shard: int16 `[T]`, pieces end to end."""
    return corpus / "audio" / f"{shard:04d}.npy"


def corpus_sample_rate(corpus: Path, otherwise: int | None = None) -> int:
    """Sample rate in Hz of the corpus' audio, or `otherwise` where there is none yet.

    Raises:
        RequestError: If there is neither.
    """
    if not (corpus / AUDIO).exists():
        if otherwise is not None:
            return otherwise
        raise RequestError(f"{corpus} holds no audio. Render first: simba-music corpus render.")
    return int(read_json(corpus / AUDIO)["sample_rate"])


def claim_sample_rate(corpus: Path, sample_rate: int) -> None:
    """Say at which rate the corpus' audio is; it may be said once.

    Raises:
        RequestError: If the corpus holds audio at another rate.
    """
    if (corpus / AUDIO).exists() and corpus_sample_rate(corpus) != sample_rate:
        raise RequestError(
            f"{corpus} holds audio at {corpus_sample_rate(corpus)} Hz, not {sample_rate}. Use "
            f"another folder, or remove {corpus / 'audio'} and {corpus / AUDIO}."
        )
    (corpus / "audio").mkdir(parents=True, exist_ok=True)
    write_json(corpus / AUDIO, {"sample_rate": sample_rate})


def shard_audio(corpus: Path, rows: list[Row]) -> Iterator[tuple[Row, np.ndarray]]:
    """Every piece of a shard that has audio: its manifest row and its int16 samples `[T]`."""
    samples, at = np.load(shard_path(corpus, rows[0]["shard"]), mmap_mode="r"), 0
    rate = corpus_sample_rate(corpus)
    for row in rows:
        length = round(row["duration_s"] * rate)
        yield row, samples[at : at + length]
        at += length


def piece_audio(corpus: Path) -> Iterator[tuple[Row, np.ndarray]]:
    """Every piece that has audio: its manifest row and its int16 samples `[T]`."""
    for rows in shards(corpus):
        if shard_path(corpus, rows[0]["shard"]).exists():
            yield from shard_audio(corpus, rows)


def crop_audio(row: Row, samples: np.ndarray, rate: int) -> Iterator[np.ndarray]:
    """float32 samples of every crop of a piece; cut ends are faded."""
    for crop in row["crops"]:
        start, length = (
            round(crop["start_s"] * rate),
            round((crop["end_s"] - crop["start_s"]) * rate),
        )
        cut = to_float(samples[start : start + length])
        cut = np.pad(cut, (0, length - len(cut)))
        if crop["start_s"] > 0:
            fade = round(FADE_IN_S * rate)
            cut[:fade] *= np.linspace(0, 1, fade, dtype=np.float32)
        if crop["end_s"] < row["duration_s"]:
            fade = round(FADE_OUT_S * rate)
            cut[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
        yield cut


def rendered_hours(corpus: Path) -> float:
    """Hours of a corpus that have audio."""
    found: float = round(sum(row["duration_s"] for row, _ in piece_audio(corpus)) / 3600, 2)
    return found
