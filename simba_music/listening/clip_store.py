"""Clip store: where clips of pairs are kept, by the sha256 of their bytes: a folder, or objects.

Objects are those of a storage that fsspec knows, such as S3, where every replica of a page finds
the clips of all.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from simba_music.errors import UserError
from simba_music.files import write_atomic
from simba_music.files.room import free_bytes
from simba_music.settings import settings

COUNTED_S = 60.0  # for which the size of a storage is remembered
Made = TypeVar("Made")


class ClipStore(Protocol):
    """WAV files by digest; writing the same again changes nothing."""

    def write(self, digest: str, data: bytes) -> None:
        """Keep a clip, whole or not at all."""

    def read(self, digest: str) -> bytes:
        """A clip's bytes.

        Raises:
            FileNotFoundError: If it is not kept.
        """

    def delete(self, digest: str) -> None:
        """Keep a clip no longer, if it is kept."""

    def held_bytes(self) -> int:
        """What all clips take."""

    def free_bytes(self) -> float:
        """What there is room for besides."""


class FolderStore:
    """Clips as files of a folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def _path(self, digest: str) -> Path:
        return self.folder / f"{digest}.wav"

    def write(self, digest: str, data: bytes) -> None:
        """See `ClipStore`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomic(self._path(digest), data)

    def read(self, digest: str) -> bytes:
        """See `ClipStore`."""
        return self._path(digest).read_bytes()

    def delete(self, digest: str) -> None:
        """See `ClipStore`."""
        self._path(digest).unlink(missing_ok=True)

    def held_bytes(self) -> int:
        """See `ClipStore`."""
        return sum(path.stat().st_size for path in self.folder.glob("*.wav"))

    def free_bytes(self) -> float:
        """See `ClipStore`; of the disk."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return free_bytes(self.folder)


class ObjectStore:
    """Clips as objects below an address such as `s3://bucket/clips`.

    Keys, region and endpoint are the variables of the storage's own library (`AWS_…`).
    """

    def __init__(self, url: str):
        """Open it; nothing is asked of the storage yet.

        Raises:
            UserError: If the package for this kind of storage is missing, or there is none.
        """
        import fsspec

        try:
            # Another replica's clips must be seen at once.
            fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise UserError(
                f"SIMBA_MUSIC_CLIPS is {url}, which cannot be opened: {error} "
                "For s3:// install simba-music[objects]."
            ) from error
        self.url, self._fs, self._root = url, fs, str(root).rstrip("/")
        self._lock, self._counted, self._held = threading.Lock(), -COUNTED_S, 0

    def _path(self, digest: str) -> str:
        return f"{self._root}/{digest}.wav"

    def _asked(self, question: Callable[[], Made]) -> Made:
        """An answer of the storage; what is missing is a FileNotFoundError, the rest a sentence."""
        try:
            return question()
        except FileNotFoundError:
            raise
        except Exception as error:  # each storage has its own
            raise UserError(
                f"The storage of the clips, {self.url}, does not answer as it should "
                f"({type(error).__name__}). Try again; whoever runs the page checks its address, "
                "its keys and that the bucket exists."
            ) from error

    def write(self, digest: str, data: bytes) -> None:
        """See `ClipStore`.

        Raises:
            UserError: If the storage cannot be reached, or refuses it.
        """
        self._asked(lambda: self._fs.pipe_file(self._path(digest), data))

    def read(self, digest: str) -> bytes:
        """See `ClipStore`.

        Raises:
            FileNotFoundError: If it is not kept.
            UserError: If the storage cannot be reached.
        """
        return bytes(self._asked(lambda: self._fs.cat_file(self._path(digest))))

    def delete(self, digest: str) -> None:
        """See `ClipStore`.

        Raises:
            UserError: If the storage cannot be reached, or refuses it.
        """
        try:
            self._asked(lambda: self._fs.rm_file(self._path(digest)))
        except FileNotFoundError:
            pass

    def held_bytes(self) -> int:
        """See `ClipStore`; counted at most once a minute.

        Raises:
            UserError: If the storage cannot be reached.
        """
        with self._lock:
            if time.monotonic() - self._counted >= COUNTED_S:
                found: dict[str, Any] = self._asked(lambda: self._fs.find(self._root, detail=True))
                self._held = sum(int(one["size"]) for one in found.values())
                self._counted = time.monotonic()
            return self._held

    def free_bytes(self) -> float:
        """See `ClipStore`; a storage does not say."""
        return float("inf")


Where = Path | ClipStore


def store_of(where: Where) -> ClipStore:
    """A store; a path is a folder's."""
    return FolderStore(where) if isinstance(where, Path) else where


def open_clips(data: Path) -> ClipStore:
    """The store that `SIMBA_MUSIC_CLIPS` names; otherwise a folder of the data folder.

    Raises:
        UserError: See `ObjectStore`.
    """
    named = settings().clips
    if named is None:
        return FolderStore(data / "clips")
    return ObjectStore(named) if "://" in named else FolderStore(Path(named))
