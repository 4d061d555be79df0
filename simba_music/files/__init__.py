"""Files on disk: strict models of them, sha256, JSON, atomic writes, the secret key."""

import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from simba_music.errors import CheckpointError
from simba_music.settings import settings


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
    """The key that signs tickets: `SIMBA_MUSIC_SECRET`, or one made once for its owner only."""
    if said := settings().secret:
        return said
    path = folder / "secret"
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"secret.{secrets.token_hex(8)}"
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    try:
        os.link(part, path)  # of several that start together, one wins
    except FileExistsError:
        pass
    part.unlink()
    return path.read_text()
