"""Look up: what a repository holds, and what a failure of the Hub means to a user."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from simba_music.errors import CheckpointError
from simba_music.errors.causes import chain, is_full_disk
from simba_music.files.room import free_bytes
from simba_music.hub.visitors import token
from simba_music.settings import settings

LOOKUP_S = 10.0  # a slow Hub is given up after this time without an answer
_UNSAFE = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_GB = 1e9


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository: its size in bytes and the digest that the Hub publishes for it.

    The digest is the sha256 of a large file (LFS), and the sha1 of any other as a git blob.
    """

    name: str
    size: int
    digest: str


@dataclass(frozen=True)
class Remote:
    """A repository at one commit, and those of its files that are wanted."""

    repository: str
    asked: str
    commit: str
    files: tuple[RemoteFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all wanted files."""
        return sum(file.size for file in self.files)


def largest_download() -> float:
    """Bytes that one repository may take, from `SIMBA_MUSIC_MAX_DOWNLOAD_GB`."""
    return settings().max_download_gb * _GB


class HangingError(Exception):
    """Nothing has come from the Hub for so many seconds."""

    def __init__(self, waited_s: float):
        super().__init__(f"nothing for {waited_s:.0f} s")
        self.waited_s = waited_s


def status_of(error: BaseException | None) -> int | None:
    """The status that the Hub answered with, None if it did not."""
    found = getattr(getattr(error, "response", None), "status_code", None)
    return found if isinstance(found, int) else None


def _root(error: Exception) -> Exception:
    """What the client's own summary hides: an answer of the Hub under "not in the cache"."""
    if isinstance(error, LocalEntryNotFoundError | ValueError):
        for under in chain(error):
            if isinstance(under, Exception) and status_of(under) is not None:
                return under
    return error


def _free() -> str:
    """Free space where downloads are kept, in words."""
    return f"{free_bytes(Path(constants.HF_HUB_CACHE)) / _GB:.2f} GB"


def explain(name: str, error: Exception) -> CheckpointError:
    """What a failure of the Hub means to a user, and what to do next."""
    host, full = constants.ENDPOINT, next(filter(is_full_disk, chain(error)), None)
    if full is not None:
        return CheckpointError(
            f"{name} could not be kept: the disk is full ({_free()} free where HF_HUB_CACHE is). "
            "Make room, then try again; what has arrived is kept."
        )
    error = _root(error)
    status = status_of(error)
    if isinstance(error, GatedRepoError):
        return CheckpointError(
            f"{name} is gated. Accept its terms on {host}/{name.partition('@')[0]}, then give a "
            "token: `hf auth login`, or HF_TOKEN in the environment."
        )
    if isinstance(error, RevisionNotFoundError):
        return CheckpointError(
            f"{name}: the repository has no such revision. Check what follows the @: a branch, a "
            "tag or a commit."
        )
    if isinstance(error, RepositoryNotFoundError) or status in (401, 403):
        return CheckpointError(
            f"{name} was not found on {host}, or it is private. Check the name; for a private "
            "repository give a token: `hf auth login`, or HF_TOKEN in the environment."
        )
    if isinstance(error, HFValidationError):
        return CheckpointError(f"{name!r} is not a repository name. Write org/name@revision.")
    if status == 429:
        return CheckpointError(
            f"{host} answers that there were too many requests (429). Wait a few minutes, or log "
            "in (`hf auth login`): the limit for known users is higher."
        )
    if status is not None and status >= 500:
        return CheckpointError(
            f"{host} has trouble of its own ({status}) with {name}. Try again in a few minutes; "
            "what is downloaded already is kept."
        )
    if isinstance(error, HangingError):
        return CheckpointError(
            f"{host} has sent nothing of {name} for {error.waited_s:.0f} s, so it was given up. "
            "Try again later; what has arrived is kept."
        )
    if isinstance(error, LocalEntryNotFoundError | OfflineModeIsEnabled):
        return CheckpointError(
            f"{name} is not in the cache, and {host} cannot be reached. Check the network (and "
            "HF_HUB_OFFLINE), then try again; what is downloaded already is kept."
        )
    return CheckpointError(
        f"{name} could not be downloaded from {host}: {type(error).__name__}: {error}. Check the "
        "network and try again; what is downloaded already is kept."
    )


def is_wanted(name: str, patterns: Sequence[str]) -> bool:
    """Whether a file name fits one of the patterns."""
    return any(fnmatch(name, pattern) for pattern in patterns)


def look_up(repository: str, revision: str | None, patterns: Sequence[str]) -> Remote:
    """Resolve a revision and list the wanted files, before anything is downloaded.

    Raises:
        CheckpointError: If the Hub refuses or cannot be reached, there are no safetensors weights,
            a file name would leave the cache, or the files are larger than is allowed.
    """
    name = f"{repository}@{revision}" if revision else repository
    try:
        info = HfApi(token=token()).model_info(
            repository, revision=revision, files_metadata=True, timeout=LOOKUP_S
        )
    except Exception as error:  # the HTTP library's own errors have no base in common with OSError
        raise explain(name, error) from error
    siblings = info.siblings or []
    names = [entry.rfilename for entry in siblings]
    unsafe = [n for n in names if n.endswith(_UNSAFE)]
    if not any(n.endswith(".safetensors") for n in names):
        found = f" It holds {unsafe[0]}: such files can run code when loaded." if unsafe else ""
        raise CheckpointError(
            f"{name} has no .safetensors weights, and nothing else is loaded.{found} Ask its "
            "owner to convert them, or choose another repository."
        )
    # Names come from whoever made the repository, and are joined to a path here.
    for n in names:
        parts = n.replace("\\", "/").split("/")
        if ".." in parts or n.startswith(("/", "\\")) or ":" in parts[0]:
            raise CheckpointError(f"{name} holds a file named {n!r}, which would leave the cache.")
    files = tuple(
        RemoteFile(
            entry.rfilename,
            entry.size or 0,
            entry.lfs.sha256 if entry.lfs else str(entry.blob_id),
        )
        for entry in siblings
        if is_wanted(entry.rfilename, patterns)
    )
    remote = Remote(repository, revision or constants.DEFAULT_REVISION, str(info.sha), files)
    if remote.size > largest_download():
        raise CheckpointError(
            f"{name} is {remote.size / _GB:.2f} GB; {largest_download() / _GB:g} GB are allowed. "
            "Raise SIMBA_MUSIC_MAX_DOWNLOAD_GB to load it all the same."
        )
    return remote
