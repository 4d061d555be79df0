"""Files on disk: strict models of them, sha256, JSON, atomic writes, the secret key."""

import hashlib
import json
import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from simba_music.errors import CheckpointError, UserError
from simba_music.settings import settings

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

SHORTEST_SECRET = 16  # characters
LEAST_DISK_GB = 0.5  # free, or nothing is begun that keeps files


class StrictModel(BaseModel):
    """Base of everything that is read from a file: immutable, no unknown keys, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def first_problem(error: ValidationError, whole: str = "") -> tuple[str, str]:
    """Where a strict model has its first problem, `whole` if in no one field, and what it is."""
    first = error.errors()[0]
    return ".".join(str(part) for part in first["loc"]) or whole, first["msg"]


def problems(error: ValidationError, whole: str = "", most: int = 3) -> str:
    """The first few problems that a strict model has, each with its place."""
    found = [
        f"{'.'.join(str(part) for part in one['loc']) or whole}: {one['msg']}"
        for one in error.errors()[:most]
    ]
    return "; ".join(found)


def sha256(path: Path) -> str:
    """Hex sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(path: Path, expected: str) -> None:
    """Compare a file with its published hash.

    Raises:
        CheckpointError: If the file is missing or differs.
    """
    if not path.exists():
        raise CheckpointError(f"{path} is missing. Download the checkpoint again.")
    found = sha256(path)
    if found != expected:
        raise CheckpointError(
            f"{path} has sha256 {found[:12]}…, expected {expected[:12]}…. It is damaged or another "
            "version; download it again, or use the one the checkpoint was trained with."
        )


def read_json(path: Path) -> Any:
    """Parse a JSON file.

    Raises:
        CheckpointError: If it is missing or not JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing. A checkpoint folder must have it.") from error
    except RecursionError as error:
        raise CheckpointError(f"{path} cannot be read as JSON: it is nested too deeply.") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}") from error


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON whole or not at all."""
    write_atomic(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def write_atomic(path: Path, data: bytes) -> None:
    """Write bytes through a temporary file in the same folder, so no partial file is seen."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def load_secret(folder: Path) -> str:
    """The key that signs tickets: `SIMBA_MUSIC_SECRET`, or one made once for its owner only.

    An empty file, as a power cut may leave, is replaced.

    Raises:
        UserError: If the key is so short that it could be guessed.
    """
    if said := settings().secret:
        return _long_enough(said, "SIMBA_MUSIC_SECRET")
    path = folder / "secret"
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        if path.exists() and not path.read_text().strip():
            logger.warning("%s was empty; a new key is made, and old tickets end", path)
            path.unlink()
        if not path.exists():
            _make_secret(path)
    return _long_enough(path.read_text(), str(path))


def _long_enough(key: str, place: str) -> str:
    if len(key.strip()) < SHORTEST_SECRET:
        raise UserError(
            f"The key in {place} has {len(key.strip())} characters; {SHORTEST_SECRET} are needed, "
            "or tickets could be forged. Remove it, and one is made; or give a longer one."
        )
    return key


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """While this is the only process, and thread, that looks after a folder's key."""
    if fcntl is None:  # on Windows; there of several that make a key one wins, as `link` does it
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _make_secret(path: Path) -> None:
    """Put a key there, unless there is one; it is on disk, whole, before it has its name."""
    part = path.with_name(f"secret.{secrets.token_hex(8)}")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(part, path)  # of several that start together, one wins
    except FileExistsError:
        pass
    part.unlink()
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on disk, where the system can say so."""
    if os.name == "nt":  # folders cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
