"""Checkpoints: load strictly, and save."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import nn

from simba_music.errors import CheckpointError
from simba_music.files import problems, read_json, sha256, write_json
from simba_music.hub.fetch import OnDownload, ignore
from simba_music.hub.places import (
    BUNDLED,
    CONFIG,
    WEIGHTS,
    is_repository,
    locate,
    offered,
    short_name,
    tidy,
)
from simba_music.hub.weights import (
    check_dtypes,
    check_recorded,
    digest,
    prefix_of,
    read_header,
    read_tensors,
)
from simba_music.models.config import SCHEMA, LMConfig
from simba_music.models.lm import MusicLM
from simba_music.models.schemas import Former, upgrade_config

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Origin:
    """Where a checkpoint came from: what was asked for, its folder, revision and sha256.

    `revision` is the Hub's commit, None for a folder; `notice` is what its user should know.
    """

    id: str
    folder: Path
    revision: str | None
    sha256: str
    notice: str | None = None

    @property
    def name(self) -> str:
        """Short name for files and labels."""
        return short_name(self.id)


def check_fit(
    module: nn.Module,
    folder: Path,
    header: Mapping[str, tuple[list[int], str]],
    former: Former | None = None,
) -> None:
    """Compare a module, on any device, with the names and shapes of weights on disk.

    Only headers are read before, so that a config cannot make us allocate what no file fills.

    Raises:
        CheckpointError: If names or shapes differ.
    """
    found = {name: shape for name, (shape, _) in header.items()}
    if former is not None:
        unread = {name: torch.empty(shape, device="meta") for name, shape in found.items()}
        try:
            found = {name: list(t.shape) for name, t in former.upgrade(unread).items()}
        except CheckpointError as error:
            raise CheckpointError(f"{folder}: {error}") from error
    expected = {name: list(tensor.shape) for name, tensor in module.state_dict().items()}
    problems = [f"missing {name}" for name in expected if name not in found]
    problems += [f"unknown {name}" for name in found if name not in expected]
    problems += [
        f"{name} has shape {shape}, expected {expected[name]}"
        for name, shape in found.items()
        if name in expected and shape != expected[name]
    ]
    if problems:
        raise CheckpointError(
            f"{folder / WEIGHTS} does not fit its {CONFIG}: {'; '.join(problems[:3])}"
            f"{f' and {len(problems) - 3} more' if len(problems) > 3 else ''}. "
            "Use the config.json that was saved with these weights."
        )


def read_module(make: Callable[[], Module], folder: Path, former: Former | None = None) -> Module:
    """A module in float32 with the weights of a folder, whole or not at all.

    Args:
        make: makes the module with any weights; it is called for its shapes first, without memory.
        folder: holds `model.safetensors`, or its shards; names may have a wrapper's prefix.
        former: how its weights are named, if they are of an earlier schema.

    Raises:
        CheckpointError: If weights are missing, no floats, or not finite; see `check_fit`.
    """
    header = read_header(folder)
    check_dtypes(folder, header)
    # Shapes first: a config of a few bytes could ask for terabytes.
    with torch.device("meta"):
        shape = make()
    taken = prefix_of(header, shape.state_dict())
    check_fit(shape, folder, {k.removeprefix(taken): v for k, v in header.items()}, former)
    tensors, module = read_tensors(folder), make()
    for name, tensor in tensors.items():
        # safetensors checks no values, and argmax takes a NaN without a word. A float64 may pass
        # what float32 holds.
        if not torch.isfinite(tensor.float()).all():
            raise CheckpointError(
                f"{folder / WEIGHTS}: {name} holds NaN or infinite values. Download or train it "
                "again."
            )
    tensors = {name.removeprefix(taken): tensor for name, tensor in tensors.items()}
    if former is not None:
        tensors = former.upgrade(tensors)
    expected = module.state_dict()
    module.load_state_dict({k: v.to(expected[k].dtype) for k, v in tensors.items()}, strict=True)
    return module


def read_config(folder: Path) -> tuple[LMConfig, Former | None]:
    """The config of a language-model checkpoint, and how weights of an earlier schema are named.

    Raises:
        CheckpointError: If it has unknown or missing keys, or values that do not fit together.
    """
    raw, former = upgrade_config(read_json(folder / CONFIG))
    found = raw.get("schema") if isinstance(raw, dict) else None
    if isinstance(found, int) and found > SCHEMA:
        raise CheckpointError(
            f"{folder / CONFIG} has schema {found}, and this version reads schemas up to {SCHEMA}. "
            "Install a newer version of SiMBA Music."
        )
    if isinstance(raw, dict) and raw and not {"backbone", "codec"} & set(raw):
        raise CheckpointError(
            f"{folder.name} is a checkpoint of another kind: its {CONFIG} names no backbone. "
            f"Give a language model, such as {' or '.join(offered())}."
        )
    try:
        return LMConfig.model_validate(raw), former
    except ValidationError as error:
        raise CheckpointError(
            f"{folder / CONFIG}: {problems(error, 'config')} ({error.error_count()} in all). "
            "This is not a language model of this version; see checkpoints/README.md."
        ) from error


def load_language_model(
    source: str, device: str = "cpu", on_download: OnDownload = ignore
) -> tuple[MusicLM, Origin]:
    """Load a language model in float32, whole or not at all.

    Args:
        source: a directory, a bundled name, or `org/name@revision`.
        device: where to put it.
        on_download: called while it downloads.

    Raises:
        CheckpointError: See `locate`, `read_config`, `read_module`; or if it was never trained.
    """
    source = tidy(source)
    place = locate(source, on_download)
    config, former = read_config(place.folder)
    model = read_module(lambda: MusicLM(config), place.folder, former)
    for name in ("head", "token_embedding"):
        if not getattr(model, name).weight.any():
            raise CheckpointError(
                f"{source}: all weights of its {name} are zero, so it was never trained, or was "
                "saved before its weights were gathered. Save it again, or use another."
            )
    found = digest(place.folder)
    check_recorded(place.folder, found)
    origin = Origin(source, place.folder, place.revision, found, place.notice)
    return model.to(device).eval().requires_grad_(False), origin


def codec_source(config: LMConfig, origin: Origin) -> str:
    """Folder or Hub repository of the codec that a checkpoint names; a leading dot is relative.

    Raises:
        CheckpointError: If a checkpoint from the Hub names a path outside its own repository, or a
            folder is not there: says which, and where to get it.
    """
    identifier = config.codec.id
    if not identifier.startswith("."):
        if origin.revision is not None and not is_repository(identifier):
            raise _outside(origin, identifier)
        return identifier
    folder = Path(os.path.normpath(origin.folder / identifier))
    if origin.revision is not None and not folder.is_relative_to(origin.folder):
        raise _outside(origin, identifier)
    if not folder.exists():
        raise _no_codec(config, origin, folder)
    return str(folder)


def check_encoder(origin: Origin, config: LMConfig) -> None:
    """Refuse a checkpoint from the Hub that names a path of this machine as its text encoder.

    Raises:
        CheckpointError: Unless the name is a package's or a repository's.
    """
    identifier = config.text_encoder.id
    if not identifier.startswith("package:") and not is_repository(identifier):
        raise CheckpointError(
            f"{origin.id} names the text encoder {identifier!r}, which is no Hub repository."
        )


def _outside(origin: Origin, identifier: str) -> CheckpointError:
    return CheckpointError(
        f"{origin.id} names the codec {identifier!r}, a path outside its repository. A published "
        "checkpoint brings its codec along (./codec) or names a Hub repository."
    )


def _no_codec(config: LMConfig, origin: Origin, folder: Path) -> CheckpointError:
    ref, bundled = config.codec, BUNDLED / folder.name
    known = f" (sha256 {ref.sha256[:12]}…)" if ref.sha256 else ""
    where = "It lies beside the checkpoint where that came from"
    if (bundled / WEIGHTS).is_file() and ref.sha256 == sha256(bundled / WEIGHTS):
        where = f"The bundled {bundled} is it"
    return CheckpointError(
        f"{origin.id} needs its codec {ref.id}{known} in the folder {folder}, which is not there. "
        f"{where}: copy it to {folder}, or write its path under codec.id in "
        f"{origin.folder / CONFIG}."
    )


def save_language_model(folder: Path, model: MusicLM) -> None:
    """Write `model.safetensors` (float16) and `config.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    save_module(folder, model)
    write_json(folder / CONFIG, model.config.model_dump(by_alias=True))


def save_module(folder: Path, module: nn.Module) -> None:
    """Write a module's parameters as float16 safetensors, through a temporary file."""
    # Float16 halves the file, and is closer to float32 than bfloat16 for weights of this size.
    part = folder / f".{WEIGHTS}.part"
    tensors = {k: v.detach().half().contiguous().cpu() for k, v in module.state_dict().items()}
    save_file(tensors, part)
    part.replace(folder / WEIGHTS)
