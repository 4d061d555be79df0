"""Names of files as other systems write them: Windows separators, NFC and NFD, capitals."""

import difflib
import unicodedata
from collections import defaultdict
from pathlib import Path

from simba_music.errors import RequestError


def tidy_name(name: str) -> str:
    """A file's name as tables of other systems are read: slashes, and Unicode in NFC."""
    return unicodedata.normalize("NFC", name.strip().replace("\\", "/")).removeprefix("./")


class Folder:
    """All files below a folder, found by names that other systems have written."""

    def __init__(self, folder: Path):
        if not folder.is_dir():
            raise RequestError(f"{folder} is no folder; give the one that the recordings are in.")
        self.folder = folder.resolve()
        self.paths = sorted(path for path in self.folder.rglob("*") if not path.is_dir())
        self.by_name = {self.name_of(path): path for path in self.paths}
        self._folded = defaultdict[str, list[str]](list)
        for name in self.by_name:
            self._folded[name.casefold()].append(name)

    def name_of(self, path: Path) -> str:
        """A file's name in the corpus."""
        return tidy_name(path.relative_to(self.folder).as_posix())

    def find(self, name: str) -> Path:
        """The file of a name.

        Raises:
            RequestError: If there is none, it lies outside, or it cannot be opened.
        """
        wanted = tidy_name(name)
        given = Path(wanted)
        if given.is_absolute() and given.resolve().is_relative_to(self.folder):
            wanted = self.name_of(given.resolve())
        found = self.by_name.get(wanted)
        if found is None and not (self.folder / wanted).resolve().is_relative_to(self.folder):
            raise RequestError("it lies outside the audio folder")
        if found is None:
            raise RequestError(f"there is no such file{self._near(wanted)}")
        if not found.resolve().is_relative_to(self.folder):
            raise RequestError("it lies outside the audio folder")
        if not found.is_file():
            raise RequestError("it is no file, or a broken link")
        return found

    def _near(self, wanted: str) -> str:
        same = self._folded.get(wanted.casefold())
        if same:
            return f": {same[0]} differs in capitals; write it so"
        last = wanted.rpartition("/")[2]
        elsewhere = [name for name in self.by_name if name.rpartition("/")[2] == last]
        near = elsewhere or difflib.get_close_matches(wanted, list(self.by_name)[:20_000], 1, 0.8)
        return f": is {near[0]} meant?" if near else ""


def beside(folder: Path, name: str) -> Path:
    """The path of a file that stands beside another, whichever way its name was written."""
    tidy = tidy_name(name)
    ways = (name, tidy, unicodedata.normalize("NFD", tidy))
    return next((folder / way for way in ways if (folder / way).exists()), folder / name)
