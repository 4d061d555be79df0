"""Places: where a checkpoint lies, by its folder, its bundled name or its repository."""

import re
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from simba_music.errors import CheckpointError
from simba_music.files import read_json
from simba_music.hub.fetch import CHECKPOINT_FILES, OnDownload, fetch, ignore
from simba_music.hub.visitors import for_stranger, is_for_stranger
from simba_music.settings import settings

_PACKAGE = Path(__file__).resolve().parents[1]
# In a wheel the checkpoints lie inside the package, in a checkout beside it.
BUNDLED = (_PACKAGE if (_PACKAGE / "checkpoints").is_dir() else _PACKAGE.parent) / "checkpoints"
WEIGHTS, CONFIG = "model.safetensors", "config.json"
# What git allows in the name of a branch stands behind the @.
_REPO = re.compile(r"[\w.-]+/[\w.-]+(@[^\s@^~:?*\[\\]+)?")
_ADDRESS = re.compile(r"(?:hf://|(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/)(.+)")
_PAGES = ("tree", "blob", "resolve", "raw", "commit")


@dataclass(frozen=True)
class Place:
    """A checkpoint on disk: its folder and, if it came from the Hub, its commit and a notice."""

    folder: Path
    revision: str | None = None
    notice: str | None = None


def tidy(source: str) -> str:
    """What names a checkpoint, as it is pasted: an address of the Hub becomes `org/name@revision`.

    Spaces, quotes and a slash at the end are taken off; a path that is there stays as it is.

    Raises:
        CheckpointError: If the address is a data set's, a Space's, or a folder's in a repository.
    """
    if source and not is_for_stranger() and Path(source).expanduser().exists():
        return source
    text = source.strip().strip("'\"`<>").strip()
    address = _ADDRESS.fullmatch(text)
    parts = re.split(r"[?#]", address[1])[0].split("/") if address else text.split("/")
    # A branch may have slashes of its own, which an address writes as %2F.
    parts = [urllib.parse.unquote(part).strip() for part in parts if part.strip()]
    if address and parts and parts[0] in ("datasets", "spaces"):
        raise CheckpointError(
            f"{text} is the address of a {parts[0][:-1]}, not of a model. Give that of a model."
        )
    if parts[2:3] and parts[2] in _PAGES and (address or len(parts) > 3):
        if parts[2] == "tree" and len(parts) > 4:
            raise CheckpointError(
                f"{text} is a folder inside a repository; a checkpoint is a whole one. Give "
                "org/name@revision."
            )
        revision = f"@{parts[3]}" if len(parts) > 3 else ""
        return f"{parts[0]}/{parts[1]}{revision}"
    if address:
        return "/".join(parts).replace(" ", "")
    name, at, revision = text.partition("@")
    tidied = name.replace(" ", "").rstrip("/") + at + revision.strip().rstrip("/")
    return tidied if is_repository(tidied) else text


def short_name(source: str) -> str:
    """What a checkpoint is called in files and labels: the last part of what names it."""
    return source.split("@")[0].rstrip("/").split("/")[-1]


def is_repository(source: str) -> bool:
    """Whether a name has the form of a Hub repository, `org/name` or `org/name@revision`."""
    return bool(_REPO.fullmatch(source)) and not source.startswith((".", "/"))


def folder_of(source: str) -> Path | None:
    """The folder of a checkpoint on this machine, by its path or its bundled name, if it is one.

    A stranger may name bundled ones alone.
    """
    if is_for_stranger() and source not in offered():
        return None
    for folder in (Path(source).expanduser(), BUNDLED / source):
        if (folder / CONFIG).is_file():
            return folder.resolve()
    return None


def is_folder(source: str | Path) -> bool:
    """Whether this names a folder of this machine; to a stranger a repository's name never does."""
    hidden = is_for_stranger() and is_repository(str(source))
    return Path(source).is_dir() and not hidden


def locate(
    source: str, on_download: OnDownload = ignore, patterns: Sequence[str] = CHECKPOINT_FILES
) -> Place:
    """Find a checkpoint: a directory, a bundled name, or `org/name@revision`, which is fetched.

    Args:
        source: one of the three.
        on_download: called while it downloads.
        patterns: which files of a Hub repository.

    Raises:
        CheckpointError: If there is no such thing, or it cannot be fetched.
    """
    source = tidy(source)
    if folder := folder_of(source):
        return Place(folder)
    if Path(source).is_dir() and not is_for_stranger():
        raise CheckpointError(
            f"Checkpoint {source} has no {CONFIG}; it needs {CONFIG} and {WEIGHTS}."
        )
    if not is_repository(source):
        names = ", ".join(offered())
        raise CheckpointError(
            f"Checkpoint {source!r} not found. Give a folder with {CONFIG} and {WEIGHTS}, "
            f"a bundled name ({names}), or a Hub repository such as org/name@revision."
        )
    repository, _, revision = source.partition("@")
    found = fetch(repository, revision or None, patterns, on_download)
    return Place(found.folder, found.commit, found.notice)


def offered() -> list[str]:
    """Names of the bundled language models."""
    found = ((p.parent.name, read_json(p)) for p in BUNDLED.glob(f"*/{CONFIG}"))
    return sorted(name for name, raw in found if isinstance(raw, dict) and "backbone" in raw)


def allowed() -> list[str]:
    """What a visitor may choose: the bundled models and those of `SIMBA_MUSIC_MODELS`."""
    listed = settings().models.replace(",", " ").split()
    return list(dict.fromkeys([*offered(), *listed]))


def may_load_any() -> bool:
    """Whether a visitor may name any checkpoint.

    `SIMBA_MUSIC_ANY_MODEL` says 1 or 0; else yes where only this machine reaches the page.
    """
    found = settings()
    return not found.public if found.any_model is None else found.any_model


@contextmanager
def chosen_by_visitor(source: str) -> Iterator[None]:
    """While a checkpoint is loaded that a visitor has chosen.

    Where others reach the page, one that the host does not list is loaded as for a stranger.
    """
    with nullcontext() if source in allowed() or not settings().public else for_stranger():
        yield
