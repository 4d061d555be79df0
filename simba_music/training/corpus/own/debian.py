"""Debian: recordings and samples of unpacked packages, each with the licence that it has there."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from simba_music.audio import SUFFIXES
from simba_music.errors import RequestError
from simba_music.files.names import Folder
from simba_music.training.corpus.own.wanted import Wanted, problem
from simba_music.training.corpus.store import Row

COPYRIGHT = re.compile(r"((?:.*/)?)usr/share/doc/[^/]+/copyright")
# Folders of music and of instruments' samples; the rest are noises of games.
MUSICAL = {"music", "samples", "drumkits"}
# Licences without a share-alike or copyleft condition: what models may learn from.
FREE = re.compile(r"CC0([-.].*)?|CC-BY-\d(\.\d)?(-\w+)?|PD|public[- ]domain|MIT|Expat", re.I)
_KIT = ".h2drumkit"  # an archive in the source that is a folder once it is installed


@dataclass(frozen=True)
class Licensed:
    """A paragraph of a copyright file: names of files, as it writes them, and their licence."""

    patterns: tuple[str, ...]
    licence: str


def read_copyright(text: str) -> list[Licensed]:
    """Paragraphs about files of a machine-readable debian/copyright (DEP 5), in order."""
    found = list[Licensed]()
    for paragraph in re.split(r"\n\s*\n", text):
        fields = dict[str, str]()
        name = ""
        for line in paragraph.splitlines():
            if line[:1].isspace():
                fields[name] = f"{fields.get(name, '')}\n{line.strip()}"
            elif ":" in line:
                name, _, value = line.partition(":")
                fields[name := name.lower()] = value.strip()
        if "files" in fields:
            said = fields.get("license", "").splitlines()
            found.append(Licensed(tuple(fields["files"].split()), said[0] if said else ""))
    return found


def free_of(licence: str) -> str:
    """The alternative of a licence that models may learn from; empty if it has none."""
    for one in re.split(r"\s+or\s+", licence.replace(",", " ").strip(), flags=re.I):
        if all(FREE.fullmatch(part.strip()) for part in re.split(r"\s+and\s+", one, flags=re.I)):
            return one.strip()
    return ""


def licence_of(name: str, paragraphs: list[Licensed]) -> str:
    """Licence of an installed file, by the last paragraph that names it, as DEP 5 has it.

    A package is installed in other folders than its source has, so it is enough that a name's end
    and a pattern agree, or what a pattern has after its first folder, if that is in a folder too.
    """
    ends = _ends(PurePosixPath(name))
    # What is installed as a folder may be an archive in the source.
    ends += [f"{end}{_KIT}" for p in PurePosixPath(name).parents for end in _ends(p)]
    found = ""
    for paragraph in paragraphs:
        if any(_covers(pattern, ends) for pattern in paragraph.patterns):
            found = paragraph.licence
    return found


def _ends(path: PurePosixPath) -> list[str]:
    return ["/".join(path.parts[i:]) for i in range(len(path.parts))]


def _covers(pattern: str, ends: list[str]) -> bool:
    if pattern == "*":
        return True
    whole = pattern.removeprefix("./")
    rest = whole.partition("/")[2]
    for one in (whole, rest) if "/" in rest else (whole,):
        made = "".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in one)
        if any(re.fullmatch(made, end) for end in ends):
            return True
    return False


def packages_of(folder: Folder) -> Iterator[tuple[str, list[Licensed]]]:
    """(folder's name with a slash, paragraphs) of every package that is unpacked in a folder.

    Raises:
        RequestError: If there is none, or two lie in one folder: whose a file is, nothing says.
    """
    known = dict[str, Path]()
    for name, path in folder.by_name.items():
        if found := COPYRIGHT.fullmatch(name):
            if found[1] in known:
                raise RequestError(
                    f"{folder.folder / found[1]} holds two packages; unpack each into a folder of "
                    "its own: dpkg-deb -x PACKAGE.deb DIR/PACKAGE"
                )
            known[found[1]] = path
    if not known:
        raise RequestError(
            f"{folder.folder} holds no packages. Fetch and unpack some: apt-get download PACKAGE; "
            "dpkg-deb -x PACKAGE_*.deb DIR/PACKAGE"
        )
    for root, path in known.items():
        yield root, read_copyright(path.read_text(errors="replace"))


def debian(folder: Folder) -> tuple[list[Wanted], list[Row]]:
    """Packages of Debian, each as `dpkg-deb -x PACKAGE.deb DIR/PACKAGE` unpacks it.

    What models may learn from is drawn into the splits; all else is the split test, which nothing
    learns from. A package that is not there is no error. There are no captions: a codec needs none.
    """
    wanted, problems = list[Wanted](), list[Row]()
    for root, paragraphs in packages_of(folder):
        for name, path in folder.by_name.items():
            own = name.removeprefix(root)
            if not name.startswith(root) or path.suffix.lower() not in SUFFIXES:
                continue
            if not MUSICAL & {part.lower() for part in PurePosixPath(own).parts[:-1]}:
                problems.append(problem(name, "it is in no folder of music or samples"))
                continue
            licence = licence_of(own, paragraphs)
            free = free_of(licence)
            entry = Wanted(name, split="" if free else "test", licence=free or licence, path=path)
            wanted.append(entry)
    return wanted, problems
