"""Import: your own recordings and captions become a corpus like the composed one."""

import logging
import math
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from tqdm import tqdm

from simba_music import audio
from simba_music.errors import RequestError
from simba_music.files import sha256
from simba_music.files.names import Folder, tidy_name
from simba_music.training.corpus.facts import GRID_S, LONGEST_S
from simba_music.training.corpus.own.layouts import LAYOUTS
from simba_music.training.corpus.own.wanted import (
    Wanted,
    every_recording,
    problem,
    read_captions,
)
from simba_music.training.corpus.rendering.mix import LEVEL_LUFS, limit
from simba_music.training.corpus.store import (
    CAPTIONS,
    MANIFEST,
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
SHORTEST_S = 1.0
SILENT_LUFS = -60.0
SAVE_EVERY = 20  # recordings; a killed run loses no more while the corpus is small
_SAVING_SHARE = 0.05  # of the time, at most, goes into writing the manifest anew


def decode(path: Path, sample_rate: int) -> tuple[np.ndarray, str]:
    """A recording as mono float32 `[T]` at `sample_rate` Hz, and what was noticed on the way.

    Raises:
        RequestError: If it cannot be read, or it is too short, silent or not finite.
    """
    wave = audio.read_recording(path)
    if wave.duration_s < SHORTEST_S:
        raise RequestError(
            f"{path}: it is too short: {wave.duration_s:.2f} s long, {SHORTEST_S} s is the least"
        )
    note = "its channels cancel, so the louder one is taken" if audio.cancels(wave) else ""
    return audio.resample(audio.mono(wave), sample_rate).samples[0].numpy(), note


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


@contextmanager
def _file_of(entry: Wanted, folder: Folder) -> Iterator[Path]:
    """The file of a recording; what lies in an archive is unpacked for as long as it is read."""
    if entry.span is None or entry.path is None:
        yield folder.find(entry.file)
        return
    start, size = entry.span
    with entry.path.open("rb") as archive, tempfile.TemporaryDirectory() as place:
        archive.seek(start)
        unpacked = Path(place) / f"member{Path(entry.file).suffix}"
        unpacked.write_bytes(archive.read(size))
        yield unpacked


def _import_one(
    entry: Wanted, folder: Folder, out: Path, sample_rate: int, shard: int, seen: dict[str, str]
) -> Row:
    """Decode, normalise and write one recording; returns its manifest row."""
    with _file_of(entry, folder) as path:
        digest = sha256(path)
        if digest in seen:
            raise RequestError(f"it is the same recording as another: {seen[digest]}")
        try:
            samples, note = decode(path, sample_rate)
        except RequestError as error:
            raise RequestError(str(error).removeprefix(f"{path}: ")) from error
    loudness = audio.loudness_lufs(samples, sample_rate)
    if not loudness > SILENT_LUFS:
        raise RequestError("it is silent")
    spans = crop_spans(samples, sample_rate)
    length, end_s = round(spans[-1][1] * sample_rate), spans[-1][1]
    samples = limit(np.pad(samples, (0, length - len(samples))), LEVEL_LUFS - loudness)
    write_array(shard_path(out, shard), to_int16(samples))
    drawn_by = entry.split.removeprefix("by ") if entry.split.startswith("by ") else entry.file
    said = entry.split if not entry.split.startswith("by ") else ""
    return {
        "id": entry.file,
        "shard": shard,
        "split": said or _split_of(drawn_by),
        **({} if said else {"split_drawn": True}),
        "duration_s": end_s,
        "sha256": digest,
        "licence": entry.licence or "unknown",
        **({"note": note} if note else {}),
        "crops": [{"start_s": a, "end_s": b, "ends": b == end_s} for a, b in spans],
    }


class _Corpus:
    """What a corpus folder holds so far; `save` writes it, captions first."""

    def __init__(self, out: Path):
        self.out, self.problems = out, list[Row]()
        self.rows = list(read_rows(out / MANIFEST)) if (out / MANIFEST).exists() else []
        if any("seed" in row for row in self.rows):
            raise RequestError(f"{out} holds a composed corpus; import into a folder of its own.")
        found = read_rows(out / CAPTIONS) if (out / CAPTIONS).exists() else iter(())
        self.texts: dict[str, list[list[str]]] = {row["id"]: row["captions"] for row in found}
        self.seen = {row["sha256"]: row["id"] for row in self.rows}
        self.known = {tidy_name(row["id"]): row for row in self.rows}

    def correct(self, entry: Wanted) -> bool:
        """Take captions, split and licence that an import of a known recording says otherwise."""
        row = self.known[entry.file]
        captions = [entry.captions for _ in row["crops"]]
        changes = {"split": entry.split, "licence": entry.licence}
        changes = {k: v for k, v in changes.items() if v and row[k] != v and not v[:3] == "by "}
        row |= changes
        if "split" in changes:
            row.pop("split_drawn", None)
        if entry.captions and self.texts.get(row["id"]) != captions:
            self.texts[row["id"]] = captions
            return True
        return bool(changes)

    def hold_out(self) -> None:
        """Give the held-out split a recording where drawing by name has left it without one."""
        told = [row for row in self.rows if any(self.texts.get(row["id"], []))] or self.rows
        if len(told) < 2 or any(row["split"] == "valid" for row in told):
            return
        drawn = [row for row in told if row.get("split_drawn")]
        trained = [row for row in told if row["split"] == "train"]
        if drawn and (len(trained) > 1 or drawn[0] not in trained):
            chosen = min(drawn, key=lambda row: (row["split"] == "train", row["sha256"]))
            chosen["split"] = "valid"
            logger.info("%s is held out (split valid), as no other was", chosen["id"])

    def save(self) -> None:
        """Captions first: a manifest row never lacks its captions."""
        texts = ({"id": k, "captions": v} for k, v in self.texts.items())
        write_rows(self.out / CAPTIONS, texts)
        write_rows(self.out / MANIFEST, self.rows)
        write_rows(self.out / REPORT, self.problems)


def _left(folder: Folder, wanted: list[Wanted]) -> list[Row]:
    """Sound files that nothing names."""
    named = {tidy_name(entry.file) for entry in wanted}
    return [
        problem(name, "nothing names it")
        for name, path in folder.by_name.items()
        if path.suffix.lower() in audio.SUFFIXES and name not in named
    ]


def _named(
    folder: Folder, table: Path | None, layout: str | None
) -> tuple[list[Wanted], list[Row]]:
    if layout and table:
        raise RequestError("Give either --captions or --layout: a layout has captions of its own.")
    if layout:
        return LAYOUTS[layout](folder)
    return read_captions(table) if table else every_recording(folder)


def import_recordings(
    audio_dir: Path, table: Path | None, out: Path, sample_rate: int, layout: str | None = None
) -> None:
    """Bring recordings into the corpus folder `out`; sound that is there already stays as it is.

    Captions, splits and licences that are said otherwise than before are taken. What cannot be
    read is skipped, logged, and listed with its reason in `import-report.jsonl`.

    Args:
        audio_dir: where the recordings are.
        table: with columns file,caption[,split,licence]; None takes every recording, without
            captions, which trains a codec but no language model.
        out: corpus folder.
        sample_rate: in Hz.
        layout: a data set whose own files say all this, of `LAYOUTS`.

    Raises:
        RequestError: If there is nothing to import, or `out` holds a composed corpus.
    """
    folder, corpus = Folder(audio_dir), _Corpus(out)
    wanted, corpus.problems = _named(folder, table, layout)
    corpus.problems += _left(folder, wanted) if table or layout else []
    if not wanted and not corpus.problems:
        raise RequestError(f"{audio_dir} holds no recordings ({', '.join(audio.SUFFIXES)}).")
    claim_sample_rate(out, sample_rate)
    before, corrected = len(corpus.rows), 0
    try:
        corrected = sum(corpus.correct(w) for w in wanted if w.file in corpus.known)
        missing = [w for w in wanted if w.file not in corpus.known]
        _import_all(corpus, folder, missing, sample_rate)
        corpus.hold_out()
    finally:  # also on Ctrl-C: what is imported stays
        corpus.save()
    reasons = Counter(row["reason"].partition(":")[0] for row in corpus.problems)
    skipped = "; ".join(f"{count} × {reason}" for reason, count in reasons.most_common())
    logger.info(
        "%d imported, %d already there, %d of them corrected; skipped: %s",
        len(corpus.rows) - before, before, corrected, skipped or "none",
    )  # fmt: skip
    if not corpus.rows:
        raise RequestError(f"Nothing was imported. {skipped}. {out / REPORT} lists each file.")


def _import_all(corpus: _Corpus, folder: Folder, wanted: list[Wanted], sample_rate: int) -> None:
    saved, took, since = time.monotonic(), 0.0, 0
    for entry in tqdm(wanted, unit="file", desc="import", disable=None):
        shard = corpus.rows[-1]["shard"] + 1 if corpus.rows else 0
        try:
            row = _import_one(entry, folder, corpus.out, sample_rate, shard, corpus.seen)
        except RequestError as error:
            corpus.problems.append(problem(entry.file, str(error)))
            logger.warning("%s: %s; skipped", entry.file, error)
            continue
        corpus.rows.append(row)
        corpus.texts[row["id"]] = [entry.captions for _ in row["crops"]]
        corpus.seen[row["sha256"]] = row["id"]
        since += 1
        if since >= SAVE_EVERY and time.monotonic() - saved > took / _SAVING_SHARE:
            started, since = time.monotonic(), 0
            corpus.save()
            saved = time.monotonic()
            took = saved - started
