"""Ledger: what each name on the Hub was when it was downloaded, and the digests of its files."""

import hashlib
import logging
import os
import re
import threading
from pathlib import Path
from typing import Any

from huggingface_hub import constants
from huggingface_hub.file_download import repo_folder_name

from simba_music.errors import CheckpointError
from simba_music.files import read_json, sha256, write_atomic, write_json
from simba_music.hub.lookup import Remote
from simba_music.settings import data_folder

LEDGER = "hub.json"
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_lock = threading.Lock()
logger = logging.getLogger(__name__)


def digest_like(path: Path, like: str) -> str:
    """sha256 of a file, or the sha1 of it as a git blob, whichever `like` is."""
    if len(like) == 64:
        return sha256(path)
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _is_ledger(found: Any) -> bool:
    return isinstance(found, dict) and all(
        isinstance(value, str)
        or (isinstance(value, dict) and all(isinstance(one, str) for one in value.values()))
        for value in found.values()
    )


def read_ledger() -> dict[str, Any]:
    """`repository@revision` to commit, and `repository@commit` to digests, of every download.

    One that cannot be read is put aside, and a new one begun.
    """
    path = data_folder() / LEDGER
    if not path.exists():
        return {}
    problem = "it has another form"
    try:
        found: dict[str, Any] = read_json(path)
        if _is_ledger(found):
            return found
    except CheckpointError as error:
        problem = str(error)
    aside = path.with_name(f"{LEDGER}.broken")
    logger.warning("%s is begun anew, as %s; what it was lies in %s", path, problem, aside)
    os.replace(path, aside)
    return {}


def _folder_of(repository: str) -> Path:
    """Where the client's cache keeps a repository."""
    name = repo_folder_name(repo_id=repository, repo_type="model")
    return Path(constants.HF_HUB_CACHE) / name


def _refer(remote: Remote) -> None:
    """Note in the cache which commit a branch or tag is, as the client does; we ask by commit."""
    if remote.asked == remote.commit or ".." in remote.asked.split("/"):
        return
    reference = _folder_of(remote.repository) / "refs" / remote.asked
    reference.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(reference, remote.commit.encode())


def from_names(repository: str, revision: str | None) -> tuple[str | None, dict[str, str]]:
    """(commit, digest of every file) of a cached snapshot, by what the cache calls its files.

    (None, {}) if there is none. The cache names a file by the digest that the Hub gave for it.
    """
    folder, commit = _folder_of(repository), revision or constants.DEFAULT_REVISION
    reference = folder / "refs" / commit
    if reference.is_file():
        commit = reference.read_text().strip()
    snapshot = folder / "snapshots" / commit
    files = [path for path in snapshot.rglob("*") if path.is_file()] if snapshot.is_dir() else []
    found = {path.relative_to(snapshot).as_posix(): path.resolve().name for path in files}
    # Where links are not possible files have their own names, which say nothing.
    whole = bool(found) and all(_DIGEST.fullmatch(digest) for digest in found.values())
    return (commit, found) if whole else (None, {})


def remember(remote: Remote) -> str | None:
    """Compare with what this name was at an earlier download, and write it down.

    Returns:
        A notice if a branch or tag has moved.

    Raises:
        CheckpointError: If a commit holds other files than it did.
    """
    asked, at_commit = (f"{remote.repository}@{r}" for r in (remote.asked, remote.commit))
    digests = {file.name: file.digest for file in remote.files}
    with _lock:
        known = read_ledger()
        before: dict[str, str] = known.get(at_commit, {})
        if any(before.get(name, digest) != digest for name, digest in digests.items()):
            raise CheckpointError(
                f"{at_commit} holds other files than when it was first downloaded, although a "
                "commit cannot change. Do not use it; ask its owner. What it was stands in "
                f"{data_folder() / LEDGER}."
            )
        moved = known.get(asked, remote.commit) if asked != at_commit else remote.commit
        known[at_commit] = before | digests
        if asked != at_commit:
            known[asked] = remote.commit
        data_folder().mkdir(parents=True, exist_ok=True)
        write_json(data_folder() / LEDGER, known)
        _refer(remote)
    if moved == remote.commit:
        return None
    return (
        f"{asked} has changed since it was last loaded: {moved[:8]} then, {remote.commit[:8]} now. "
        "Pin a commit to keep one."
    )
