"""Tokens stage: a corpus' audio through the codec, its captions through the text encoder."""

import functools
import itertools
import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from simba_music.audio import Waveform
from simba_music.errors import RequestError
from simba_music.files import read_json, write_json
from simba_music.models.codec import Codec
from simba_music.models.config import CodecRef
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
    write_array,
)
from simba_music.training.corpus.tokens.access import STAMP, TOKENS
from simba_music.training.corpus.tokens.claims import claimed
from simba_music.training.corpus.tokens.packed import (
    INDEX,
    fingerprint,
    read_codes,
    write_packed,
)
from simba_music.training.corpus.tokens.refs import codec_ref

logger = logging.getLogger(__name__)

RECORDINGS = 200  # of an import in a shard of tokens; each has an audio file of its own
Part = tuple[int, int]
WHOLE: Part = (1, 1)
POLL_S = 5.0  # between looks at shards that other machines are at
# Corpus, shard, its rows, the codec's folder and what it is, books, device.
_Job = tuple[Path, str, list[Row], Path, CodecRef, int, str]


def token_shards(corpus: Path, hours: float | None = None) -> dict[str, list[Row]]:
    """Manifest rows of each shard of tokens, by its name.

    A shard of composed pieces is a shard of their audio; recordings are put together.

    Raises:
        RequestError: If the corpus has no pieces.
    """
    found = dict[str, list[Row]]()
    for row in read_rows(corpus / MANIFEST):
        number = int(row["shard"])
        name = f"{number:04d}" if "seed" in row else f"r{number // RECORDINGS:05d}"
        found.setdefault(name, []).append(row)
    if not found:
        raise RequestError(f"{corpus} holds no pieces: {corpus / MANIFEST} is empty.")
    kept = first_hours(list(found.values()), hours)
    return dict(itertools.islice(found.items(), len(kept)))


@functools.cache
def _codec(folder: Path, ref: CodecRef, device: str) -> Codec:
    """One a process: it is loaded for the first shard."""
    return Codec.load(folder, ref, device)


def _pieces(corpus: Path, rows: list[Row], rate: int) -> Iterator[tuple[Row, np.ndarray]]:
    """Every piece with its samples; pieces whose audio was not kept are rendered."""
    for shard, group in itertools.groupby(rows, key=lambda row: int(row["shard"])):
        if shard_path(corpus, shard).exists():
            yield from shard_audio(corpus, list(group))
            continue
        for row in group:
            if "seed" not in row:
                raise RequestError(
                    f"{shard_path(corpus, shard)} is missing, the sound of {row['id']}. Import it "
                    f"into a new folder."
                )
            yield row, render_piece(row, rate)


def crop_lengths(rows: list[Row], ref: CodecRef) -> list[int]:
    """Frames of every crop of some pieces."""
    return [ref.frames(crop["end_s"] - crop["start_s"]) for row in rows for crop in row["crops"]]


def encode_shard(
    corpus: Path,
    name: str,
    rows: list[Row],
    folder: Path,
    ref: CodecRef,
    n_codebooks: int,
    device: str = "cpu",
) -> None:
    """Codes `[K, N]` of every crop of a shard to `tokens/NAME.npy`, uint16, end to end.

    Raises:
        RequestError: If the shard holds codes of fewer or more books.
    """
    rate, path = corpus_sample_rate(corpus, ref.sample_rate), corpus / TOKENS / f"{name}.npy"
    lengths, made_from = crop_lengths(rows, ref), path.with_suffix(".json")
    if path.exists():
        books, frames = read_codes(path).shape
        if books != n_codebooks:
            raise RequestError(
                f"{path} holds codes of {books} codebooks, not {n_codebooks}; remove {path.parent}."
            )
        known = read_json(made_from)["sound"] if made_from.exists() else fingerprint(rows)
        if frames == sum(lengths) and known == fingerprint(rows):
            return
    codec, parts = _codec(folder, ref, device), list[np.ndarray]()
    for row, samples in _pieces(corpus, rows, rate):
        for crop in crop_audio(row, samples, rate):
            wave = Waveform(torch.from_numpy(crop)[None], rate)
            parts.append(codec.encode(wave, n_codebooks)[0].numpy().astype(np.uint16))
    assert [part.shape[1] for part in parts] == lengths
    path.with_name(f"{name}{INDEX}").unlink(missing_ok=True)  # of other codes
    made_from.unlink(missing_ok=True)
    write_array(path, np.concatenate(parts, axis=1))


def _encode(job: _Job) -> bool:
    """Encode a shard, unless another process is at it; whether it has its codes now."""
    corpus, name = job[0], job[1]
    with claimed(corpus / TOKENS, name) as own:
        if own:
            encode_shard(*job)
    return own


def _in_a_process(job: _Job) -> bool:
    torch.set_num_threads(1)
    return _encode(job)


