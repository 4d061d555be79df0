"""Fetch: download a repository with progress, verify every file, notice what has changed."""

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from simba_music.errors import CheckpointError
from simba_music.errors.causes import chain, is_full_disk
from simba_music.files.room import check_disk
from simba_music.hub.ledger import digest_like, from_names, read_ledger, remember
from simba_music.hub.lookup import (
    LOOKUP_S,
    HangingError,
    Remote,
    RemoteFile,
    explain,
    is_wanted,
    look_up,
    status_of,
)
from simba_music.hub.patience import Patience
from simba_music.hub.visitors import is_for_stranger, token

CHECKPOINT_FILES = ("*.json", "*.safetensors", "README.md")
ENCODER_FILES = (*CHECKPOINT_FILES, "*.txt", "*.model")  # vocabularies and SentencePiece models
_COMMIT = re.compile(r"[0-9a-f]{40}")


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
    patience = Patience()
    try:
        remote = _looked_up(repository, revision, patterns, patience)
        folder = _files(remote, patience, on_download)
    except CheckpointError as error:
        cached = _from_cache(repository, revision, patterns) if known else None
        if cached is None or not _unreachable(error.__cause__):
            raise
        old = f"The Hub cannot be reached; this is what was downloaded before ({cached.commit[:8]})"
        return replace(cached, notice=f"{old}.")
    return Fetched(folder, remote.commit, remember(remote))


def _looked_up(
    repository: str, revision: str | None, patterns: Sequence[str], patience: Patience
) -> Remote:
    """`look_up`, given up where the Hub hangs."""
    try:
        return patience.wait(lambda: look_up(repository, revision, patterns))
    except HangingError as error:
        raise explain(f"{repository}@{revision}" if revision else repository, error) from error


def _is_cached(remote: Remote, file: RemoteFile) -> bool:
    found = try_to_load_from_cache(remote.repository, file.name, revision=remote.commit)
    return isinstance(found, str)


def _files(remote: Remote, patience: Patience, on_download: OnDownload) -> Path:
    """Every file of a repository, verified; the folder that holds them."""
    folder, before = Path(), 0
    absent = sum(file.size for file in remote.files if not _is_cached(remote, file))
    if absent:
        check_disk(Path(constants.HF_HUB_CACHE), absent, f"{remote.repository}@{remote.asked}")
    on_download(Downloading(remote.repository, 0, remote.size))
    for file in remote.files:
        path = _download(remote, file, before, on_download, patience)
        folder = path.parents[file.name.count("/")]
        before += file.size
        on_download(Downloading(remote.repository, before, remote.size))
    return folder


def _unreachable(error: BaseException | None) -> bool:
    """Whether an error says nothing about the repository: no network, or a Hub in trouble."""
    if error is None or any(is_full_disk(under) for under in chain(error)):
        return False
    status = next((found for found in map(status_of, chain(error)) if found is not None), None)
    if status is not None:
        return status >= 500 or status == 429
    return not isinstance(error, HFValidationError)


def _from_cache(repository: str, revision: str | None, patterns: Sequence[str]) -> Fetched | None:
    """The verified snapshot that an earlier download left, None if there is none."""
    known = read_ledger()
    commit = known.get(f"{repository}@{revision or constants.DEFAULT_REVISION}", revision)
    digests = known.get(f"{repository}@{commit}")
    if isinstance(commit, dict):  # the revision is a commit itself
        commit, digests = revision, commit
    if not isinstance(digests, dict):
        # What was written down is lost; the cache names each file by its digest.
        commit, digests = from_names(repository, revision)
    if not digests:
        return None
    folder = None
    for name, wanted in digests.items():
        if not is_wanted(name, patterns):
            continue
        path = try_to_load_from_cache(repository, name, revision=commit)
        if not isinstance(path, str) or digest_like(Path(path), wanted) != wanted:
            return None
        folder = Path(path).parents[name.count("/")]
    return Fetched(folder, str(commit)) if folder else None


def _progress(before: int, remote: Remote, on_download: OnDownload, patience: Patience) -> type:
    """A stand-in for a tqdm class that reports the bytes of one file."""

    class Progress:
        def __init__(self, *_: Any, initial: int = 0, **__: Any):
            self.n = initial

        def update(self, n: float | None = 1) -> None:
            self.n += int(n or 0)
            if patience.over.is_set():
                raise HangingError(patience.longest_s)
            patience.heard()
            on_download(Downloading(remote.repository, before + self.n, remote.size))

        def __enter__(self) -> "Progress":
            return self

        def __exit__(self, *_: Any) -> None:
            pass

    return Progress


def _download(
    remote: Remote, file: RemoteFile, before: int, on_download: OnDownload, patience: Patience
) -> Path:
    """One file, verified; what does not match is fetched again once."""
    for again in (False, True):
        get = functools.partial(
            hf_hub_download,
            remote.repository,
            file.name,
            revision=remote.commit,
            force_download=again,
            etag_timeout=LOOKUP_S,
            token=token(),
            tqdm_class=_progress(before, remote, on_download, patience),
        )
        try:
            path = Path(patience.wait(get))
            patience.heard()
        except CheckpointError:  # raised by `on_download`: the user has stopped waiting
            raise
        except Exception as error:
            raise explain(f"{remote.repository}@{remote.asked}", error) from error
        # The client compares sizes alone: a flipped byte, or a cached file cut short, would pass.
        if digest_like(path, file.digest) == file.digest:
            return path
        path.resolve().unlink(missing_ok=True)
    raise CheckpointError(
        f"{remote.repository}: {file.name} does not have the digest {file.digest[:12]}… that the "
        "Hub says. It was damaged on the way or changed; nothing was loaded. Try again, and tell "
        "its owner if it stays so."
    )
