"""Tables that people bring: CSV, TSV, JSON and JSON lines, read alike or refused with the line."""

import csv
import io
import json
import logging
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from simba_music.errors import RequestError

logger = logging.getLogger(__name__)

TABLES = (".csv", ".tsv", ".tab", ".json", ".jsonl", ".ndjson")
DELIMITERS = (",", ";", "\t", "|")
_MARKS = (  # of Unicode; that of UTF-32 begins as that of UTF-16
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_NO_TEXT = (  # files that are no text, whatever they are called
    (b"PK\x03\x04", "a spreadsheet or an archive"),
    (b"\xd0\xcf\x11\xe0", "a spreadsheet of old Excel"),
    (b"PAR1", "a Parquet file"),
    (b"\x1f\x8b", "compressed by gzip"),
    (b"%PDF", "a PDF"),
    (b"SQLite format 3", "a database"),
)
# In Western words letters beyond ASCII hardly ever stand three in a row; in Cyrillic or Japanese
# bytes that are taken for Windows-1252 they do.
_FOREIGN = re.compile(r"[^\x00-\x7f]{3}")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_LONGEST_FIELD = 1_000_000


@dataclass(frozen=True)
class TableRow:
    """A row: the line it begins at, from 1, and its values by column, without blank ends."""

    line: int
    values: dict[str, str]

    def first(self, names: Collection[str]) -> str:
        """The value of the first of these columns that has one, else an empty text."""
        return next((self.values[name] for name in names if self.values.get(name)), "")


@dataclass(frozen=True)
class Table:
    """A table: its columns in small letters and its rows; rows without any value are left out."""

    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]


