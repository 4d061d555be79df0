"""Room: whether there is disk and memory for what is about to begin, by the host's own limits."""

import shutil
from pathlib import Path

from simba_music.errors import RequestError
from simba_music.settings import settings

_GB = 1e9
_PAGES = Path("/proc/self/statm")
_PAGE_BYTES = 4096


def free_bytes(folder: Path) -> int:
    """Free space where a folder is, or will be made.

    Raises:
        OSError: If the system does not say.
    """
    at = next((each for each in (folder, *folder.parents) if each.exists()), Path("/"))
    return shutil.disk_usage(at).free


def check_disk(folder: Path, needed: float, what: str) -> None:
    """Refuse to begin what would leave less free space than `SIMBA_MUSIC_FREE_DISK_GB`.

    Args:
        folder: where it will be written; it need not be there yet.
        needed: bytes.
        what: what it is, for the message.

    Raises:
        RequestError: Says how much there is.
    """
    free, least = free_bytes(folder), settings().free_disk_gb * _GB
    if free - needed < least:
        raise RequestError(
            f"The disk is too full for {what}: {free / _GB:.2f} GB are free at {folder}, "
            f"{needed / _GB:.2f} GB are needed, and {least / _GB:g} GB stay free "
            "(SIMBA_MUSIC_FREE_DISK_GB). Make room, then try again."
        )


def memory_bytes() -> int:
    """Memory that this process holds (RSS), in bytes; 0 where the system does not say."""
    try:
        return int(_PAGES.read_text().split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return 0


def check_memory() -> None:
    """Refuse to begin anything while the process holds more than `SIMBA_MUSIC_MEMORY_GB`.

    Raises:
        RequestError: Says how much it holds.
    """
    most, held = settings().memory_gb * _GB, memory_bytes()
    if most and held > most:
        raise RequestError(
            f"The app holds {held / _GB:.1f} GB of memory and may hold {most / _GB:g} "
            "(SIMBA_MUSIC_MEMORY_GB). Try again when less runs at the same time."
        )
