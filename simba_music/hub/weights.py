"""Weights: tensors of safetensors, in one file or sharded, and what else lies in their place."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from simba_music.errors import CheckpointError
from simba_music.files import read_json, sha256
from simba_music.hub.places import WEIGHTS

INDEX = f"{WEIGHTS}.index.json"
RECORD = "training.json"
# Names of dtypes in a safetensors header.
FLOATS = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
# What training wrappers put before every name: DistributedDataParallel, torch.compile, and models
# that hold another one.
PREFIXES = ("module.", "_orig_mod.", "model.")
_UNSAFE = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")
_SHARD = re.compile(r"model-(\d{5})-of-(\d{5})\.safetensors")
_ODD = (  # beginnings of what is often found under the name of weights, and what to do
    (b"version https://git-lfs", "is a Git LFS pointer, not the weights: run `git lfs pull`"),
    (b"<", "is a web page, not the weights: download the file itself"),
    (b"PK\x03\x04", "is a pickle of torch.save under another name, which is not read"),
    (b"\x80", "is a pickle of torch.save under another name, which is not read"),
)


def weight_files(folder: Path) -> list[Path]:
    """Files of a folder's weights: `model.safetensors`, or its shards, by an index or all of them.

    Raises:
        CheckpointError: If they are missing or are no weights: says what is there instead.
    """
    whole, index = folder / WEIGHTS, folder / INDEX
    if whole.exists() or whole.is_symlink():
        return [_checked(whole)]
    if index.exists():
        return [_checked(folder / name) for name in sorted(set(_mapped(index).values()))]
    shards = {
        int(m[1]): (int(m[2]), p) for p in folder.glob("*") if (m := _SHARD.fullmatch(p.name))
    }
    if shards and {count for count, _ in shards.values()} == {len(shards)}:
        return [_checked(path) for _, (_, path) in sorted(shards.items())]
    if shards:
        count = max(count for count, _ in shards.values())
        raise CheckpointError(
            f"{folder} holds {len(shards)} of {count} shards. Download the others too."
        )
    others = sorted(p.name for pattern in _UNSAFE for p in folder.glob(pattern))
    found = (
        f" It holds {others[0]}: such files can run code when loaded. Convert it, for one with "
        "safetensors.torch.save_file."
        if others
        else ""
    )
    raise CheckpointError(f"{whole} is missing. Only safetensors weights are read.{found}")


def _mapped(index: Path) -> dict[str, str]:
    """File of every tensor, by an index.

    Raises:
        CheckpointError: If it is none, or names a file outside its folder.
    """
    raw = read_json(index)
    found = raw.get("weight_map") if isinstance(raw, dict) else None
    if not isinstance(found, dict) or not found:
        raise CheckpointError(f"{index} has no weight_map; download it again.")
    for name in found.values():
        if not isinstance(name, str) or not re.fullmatch(r"[\w][\w.-]*\.safetensors", name):
            raise CheckpointError(f"{index} names the file {name!r}, which is no shard beside it.")
    return found


def _checked(path: Path) -> Path:
    if path.is_symlink() and not path.exists():
        raise CheckpointError(
            f"{path} is a link to {path.readlink()}, which is not there. Copy the file itself "
            "(cp -L), or download it again."
        )
    if not path.is_file():
        raise CheckpointError(f"{path} is missing. Download the checkpoint again.")
    with path.open("rb") as file:
        start = file.read(64)
    if not start:
        raise CheckpointError(f"{path} is empty. Download it again.")
    for mark, what in _ODD:
        # The first eight bytes of safetensors are a length, which none of these could be.
        if start.startswith(mark) and not (len(start) > 8 and start[8:9] == b"{"):
            raise CheckpointError(f"{path} {what}.")
    return path


def digest(folder: Path) -> str:
    """sha256 of the weights; of shards, of the list of theirs.

    Raises:
        CheckpointError: See `weight_files`.
    """
    files = weight_files(folder)
    if len(files) == 1:
        return sha256(files[0])
    listed = "".join(f"{path.name} {sha256(path)}\n" for path in files)
    return hashlib.sha256(listed.encode()).hexdigest()


def check_recorded(folder: Path, found: str | None = None) -> None:
    """Compare weights with the digest in the `training.json` beside them, where it has one.

    Args:
        folder: of a checkpoint.
        found: the digest of its weights, where it is known already.

    Raises:
        CheckpointError: If they differ, as after a flipped bit, or the record cannot be read.
    """
    record = read_json(folder / RECORD) if (folder / RECORD).is_file() else {}
    wanted = record.get("sha256") if isinstance(record, dict) else None
    if wanted is None:
        return
    found = found or digest(folder)
    if found != wanted:
        raise CheckpointError(
            f"{folder / WEIGHTS} has sha256 {found[:12]}…, and {RECORD} beside it says "
            f"{str(wanted)[:12]}…: it is damaged, or belongs to another training. Copy or download "
            f"the folder again; if you changed the weights yourself, remove sha256 from {RECORD}."
        )


def read_header(folder: Path) -> dict[str, tuple[list[int], str]]:
    """(shape, dtype as in safetensors) of every tensor; only headers are read.

    Raises:
        CheckpointError: If a file is malformed, or a tensor is in two.
    """
    found = dict[str, tuple[list[int], str]]()
    for path in weight_files(folder):
        try:
            with safe_open(path, "pt") as file:
                for name in file.keys():  # noqa: SIM118
                    part = file.get_slice(name)
                    if name in found:
                        raise CheckpointError(f"{folder}: {name} is in two files.")
                    found[name] = list(part.get_shape()), part.get_dtype()
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} is not a valid safetensors file: {error}") from error
    if (folder / INDEX).exists() and not (folder / WEIGHTS).exists():
        absent = set(_mapped(folder / INDEX)) - set(found)
        if absent:
            raise CheckpointError(f"{folder}: {sorted(absent)[0]} is in none of the shards.")
    return found


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor as it is stored.

    Raises:
        CheckpointError: If a file is malformed.
    """
    found = dict[str, Tensor]()
    for path in weight_files(folder):
        try:
            with safe_open(path, "pt") as file:
                found |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} is not a valid safetensors file: {error}") from error
    return found


def prefix_of(names: Iterable[str], expected: Iterable[str]) -> str:
    """What a training wrapper has put before every name, if none is expected to begin so."""
    names, known, taken = list(names), tuple(expected), ""
    while names:
        fits = (
            p
            for p in PREFIXES
            if all(name.startswith(p) for name in names)
            and not any(name.startswith(p) for name in known)
        )
        prefix = next(fits, None)
        if prefix is None:
            break
        taken, names = taken + prefix, [name.removeprefix(prefix) for name in names]
    return taken


def check_dtypes(folder: Path, header: Mapping[str, tuple[list[int], str]]) -> None:
    """Refuse weights that are no plain floats: integers would be taken for weights.

    Raises:
        CheckpointError: Names the tensor and its dtype.
    """
    for name, (_, dtype) in header.items():
        if dtype not in FLOATS:
            raise CheckpointError(
                f"{folder}: {name} holds {dtype}; {', '.join(FLOATS.values())} are read. Take "
                "weights that are not quantised."
            )
