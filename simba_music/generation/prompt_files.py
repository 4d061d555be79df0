"""Prompt files: a table or one prompt a line, with what was left out and why."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from simba_music.errors import RequestError
from simba_music.files.tables import TABLES, read_table, read_text

TEXT_COLUMNS = ("prompt", "caption", "text")
ID_COLUMNS = ("id", "ytid")
SETTINGS: dict[str, Callable[[str], float | int]] = {"duration_s": float, "seed": int}
ID = re.compile(r"(?!\.)[\w.-]{1,100}")  # it becomes a file name


@dataclass(frozen=True)
class Prompt:
    """A prompt and the name that its clip gets."""

    id: str
    text: str


class Row(NamedTuple):
    """A line or row of a prompt file: its place in words, id, text, and settings of its own."""

    where: str
    id: str
    text: str
    settings: dict[str, str]


def _rows(path: Path, with_ids: bool = False) -> list[Row]:
    """Every line or row; `with_ids`, only of a table that has them."""
    kind = path.suffix.lower()
    if kind not in TABLES and not with_ids:
        text = read_text(path)
        if text.lstrip()[:1] not in ("{", "["):
            lines = enumerate(text.splitlines(), 1)
            return [Row(f"line {i}", str(i), line, {}) for i, line in lines]
    table = read_table(path, (*TEXT_COLUMNS, *ID_COLUMNS))
    columns = ", ".join(table.columns) or "none"
    wanted = [name for name in TEXT_COLUMNS if name in table.columns]
    if not wanted:
        raise RequestError(
            f"{path} has the columns {columns}; it needs one of {', '.join(TEXT_COLUMNS)}, and "
            f"may have {' or '.join(ID_COLUMNS)}."
        )
    named = [name for name in ID_COLUMNS if name in table.columns]
    if with_ids and not named:
        raise RequestError(f"{path} needs the columns id and prompt, got {columns}.")
    return [
        Row(
            f"line {row.line}",
            row.first(named[:1]) if named else str(number),
            row.first(wanted[:1]),
            {name: row.values[name] for name in SETTINGS if row.values.get(name)},
        )
        for number, row in enumerate(table.rows, 1)
    ]


def read_batch(path: Path) -> dict[str, dict[str, str | float | int]]:
    """Fields of a request by id, of every row of a file; a prompt and what it sets of its own.

    Raises:
        RequestError: If the file cannot be read, or an id or a number is wrong: says in which row.
    """
    found = dict[str, dict[str, str | float | int]]()
    for row in _rows(path, with_ids=True):
        if not ID.fullmatch(row.id):
            raise RequestError(
                f"{path}, {row.where}: id {row.id!r} must be letters, digits, - . or _."
            )
        if row.id in found:
            raise RequestError(f"{path}, {row.where}: {row.id!r} again; every id only once.")
        found[row.id] = {"prompt": row.text}
        for name, value in row.settings.items():
            try:
                found[row.id][name] = SETTINGS[name](value)
            except ValueError as error:
                raise RequestError(
                    f"{path}, {row.where}: {name} must be a number, got {value!r}."
                ) from error
    if not found:
        raise RequestError(f"{path} holds no prompt; give at least one row.")
    return found


def read_prompts(
    path: Path,
    count_tokens: Callable[[str], int],
    most_tokens: int,
    limit: int | None = None,
    skip: int = 0,
) -> tuple[list[Prompt], list[str]]:
    """Prompts of a file, each once, and a line for everything that was left out.

    Args:
        path: a table (see `files.tables`) with a column prompt, caption or text; else one prompt
            a line.
        count_tokens: text tokens of a prompt.
        most_tokens: prompts with more are left out.
        limit: at most so many, the first ones.
        skip: so many lines or rows are passed over before.

    Raises:
        RequestError: If the file cannot be read, lacks its columns, or holds no prompt.
    """
    found: dict[str, Prompt] = {}
    left_out: list[str] = []
    for where, name, raw, _ in _rows(path)[skip:]:
        text = " ".join(raw.split())
        if not text:
            left_out.append(f"{where}: blank")
        elif text in found:
            left_out.append(f"{where}: the same as {found[text].id}")
        elif (tokens := count_tokens(text)) > most_tokens:
            left_out.append(f"{where}: {tokens} text tokens, {most_tokens} at most")
        else:
            safe = "".join(c if c.isalnum() or c in "-_" else "-" for c in name)[:60]
            found[text] = Prompt(f"{len(found):04d}-{safe}", text)
        if limit is not None and len(found) >= limit:
            break
    if not found:
        raise RequestError(f"{path} holds no usable prompt. " + "; ".join(left_out[:3]))
    return list(found.values()), left_out
