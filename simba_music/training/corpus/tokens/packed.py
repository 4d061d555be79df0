"""Packed shards: the crops of some pieces with codes, captions, text states and facts, as arrays.

Of a shard NAME there are `NAME.npy` (codes `[K, N]`, uint16), `NAME.text.npy` (text states
`[T, D_text]`, float16), `NAME.captions.npy` and `NAME.crops.npy` (a row each), `NAME.strings`
(captions, names and facts in UTF-8), and last `NAME.json`, which says what they were made from.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simba_music.files import write_atomic, write_json
from simba_music.training.corpus.store import SPLITS, Row, write_array

# Captions of a crop are `captions` rows from `first_caption` on; places in strings are bytes.
CROP = np.dtype(
    [
        ("split", "u1"),
        ("ends", "?"),
        ("number", "i4"),
        ("start_s", "f8"),
        ("end_s", "f8"),
        ("remaining_s", "f8"),
        ("at", "i8"),
        ("length", "i4"),
        ("piece", "i8", 2),
        ("facts", "i8", 2),
        ("first_caption", "i8"),
        ("captions", "i4"),
    ]
)
CAPTION = np.dtype([("text", "i8", 2), ("states", "i8", 2)])
INDEX = ".crops.npy"


@dataclass(frozen=True)
class Shard:
    """A shard's arrays, mapped."""

    codes: np.ndarray
    text: np.ndarray
    captions: np.ndarray
    crops: np.ndarray
    strings: np.ndarray

    @classmethod
    def open(cls, folder: Path, name: str) -> "Shard":
        """Map the files of a shard."""
        text, captions, crops = (
            np.load(folder / f"{name}.{part}.npy", mmap_mode="r")
            for part in ("text", "captions", "crops")
        )
        path = folder / f"{name}.strings"
        empty = np.zeros(0, np.uint8)
        strings = np.memmap(path, np.uint8, "r") if path.stat().st_size else empty
        return cls(read_codes(folder / f"{name}.npy"), text, captions, crops, strings)

    def string(self, span: np.ndarray) -> str:
        """A text by its place."""
        return bytes(self.strings[int(span[0]) : int(span[1])]).decode()


def read_codes(path: Path) -> np.ndarray:
    """Codes `[K, N]` of a file, mapped; older files hold one book as `[N]`."""
    found: np.ndarray = np.load(path, mmap_mode="r")
    return found[None] if found.ndim == 1 else found


def fingerprint(rows: list[Row], captions: dict[str, list[list[str]]] | None = None) -> str:
    """sha256 of what a shard is made from: its pieces' sound, or all that is said of them."""
    if captions is None:
        said: object = [
            [row["id"], row.get("sha256"), [[c["start_s"], c["end_s"]] for c in row["crops"]]]
            for row in rows
        ]
    else:
        said = [[row, captions.get(row["id"])] for row in rows]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


class _Strings:
    """Texts end to end in UTF-8, each once."""

    def __init__(self) -> None:
        self.data, self._known = bytearray(), dict[str, tuple[int, int]]()

    def place(self, text: str) -> tuple[int, int]:
        if text not in self._known:
            start = len(self.data)
            self.data += text.encode()
            self._known[text] = (start, len(self.data))
        return self._known[text]


def write_packed(
    folder: Path,
    name: str,
    rows: list[Row],
    captions: dict[str, list[list[str]]],
    lengths: list[int],
    states: dict[str, np.ndarray],
    made_from: dict[str, str],
) -> None:
    """Write all but the codes of a shard, whole or not at all.

    Args:
        folder: where shards are.
        name: of the shard.
        rows: manifest rows of its pieces.
        captions: of every crop of a piece by its id; a piece may have none.
        lengths: frames of each crop, in order.
        states: text states `[L, D_text]` of every caption.
        made_from: fingerprints.
    """
    strings, spans, parts = _Strings(), dict[str, int](), list[np.ndarray]()
    said, crops, at, read = list[tuple[object, object]](), list[tuple[object, ...]](), 0, 0
    each = iter(lengths)
    for text, found in states.items():
        spans[text] = read
        parts.append(found)
        read += len(found)
    for row in rows:
        known = captions.get(row["id"]) or [[] for _ in row["crops"]]
        for number, crop in enumerate(row["crops"]):
            length, first = next(each), len(said)
            for text in known[number]:
                span = (spans[text], spans[text] + len(states[text]))
                said.append((strings.place(text), span))
            crops.append(
                (
                    SPLITS.index(row["split"]),
                    # Of composed pieces an ending is a fact; what else ends where its piece does.
                    crop.get("ends", crop["end_s"] >= row["duration_s"]),
                    number,
                    crop["start_s"],
                    crop["end_s"],
                    round(row["duration_s"] - crop["start_s"], 2),
                    at,
                    length,
                    strings.place(row["id"]),
                    strings.place(json.dumps(crop, sort_keys=True)),
                    first,
                    len(said) - first,
                )
            )
            at += length
    stacked = np.concatenate(parts) if parts else np.zeros((0, 0), np.float16)
    write_array(folder / f"{name}.text.npy", stacked)
    write_array(folder / f"{name}.captions.npy", np.array(said, CAPTION))
    write_atomic(folder / f"{name}.strings", bytes(strings.data))
    write_array(folder / f"{name}{INDEX}", np.array(crops, CROP))
    write_json(folder / f"{name}.json", made_from)
