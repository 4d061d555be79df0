"""Checkpoints: save, load strictly, and fetch from the Hub."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from simba_music.config import LMConfig
from simba_music.errors import CheckpointError
from simba_music.files import read_json, sha256, write_json
from simba_music.lm import MusicLM

BUNDLED = Path(__file__).resolve().parent.parent / "checkpoints"
WEIGHTS, CONFIG = "model.safetensors", "config.json"
_REPO = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_ALLOWED = ["*.json", "*.safetensors", "README.md"]


@dataclass(frozen=True)
class Origin:
    """Where a checkpoint came from: what was asked for, its folder, revision and sha256."""

    id: str
    folder: Path
    revision: str | None
    sha256: str

    @property
    def name(self) -> str:
        """Short name for files and labels."""
        return self.id.split("@")[0].rstrip("/").split("/")[-1]


def locate(source: str) -> tuple[Path, str | None]:
    """Folder and revision of a checkpoint: a directory, a bundled name, or `org/name@revision`.

    Raises:
        CheckpointError: If there is no such thing, or it cannot be fetched.
    """
    for folder in (Path(source).expanduser(), BUNDLED / source):
        if (folder / CONFIG).is_file():
            return folder.resolve(), None
    if Path(source).is_dir():
        raise CheckpointError(
            f"Checkpoint {source} has no {CONFIG}; it needs {CONFIG} and {WEIGHTS}."
        )
    if not _REPO.fullmatch(source) or source.startswith((".", "/")):
        names = ", ".join(sorted(p.parent.name for p in BUNDLED.glob(f"*/{CONFIG}")))
        raise CheckpointError(
            f"Checkpoint {source!r} not found. Give a folder with {CONFIG} and {WEIGHTS}, "
            f"a bundled name ({names}), or a Hub repository such as org/name@revision."
        )
    repository, _, revision = source.partition("@")
    try:
        folder = Path(
            snapshot_download(
                repository, revision=revision or None, allow_patterns=_ALLOWED, etag_timeout=10
            )
        )
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise CheckpointError(
            f"Checkpoint {source} could not be fetched from the Hub: {error} Check the name, the "
            "network, and for a gated repository `hf auth login`."
        ) from error
    return folder, folder.name


def offered() -> list[str]:
    """Names of the bundled language models."""
    return sorted(p.parent.name for p in BUNDLED.glob(f"*/{CONFIG}") if "backbone" in read_json(p))


def may_load_any() -> bool:
    """Whether a visitor may name a checkpoint: on one's own machine yes, on a Space no."""
    return "SPACE_ID" not in os.environ


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Tensors of `model.safetensors`, every one finite.

    Raises:
        CheckpointError: If the file is missing, malformed, or holds NaN or infinity.
    """
    path = folder / WEIGHTS
    if not path.exists():
        raise CheckpointError(f"{path} is missing. Only safetensors weights are read.")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a valid safetensors file: {error}") from error
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(
                f"{path}: {name} holds NaN or infinite values. Download or train it again."
            )
    return tensors


def fill(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Copy tensors into a module of exactly these names and shapes, or raise and change nothing."""
    expected = module.state_dict()
    problems = [f"missing {name}" for name in expected if name not in tensors]
    problems += [f"unknown {name}" for name in tensors if name not in expected]
    problems += [
        f"{name} has shape {list(tensor.shape)}, expected {list(expected[name].shape)}"
        for name, tensor in tensors.items()
        if name in expected and tensor.shape != expected[name].shape
    ]
    if problems:
        raise CheckpointError(
            f"{path} does not fit its {CONFIG}: {'; '.join(problems[:3])}"
            f"{f' and {len(problems) - 3} more' if len(problems) > 3 else ''}. "
            "Use the config.json that was saved with these weights."
        )
    module.load_state_dict({k: v.to(expected[k].dtype) for k, v in tensors.items()}, strict=True)


def read_config(folder: Path) -> LMConfig:
    """The config of a language-model checkpoint.

    Raises:
        CheckpointError: If it has unknown or missing keys, or values that do not fit together.
    """
    try:
        return LMConfig.model_validate(read_json(folder / CONFIG))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "config"
        raise CheckpointError(
            f"{folder / CONFIG}: {where}: {first['msg']} ({error.error_count()} in all). "
            "This is not a language model of this version; see checkpoints/README.md."
        ) from error


def load_language_model(source: str, device: str = "cpu") -> tuple[MusicLM, Origin]:
    """Load a language model in float32, whole or not at all.

    Args:
        source: a directory, a bundled name, or `org/name@revision`.
        device: where to put it.

    Raises:
        CheckpointError: See `locate`, `read_config`, `read_weights`, `fill`.
    """
    folder, revision = locate(source)
    config = read_config(folder)
    tensors = read_weights(folder)
    model = MusicLM(config)
    fill(model, tensors, folder / WEIGHTS)
    origin = Origin(source, folder, revision, sha256(folder / WEIGHTS))
    return model.to(device).eval().requires_grad_(False), origin


def codec_source(config: LMConfig, folder: Path) -> str:
    """Folder or Hub repository of the codec that a checkpoint names; a leading dot is relative."""
    identifier = config.codec.id
    return str((folder / identifier).resolve()) if identifier.startswith(".") else identifier


def save_language_model(folder: Path, model: MusicLM) -> None:
    """Write `model.safetensors` (float16) and `config.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    save_module(folder, model)
    write_json(folder / CONFIG, model.config.model_dump(by_alias=True))


def save_module(folder: Path, module: nn.Module) -> None:
    """Write a module's parameters as float16 safetensors, through a temporary file."""
    part = folder / f".{WEIGHTS}.part"
    tensors = {k: v.detach().half().contiguous().cpu() for k, v in module.state_dict().items()}
    save_file(tensors, part)
    part.replace(folder / WEIGHTS)
