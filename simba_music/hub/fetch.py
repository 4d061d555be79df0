"""Fetch: download a repository with progress, verify every file, notice what has changed."""

import hashlib
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from simba_music.errors import CheckpointError
from simba_music.files import read_json, sha256, write_json
from simba_music.hub.lookup import LOOKUP_S, Remote, RemoteFile, explain, is_wanted, look_up
from simba_music.hub.visitors import is_for_stranger, token
from simba_music.settings import data_folder

CHECKPOINT_FILES = ("*.json", "*.safetensors", "README.md")
ENCODER_FILES = (*CHECKPOINT_FILES, "*.txt", "*.model")  # vocabularies and SentencePiece models
LEDGER = "hub.json"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_ledger_lock = threading.Lock()


@dataclass(frozen=True)
class Downloading:
    """How far the download of a repository is, in bytes."""

    repository: str
    done: int
    total: int


@dataclass(frozen=True)
class Fetched:
    """A verified snapshot on disk; `notice` says what the user should know about it."""

    folder: Path
    commit: str
    notice: str | None = None


OnDownload = Callable[[Downloading], None]


def ignore(_: Downloading) -> None:
    """A download that nobody follows."""


def fetch(
    repository: str,
    revision: str | None = None,
    patterns: Sequence[str] = CHECKPOINT_FILES,
    on_download: OnDownload = ignore,
) -> Fetched:
    """A repository's files, verified, in the cache of `huggingface_hub`; resumes what was cut.

    Args:
        repository: org/name.
        revision: branch, tag or commit; None is the default branch.
        patterns: which files.
        on_download: called as bytes arrive; what it raises ends the download.

    Raises:
        CheckpointError: See `look_up`; or if a file is not what the Hub says it is.
    """
    # A commit cannot change, so what is there needs no network.
    pinned = bool(revision and _COMMIT.fullmatch(revision))
    known = not is_for_stranger()
    cached = _from_cache(repository, revision, patterns) if pinned and known else None
    if cached is not None:
        return cached
    try:
        remote = look_up(repository, revision, patterns)
    except CheckpointError as error:
        cached = _from_cache(repository, revision, patterns) if known else None
        if cached is None or not _unreachable(error.__cause__):
            raise
        old = f"The Hub cannot be reached; this is what was downloaded before ({cached.commit[:8]})"
        return replace(cached, notice=f"{old}.")
    folder, before = Path(), 0
    on_download(Downloading(repository, 0, remote.size))
    for file in remote.files:
        path = _download(remote, file, before, on_download)
        folder = path.parents[file.name.count("/")]
        before += file.size
        on_download(Downloading(repository, before, remote.size))
    return Fetched(folder, remote.commit, _remember(remote))


def _unreachable(error: BaseException | None) -> bool:
    """Whether an error says nothing about the repository: no network, or a Hub in trouble."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= 500 or error.response.status_code == 429
    return error is not None and not isinstance(error, HFValidationError)


def _from_cache(repository: str, revision: str | None, patterns: Sequence[str]) -> Fetched | None:
    """The verified snapshot that an earlier download left, None if there is none."""
    known = _ledger()
    commit = known.get(f"{repository}@{revision or constants.DEFAULT_REVISION}", revision)
    digests = known.get(f"{repository}@{commit}")
    if isinstance(commit, dict):  # the revision is a commit itself
        commit, digests = revision, commit
    if not isinstance(digests, dict):
        return None
    folder = None
    for name, wanted in digests.items():
        if not is_wanted(name, patterns):
            continue
        path = try_to_load_from_cache(repository, name, revision=commit)
        if not isinstance(path, str) or _digest(Path(path), wanted) != wanted:
            return None
        folder = Path(path).parents[name.count("/")]
    return Fetched(folder, str(commit)) if folder else None


def _progress(before: int, remote: Remote, on_download: OnDownload) -> type:
    """A stand-in for a tqdm class that reports the bytes of one file."""

    class Progress:
        def __init__(self, *_: Any, initial: int = 0, **__: Any):
            self.n = initial

        def update(self, n: float | None = 1) -> None:
            self.n += int(n or 0)
            on_download(Downloading(remote.repository, before + self.n, remote.size))

        def __enter__(self) -> "Progress":
            return self

        def __exit__(self, *_: Any) -> None:
            pass

    return Progress


def _download(remote: Remote, file: RemoteFile, before: int, on_download: OnDownload) -> Path:
    """One file, verified; what does not match is fetched again once."""
    for again in (False, True):
        try:
            path = Path(
                hf_hub_download(
                    remote.repository,
                    file.name,
                    revision=remote.commit,
                    force_download=again,
                    etag_timeout=LOOKUP_S,
                    token=token(),
                    tqdm_class=_progress(before, remote, on_download),
                )
            )
        except CheckpointError:  # raised by `on_download`: the user has stopped waiting
            raise
        except Exception as error:
            raise explain(f"{remote.repository}@{remote.asked}", error) from error
        # The client compares sizes alone: a flipped byte, or a cached file cut short, would pass.
        if _digest(path, file.digest) == file.digest:
            return path
        path.resolve().unlink(missing_ok=True)
    raise CheckpointError(
        f"{remote.repository}: {file.name} does not have the digest {file.digest[:12]}… that the "
        "Hub says. It was damaged on the way or changed; nothing was loaded. Try again, and tell "
        "its owner if it stays so."
    )


def _digest(path: Path, like: str) -> str:
    """sha256 of a file, or the sha1 of it as a git blob, whichever `like` is."""
    if len(like) == 64:
        return sha256(path)
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _ledger() -> dict[str, Any]:
    """`repository@revision` to commit, and `repository@commit` to digests, of every download."""
    path = data_folder() / LEDGER
    return read_json(path) if path.exists() else {}


def _remember(remote: Remote) -> str | None:
    """Compare with what this name was at an earlier download, and write it down.

    Returns:
        A notice if a branch or tag has moved.

    Raises:
        CheckpointError: If a commit holds other files than it did.
    """
    asked, at_commit = (f"{remote.repository}@{r}" for r in (remote.asked, remote.commit))
    digests = {file.name: file.digest for file in remote.files}
    with _ledger_lock:
        known = _ledger()
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
    if moved == remote.commit:
        return None
    return (
        f"{asked} has changed since it was last loaded: {moved[:8]} then, {remote.commit[:8]} now. "
        "Pin a commit to keep one."
    )