def read_text(path: Path) -> str:
    """A text in UTF-8, in UTF-16 or -32 with a mark, or in Windows-1252, without its mark.

    Raises:
        RequestError: If it cannot be read, is no text, or is in another encoding.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RequestError(f"Cannot read {path}: {error.strerror}.") from error
    for start, what in _NO_TEXT:
        if data.startswith(start):
            raise RequestError(f"{path} is {what}, not a text. Save it as CSV in UTF-8.")
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        text = _windows_1252(path, data, error)
    if found := _CONTROL.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise RequestError(
            f"{path}, line {line} holds the byte {ord(found[0])}, which no text has. "
            "Save it again as UTF-8 text."
        )
    return text


def _windows_1252(path: Path, data: bytes, error: UnicodeDecodeError) -> str:
    advice = (
        f"{path} is not {error.encoding.upper()} (byte {error.start}). Convert it, for one with "
        f"`iconv -f latin1 -t utf-8 {path.name}`."
    )
    if error.encoding != "utf-8":
        raise RequestError(advice) from error
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        raise RequestError(advice) from error
    if _FOREIGN.search(text):
        raise RequestError(advice) from error
    logger.warning("%s is not UTF-8 and was read as Windows-1252.", path)
    return text


def read_table(path: Path, texts: Collection[str] = ()) -> Table:
    """A table by its ending: CSV (also with semicolons, tabs or bars), TSV, JSON, JSON lines.

    Args:
        path: any other ending is read as CSV, unless its text is JSON.
        texts: columns whose values must be a text, in JSON.

    Raises:
        RequestError: If it cannot be read, or a row is not what the header says: names its line.
    """
    text, kind = read_text(path), path.suffix.lower()
    if kind in (".jsonl", ".ndjson"):
        return _of_objects(path, _json_lines(path, text), texts)
    if kind == ".json" or (kind not in TABLES and text.lstrip()[:1] in ("{", "[")):
        return _of_objects(path, _json(path, text), texts)
    return _delimited(path, text, "\t" if kind in (".tsv", ".tab") else None)


def _delimiter(header: str) -> str:
    """The delimiter that a header has most of, outside quotes; a comma if it has none."""
    bare = re.sub(r'"[^"]*"', "", header)
    return max(DELIMITERS, key=bare.count)


def _delimited(path: Path, text: str, delimiter: str | None) -> Table:
    lines, skipped = text, 0
    if text[:4].lower() == "sep=" and len(text) > 4:  # Excel's own way of naming it
        delimiter, skipped = delimiter or text[4], 1
        lines = text.partition("\n")[2]
    head = next((line for line in lines.splitlines() if line.strip()), "")
    delimiter = delimiter or _delimiter(head)
    rows = _records(path, lines, delimiter, skipped)
    _, header = next(rows, (0, []))
    columns = [name.strip().casefold() for name in header]
    twice = {name for name in columns if name and columns.count(name) > 1}
    if twice:
        raise RequestError(f"{path} has the column {sorted(twice)[0]} twice; name each once.")
    found = []
    for line, fields in rows:
        values = [field.strip() for field in fields]
        if any(values[len(columns) :]):
            raise RequestError(
                f"{path}, line {line} has {len(values)} fields, the header has {len(columns)} "
                f"({', '.join(columns)}). Put a text that has {_named(delimiter)} in it in double "
                "quotes."
            )
        named = {name: value for name, value in zip(columns, values, strict=False) if name}
        if any(named.values()):
            found.append(TableRow(line, named))
    return Table(tuple(name for name in columns if name), tuple(found))


def _named(delimiter: str) -> str:
    return {",": "commas", ";": "semicolons", "\t": "tabs"}.get(delimiter, f"{delimiter!r}")


def _records(
    path: Path, text: str, delimiter: str, skipped: int
) -> Iterator[tuple[int, list[str]]]:
    """(line it begins at, fields) of every row that is not empty."""
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True
    )
    while True:
        line = reader.line_num + 1 + skipped
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            open_quote = "unexpected end" in str(error)
            why = "a double quote is opened and never closed" if open_quote else str(error)
            raise RequestError(
                f"{path}, line {line}: {why}. A text in double quotes ends with one, and those "
                'inside it are doubled: "a 12"" drum".'
            ) from error
        if any(field.strip() for field in fields):
            yield line, fields


def _json(path: Path, text: str) -> list[tuple[int, object]]:
    """(number, value) of the entries of a JSON list, or of the one list of an object."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        if text.lstrip()[:1] == "{" and "\n" in text.strip():
            return _json_lines(path, text)  # JSON lines under the name of JSON
        raise RequestError(f"{path} is not JSON: {error}.") from error
    if isinstance(found, dict):
        lists = [value for value in found.values() if isinstance(value, list)]
        found = lists[0] if len(lists) == 1 else [found]
    if not isinstance(found, list):
        raise RequestError(f"{path} must hold a list of objects, got {type(found).__name__}.")
    return list(enumerate(found, 1))


def _json_lines(path: Path, text: str) -> list[tuple[int, object]]:
    found = list[tuple[int, object]]()
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            found.append((number, json.loads(line)))
        except (ValueError, RecursionError) as error:
            raise RequestError(f"{path}, line {number} is not JSON: {error}.") from error
    return found


def _of_objects(path: Path, entries: list[tuple[int, object]], texts: Collection[str]) -> Table:
    columns, rows = dict[str, None](), list[TableRow]()
    for number, entry in entries:
        if isinstance(entry, str):
            entry = {"prompt": entry}
        if not isinstance(entry, dict):
            raise RequestError(
                f"{path}, entry {number} must be an object such as {{'prompt': ...}}, got "
                f"{type(entry).__name__}."
            )
        values = dict[str, str]()
        for key, value in entry.items():
            name = key.strip().casefold()
            columns.setdefault(name)
            if name in texts and not isinstance(value, str | int | float | None):
                raise RequestError(
                    f"{path}, entry {number}: {name} must be a text, got {type(value).__name__}."
                )
            if isinstance(value, str | int | float) and not isinstance(value, bool):
                values[name] = _clean(path, number, str(value))
            elif isinstance(value, bool):
                values[name] = str(value).lower()
        if any(values.values()):
            rows.append(TableRow(number, values))
    return Table(tuple(columns), tuple(rows))


def _clean(path: Path, number: int, text: str) -> str:
    """A text of JSON, whose escapes can spell what no file in UTF-8 can hold."""
    if any("\ud800" <= c <= "\udfff" for c in text) or _CONTROL.search(text):
        raise RequestError(f"{path}, entry {number} holds a character that no text has.")
    return text.strip()
