"""Wanted: which recordings are to be imported, as a table or a folder names them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from simba_music.audio import SUFFIXES
from simba_music.errors import RequestError
from simba_music.files.names import Folder, tidy_name
from simba_music.files.tables import read_table
from simba_music.training.corpus.store import SPLITS, Row

FILE_COLUMNS = ("file", "file_name", "filename", "path", "audio")
TEXT_COLUMNS = ("caption", "text", "prompt")
LICENCES = ("licence", "license")
# Names that others give our splits.
SPLIT_NAMES = {name: name for name in SPLITS} | {
    "training": "train",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "testing": "test",
}
_NOTES = (".csv", ".tsv", ".json", ".jsonl", ".txt", ".md", ".pdf", ".jpg", ".jpeg", ".png")


@dataclass
class Wanted:
    """One recording to import: its name, what is said of it, and where it is.

    `path` is its file, None until it is looked for in the folder; of a file inside a tar archive
    `path` is the archive, and `span` where its bytes begin and how many there are.
    """

    file: str
    captions: list[str] = field(default_factory=list)
    split: str = ""
    licence: str = ""
    path: Path | None = None
    span: tuple[int, int] | None = None

    def say(self, captions: Sequence[str]) -> None:
        """Add captions that are not blank, each once."""
        for caption in captions:
            text = " ".join(caption.split())
            if text and text not in self.captions:
                self.captions.append(text)


def problem(file: str, reason: str, detail: str = "") -> Row:
    """A row of the import's report; rows of one reason are counted together."""
    return {"file": file, "reason": reason} | ({"detail": detail} if detail else {})


def every_recording(folder: Folder) -> tuple[list[Wanted], list[Row]]:
    """Every sound file of a folder, and why each other file is none."""
    wanted, problems = list[Wanted](), list[Row]()
    for name, path in folder.by_name.items():
        ending = path.suffix.lower()
        if any(part.startswith(".") for part in Path(name).parts):
            problems.append(problem(name, "it is hidden"))
        elif ending in SUFFIXES:
            wanted.append(Wanted(name, path=path))
        elif ending in (".mid", ".midi"):
            problems.append(problem(name, "it is a score, not sound; render it first"))
        elif ending in _NOTES:
            problems.append(problem(name, "it is no sound"))
        else:
            problems.append(problem(name, "its ending is no sound file's", ending or "none"))
    return wanted, problems


def read_captions(table: Path) -> tuple[list[Wanted], list[Row]]:
    """The recordings that a table names, in order; a file may have several captions, or none.

    Returns:
        What to import, and problems: rows that repeat another or name no split of ours.

    Raises:
        RequestError: If it cannot be read or lacks the columns `file` and `caption`.
    """
    found = read_table(table, (*FILE_COLUMNS, *TEXT_COLUMNS))
    if not set(FILE_COLUMNS) & set(found.columns) or not set(TEXT_COLUMNS) & set(found.columns):
        raise RequestError(
            f"{table} needs a header and the columns file,caption[,split,licence]; it has "
            f"{', '.join(found.columns) or 'no rows'}."
        )
    wanted, problems = dict[str, Wanted](), list[Row]()
    for row in found.rows:
        name, caption = tidy_name(row.first(FILE_COLUMNS)), row.first(TEXT_COLUMNS)
        split, where = row.first(("split",)).lower(), f"line {row.line}"
        if not name:
            problems.append(problem(name, "no file is named", where))
            continue
        if split and split not in SPLIT_NAMES:
            allowed = ", ".join(SPLIT_NAMES)
            problems.append(problem(name, f"split must be one of {allowed}", f"{where}: {split!r}"))
            continue
        licence, known = row.first(LICENCES), name in wanted
        entry = wanted.setdefault(
            name, Wanted(name, split=SPLIT_NAMES.get(split, ""), licence=licence)
        )
        before = len(entry.captions)
        entry.say([caption])
        if known and len(entry.captions) == before:
            problems.append(problem(name, "the same file and caption again", where))
        if known and split and SPLIT_NAMES[split] != entry.split:
            problems.append(problem(name, "it has another split in an earlier row", where))
    return list(wanted.values()), problems
