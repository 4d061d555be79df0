"""docs/files.md: what it says can be brought is what is read."""

import re
from pathlib import Path

from simba_music.audio import SUFFIXES
from simba_music.files.tables import TABLES
from simba_music.generation import prompt_files
from simba_music.hub.weights import FLOATS, PREFIXES
from simba_music.training.corpus.own import wanted
from simba_music.training.corpus.own.layouts import LAYOUTS

PAGE = (Path(__file__).parent.parent / "docs" / "files.md").read_text()


def section(title):
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def first_cells(title):
    rows = [line for line in section(title).splitlines() if line.startswith("| ")]
    return [row.split("|")[1] for row in rows]


def marked(text):
    return re.findall(r"`([^`]+)`", text)


def test_endings_of_sound_files_are_those_that_are_read():
    assert sorted(marked(" ".join(first_cells("Sound files")))) == sorted(SUFFIXES)


def test_endings_and_columns_of_tables_are_those_that_are_read():
    text = section("Tables")
    endings = [cell for cell in marked(" ".join(first_cells("Tables"))) if cell.startswith(".")]
    assert sorted(endings) == sorted(TABLES)
    prompts, captions = (
        set(marked(line)) for line in text.splitlines() if re.match(r"\| (prompts|captions) ", line)
    )
    known = {*prompt_files.TEXT_COLUMNS, *prompt_files.ID_COLUMNS, *prompt_files.SETTINGS}
    assert prompts == known | {"generate"}
    assert captions == {*wanted.FILE_COLUMNS, *wanted.TEXT_COLUMNS, *wanted.LICENCES, "split"}
    assert set(wanted.SPLIT_NAMES) <= set(marked(text))


def test_layouts_are_those_that_there_are():
    assert [marked(cell)[0] for cell in first_cells("Layouts") if marked(cell)] == list(LAYOUTS)


def test_dtypes_and_prefixes_of_checkpoints_are_those_that_are_read():
    text = section("Checkpoints")
    assert f"| {', '.join(FLOATS.values())} | yes |" in text
    assert set(PREFIXES) <= set(marked(text))
