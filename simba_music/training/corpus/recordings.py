"""Import: your own recordings and captions become a corpus like the composed one."""

import csv
import logging
import math
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from simba_music import audio
from simba_music.audio import Waveform
from simba_music.errors import RequestError
from simba_music.files import sha256
from simba_music.training.corpus.facts import GRID_S, LONGEST_S
from simba_music.training.corpus.rendering.mix import LEVEL_LUFS, limit
from simba_music.training.corpus.store import (
    CAPTIONS,
    MANIFEST,
    SPLITS,
    Row,
    claim_sample_rate,
    read_rows,
    shard_path,
    to_int16,
    write_array,
    write_rows,
)

logger = logging.getLogger(__name__)

REPORT = "import-report.jsonl"
SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aac", ".aif", ".aiff", ".wma")
SHORTEST_S = 1.0
SILENT_LUFS = -60.0
SAVE_EVERY = 20  # recordings; a killed run loses no more


@dataclass
class Wanted:
    """One recording to import: its file under the audio folder and what is said of it."""

    file: str
    captions: list[str] = field(default_factory=list)
    split: str = ""
    licence: str = ""


def read_captions(table: Path) -> tuple[list[Wanted], list[Row]]:
    """The recordings that a CSV names, in order; a file may have several captions, or none.

    Returns:
        What to import, and problems: rows that repeat another or name no split of ours.

    Raises:
        RequestError: If it cannot be read or lacks the columns `file` and `caption`.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as lines:
            rows = list(csv.DictReader(lines))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RequestError(f"{table} cannot be read as a UTF-8 CSV file: {error}") from error
    if not rows or not {"file", "caption"} <= set(rows[0]):
        raise RequestError(
            f"{table} needs a header and the columns file,caption[,split,licence]; it has "
            f"{', '.join(map(str, rows[0])) if rows else 'no rows'}."
        )
    wanted: dict[str, Wanted] = {}
    problems: list[Row] = []
    for number, row in enumerate(rows, 2):
        name, caption = (row["file"] or "").strip(), (row["caption"] or "").strip()
        split, licence = ((row.get(key) or "").strip() for key in ("split", "licence"))
        if not name:
            problems.append(_problem(name, f"line {number}: no file"))
            continue
        if split and split not in SPLITS:
            problems.append(_problem(name, f"line {number}: split must be one of {SPLITS}"))
            continue
        known = name in wanted
        entry = wanted.setdefault(name, Wanted(name, split=split, licence=licence))
        if known and caption in ("", *entry.captions):
            problems.append(_problem(name, f"line {number}: the same file and caption again"))
        elif caption:
            entry.captions.append(caption)
    return list(wanted.values()), problems


def _problem(file: str, reason: str) -> Row:
    return {"file": file, "reason": reason}


def decode(path: Path, sample_rate: int) -> np.ndarray:
    """A recording as mono float32 `[T]` at `sample_rate` Hz, by libsndfile, else by ffmpeg.

    Raises:
        RequestError: If neither can read it, or it is empty, silent or not finite.
    """
    try:
        wave = audio.read(path)
    except Exception as error:  # libsndfile's own kinds; ffmpeg knows more formats
        wave = _ffmpeg(path, sample_rate, str(error))
    if wave.samples.shape[-1] < SHORTEST_S * wave.sample_rate:
        raise RequestError(f"it is {wave.duration_s:.2f} s long, {SHORTEST_S} s is the least")
    if not torch.isfinite(wave.samples).all():
        raise RequestError("it holds NaN or infinite samples")
    return audio.resample(audio.mono(wave), sample_rate).samples[0].numpy()


def _ffmpeg(path: Path, sample_rate: int, why: str) -> Waveform:
    if shutil.which("ffmpeg") is None:
        raise RequestError(f"libsndfile cannot read it ({why}) and ffmpeg is not installed")
    command = ["ffmpeg", "-v", "error", "-nostdin", "-i", str(path), "-vn", "-f", "f32le"]
    command += ["-ac", "1", "-ar", str(sample_rate), "-"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode or not done.stdout:
        reason = done.stderr.decode(errors="replace").strip().splitlines()
        raise RequestError(f"ffmpeg cannot read it: {reason[-1] if reason else 'no audio'}")
    samples = np.frombuffer(done.stdout, dtype="<f4").copy()
    return Waveform(torch.from_numpy(samples)[None], sample_rate)


def crop_spans(samples: np.ndarray, sample_rate: int) -> list[tuple[float, float]]:
    """(start, end) in seconds of crops of at most 30 s that cover `[T]`, cut where it is quiet."""
    cell = round(GRID_S * sample_rate)
    cells = math.ceil(len(samples) / cell)
    padded = np.pad(samples, (0, cells * cell - len(samples)))
    power = np.square(padded.reshape(cells, cell)).mean(1)
    count = math.ceil(cells * GRID_S / LONGEST_S)
    cuts = [0]
    for i in range(1, count):
        middle, reach = round(cells * i / count), round(2 / GRID_S)
        # No crop may pass the limit, so the window ends where the last cut allows.
        low = max(cuts[-1] + 1, middle - reach, cells - round((count - i) * LONGEST_S / GRID_S))
        high = min(middle + reach, cuts[-1] + round(LONGEST_S / GRID_S))
        cuts.append(low + int(power[low : high + 1].argmin()))
    cuts.append(cells)
    return [(a * GRID_S, b * GRID_S) for a, b in zip(cuts, cuts[1:], strict=False)]


def _split_of(name: str) -> str:
    value = random.Random(f"split{name}").random()
    return "train" if value < 0.9 else "valid" if value < 0.95 else "test"


def _import_one(
    entry: Wanted, folder: Path, out: Path, sample_rate: int, shard: int, seen: dict[str, str]
) -> Row:
    """Decode, normalise and write one recording; returns its manifest row."""
    path = (folder / entry.file).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise RequestError("it lies outside the audio folder")
    if not path.is_file():
        raise RequestError("there is no such file")
    digest = sha256(path)
    if digest in seen:
        raise RequestError(f"it is the same recording as {seen[digest]}")
    samples = decode(path, sample_rate)
    loudness = audio.loudness_lufs(samples, sample_rate)
    if not loudness > SILENT_LUFS:
        raise RequestError("it is silent")
    spans = crop_spans(samples, sample_rate)
    length = round(spans[-1][1] * sample_rate)
    samples = limit(np.pad(samples, (0, length - len(samples))), LEVEL_LUFS - loudness)
    write_array(shard_path(out, shard), to_int16(samples))
    return {
        "id": entry.file,
        "shard": shard,
        "split": entry.split or _split_of(entry.file),
        "duration_s": spans[-1][1],
        "sha256": digest,
        "licence": entry.licence or "unknown",
        "crops": [{"start_s": start, "end_s": end} for start, end in spans],
    }


def _found(folder: Path) -> Iterator[Wanted]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES:
            yield Wanted(path.relative_to(folder).as_posix())


def import_recordings(folder: Path, table: Path | None, out: Path, sample_rate: int) -> None:
    """Bring recordings into the corpus folder `out`; what is there already stays as it is.

    What cannot be read is skipped, logged, and listed with its reason in `import-report.jsonl`.

    Args:
        folder: where the recordings are.
        table: CSV with columns file,caption[,split,licence]; None takes every recording, without
            captions, which trains a codec but no language model.
        out: corpus folder.
        sample_rate: in Hz.

    Raises:
        RequestError: If there is nothing to import, or `out` holds a composed corpus.
    """
    wanted, problems = read_captions(table) if table else (list(_found(folder)), [])
    if not wanted and not problems:
        raise RequestError(f"{folder} holds no recordings ({', '.join(SUFFIXES)}).")
    rows = list(read_rows(out / MANIFEST)) if (out / MANIFEST).exists() else []
    if any("seed" in row for row in rows):
        raise RequestError(f"{out} holds a composed corpus; import into a folder of its own.")
    claim_sample_rate(out, sample_rate)
    texts = {row["id"]: row["captions"] for row in _captions(out)}
    seen = {row["sha256"]: row["id"] for row in rows}
    known, imported = {row["id"] for row in rows}, 0
    try:
        for entry in tqdm(
            [w for w in wanted if w.file not in known], unit="file", desc="import", disable=None
        ):
            shard = rows[-1]["shard"] + 1 if rows else 0
            try:
                row = _import_one(entry, folder, out, sample_rate, shard, seen)
            except RequestError as error:
                problems.append(_problem(entry.file, str(error)))
                logger.warning("%s: %s; skipped", entry.file, error)
                continue
            rows.append(row)
            texts[row["id"]] = [entry.captions for _ in row["crops"]]
            seen[row["sha256"]] = row["id"]
            imported += 1
            if imported % SAVE_EVERY == 0:
                _save(out, rows, texts, problems)
    finally:  # also on Ctrl-C: what is imported stays
        _save(out, rows, texts, problems)
    reasons = Counter(problem["reason"].split(":")[0] for problem in problems)
    logger.info("%d imported, %d already there, skipped: %s", imported, len(known), dict(reasons))


def _captions(out: Path) -> Iterator[Row]:
    return read_rows(out / CAPTIONS) if (out / CAPTIONS).exists() else iter(())


def _save(out: Path, rows: list[Row], texts: dict[str, list[list[str]]], bad: list[Row]) -> None:
    """Captions first: a manifest row never lacks its captions."""
    write_rows(out / CAPTIONS, ({"id": k, "captions": v} for k, v in texts.items()))
    write_rows(out / MANIFEST, rows)
    write_rows(out / REPORT, bad)