def encode_corpus(
    corpus: Path,
    folder: Path,
    workers: int,
    hours: float | None = None,
    n_codebooks: int = 1,
    devices: Sequence[str] = ("cpu",),
    part: Part = WHOLE,
) -> None:
    """Write codes of every shard that has none yet; what was cut goes on where it stopped.

    Of a corpus without audio, pieces are rendered at the codec's sample rate. Machines that share
    the folder claim shards, and end when all have codes. `part` (i, n) is every n-th shard from the
    i-th on. Shards take turns on devices.

    Raises:
        RequestError: If the corpus holds tokens of another codec.
    """
    ref, stamp = codec_ref(folder), corpus / STAMP
    groups = token_shards(corpus, hours)
    (corpus / TOKENS).mkdir(exist_ok=True)
    if stamp.exists() and read_json(stamp)["sha256"] != ref.sha256:
        raise RequestError(
            f"{corpus} was tokenised with another codec; remove {corpus / TOKENS} and {stamp}."
        )
    write_json(stamp, ref.model_dump())
    mine = list(groups.items())[part[0] - 1 :: part[1]]
    jobs: list[_Job] = [
        (corpus, name, rows, folder, ref, n_codebooks, devices[i % len(devices)])
        for i, (name, rows) in enumerate(mine)
    ]
    while jobs:
        done = _encode_all(jobs, workers)
        left = [job for job in jobs if job[1] not in done]
        if len(left) == len(jobs):  # all that is left is with other machines
            time.sleep(POLL_S)
        jobs = left


def _encode_all(jobs: Sequence[_Job], workers: int) -> set[str]:
    """Encode shards; the names of those that have their codes now."""
    bar = partial(tqdm, total=len(jobs), unit="shard", desc="tokens", disable=None)
    if workers == 1:
        return {job[1] for job in bar(jobs) if _encode(job)}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        running = {job[1]: pool.submit(_in_a_process, job) for job in jobs}
        try:
            return {name for name, future in bar(running.items()) if future.result()}
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def encode_captions(
    corpus: Path,
    encoder: TextEncoder,
    batch: int = 64,
    hours: float | None = None,
    part: Part = WHOLE,
) -> None:
    """Write captions, text states and places of the crops of every shard that has codes.

    Captions that were corrected are encoded anew. Beyond `hours`, shards lose their places, so
    that a training does not see them; their codes stay.
    """
    groups, folder = token_shards(corpus, hours), corpus / TOKENS
    ref = CodecRef.model_validate(read_json(corpus / STAMP))
    path = corpus / CAPTIONS
    captions = {r["id"]: r["captions"] for r in read_rows(path)} if path.exists() else {}
    if part == WHOLE:
        for index in folder.glob(f"*{INDEX}"):
            if index.name.removesuffix(INDEX) not in groups:
                index.unlink(missing_ok=True)
    mine, count = dict(list(groups.items())[part[0] - 1 :: part[1]]), 0
    bar = tqdm(total=len(mine), unit="shard", desc="captions", disable=None)
    while mine:
        others = dict[str, list[Row]]()
        for name, rows in mine.items():
            with claimed(folder, name) as own:
                if not own:
                    others[name] = rows
                    continue
                count += _encode_shard_captions(folder, name, rows, captions, ref, encoder, batch)
            bar.update()
        if len(others) == len(mine):
            time.sleep(POLL_S)
        mine = others
    bar.close()
    logger.info("%d captions encoded", count)
    if not any(any(crops) for crops in captions.values()):
        logger.warning("%s has no captions: it trains a codec, and no language model", corpus)


def _encode_shard_captions(
    folder: Path,
    name: str,
    rows: list[Row],
    captions: dict[str, list[list[str]]],
    ref: CodecRef,
    encoder: TextEncoder,
    batch: int,
) -> int:
    """The places and text states of a shard that has codes; how many texts were encoded."""
    made_from = {"sound": fingerprint(rows), "text": fingerprint(rows, captions)}
    known = folder / f"{name}.json"
    if not (folder / f"{name}.npy").exists():
        return 0
    finished = known.exists() and (folder / f"{name}{INDEX}").exists()
    if finished and read_json(known) == made_from:
        return 0
    texts = {t for row in rows for crop in captions.get(row["id"], ()) for t in crop}
    states = encode_texts(encoder, sorted(texts, key=lambda text: (len(text), text)), batch)
    write_packed(folder, name, rows, captions, crop_lengths(rows, ref), states, made_from)
    return len(texts)


def encode_texts(
    encoder: TextEncoder, texts: Sequence[str], batch: int = 64
) -> dict[str, np.ndarray]:
    """Token states `[L, D_text]` of every text, those of about one length together."""
    found = dict[str, np.ndarray]()
    for i in range(0, len(texts), batch):
        group = texts[i : i + batch]
        for text, states, mask in zip(group, *encoder.encode(group), strict=True):
            # Float16 halves gigabytes; three digits are left, as states are of the order of 1.
            found[text] = states[mask].cpu().numpy().astype(np.float16)
    return found
