"""Space: what a Hugging Face Space of this app needs, as a folder or pushed to the Hub."""

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import HfApi

from simba_music.errors import RequestError
from simba_music.hub.fetch import CHECKPOINT_FILES
from simba_music.hub.lookup import look_up
from simba_music.hub.places import BUNDLED, is_repository, offered
from simba_music.listening.gallery import GALLERY
from simba_music.models.report import FIGURES, REPORT
from simba_music.publishing.push import refused

ROOT = BUNDLED.parent
ZERO = "zero-a10g"
HARDWARE = ("cpu-basic", "cpu-upgrade", "t4-small", "a10g-small", "l4x1", ZERO)
# ZeroGPU offers torch 2.8 to 2.11 only.
TORCH_ON_ZERO = "torch>=2.8,<2.12"
APP = '''"""Entry of the Space: load the models, launch the app."""

import contextlib
import sys
from os import environ

with contextlib.suppress(ImportError):
    import spaces  # ZeroGPU patches torch, so it comes first; it is absent elsewhere

{settings}from simba_music.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["app", *sys.argv[1:]]))
'''
SIGNATURE = "Made by `simba-music hub space`"
ABOUT = """
# SiMBA Music

Type a prompt; **SiMBA** (Mamba-2, [arXiv 2507.06674](https://arxiv.org/abs/2507.06674)) and a
**Transformer** of the same size each generate EnCodec tokens for it; listen to both side by side.

{models}

{signature}; the checkpoints say how they were trained and what they measure.
"""


def front_matter(hardware: str, preload: list[dict[str, Any]]) -> dict[str, Any]:
    """The project's own front matter with a hardware hint and, pinned, what to preload."""
    text = (ROOT / "README.md").read_text()
    found = yaml.safe_load(text.split("---\n", 2)[1])
    found["suggested_hardware"] = hardware
    found["python_version"] = "3.12"
    if preload:
        found["preload_from_hub"] = [
            f"{model['repository']} {','.join(model['files'])} {model['commit']}"
            for model in preload
        ]
        found["models"] = [model["repository"] for model in preload]
    made: dict[str, Any] = found
    return made


def requirements(hardware: str) -> str:
    """The project's requirements, with the torch that the hardware offers."""
    text = (ROOT / "requirements.txt").read_text()
    return re.sub(r"^torch\b.*$", TORCH_ON_ZERO, text, flags=re.M) if hardware == ZERO else text


def resolve(source: str) -> dict[str, Any]:
    """A Hub checkpoint at the commit that it has now, to be pinned.

    Raises:
        CheckpointError: If the Hub does not have it.
    """
    repository, _, revision = source.partition("@")
    remote = look_up(repository, revision or None, CHECKPOINT_FILES)
    files = [file.name for file in remote.files]
    return {"repository": repository, "commit": remote.commit, "files": files}


def write_space(
    out: Path, hardware: str = "cpu-basic", sides: dict[str, str] | None = None
) -> None:
    """Fill a folder with a Space.

    Args:
        out: folder; what an earlier run wrote there is replaced.
        hardware: one of `HARDWARE`; a hint to the Hub, and it decides which torch is asked for.
        sides: Hub checkpoints for "left" and "right"; without them the bundled ones go along.

    Raises:
        RequestError: If the hardware is unknown, this is not a checkout, or the folder holds
            something else.
        CheckpointError: If a named checkpoint is not on the Hub.
    """
    if hardware not in HARDWARE:
        raise RequestError(f"Unknown hardware {hardware!r}. Choose one of: {', '.join(HARDWARE)}.")
    if not (ROOT / "requirements.txt").exists():
        raise RequestError(f"{ROOT} is not a checkout; run this from a clone of the repository.")
    if out.exists() and any(out.iterdir()):
        readme = out / "README.md"
        if not readme.exists() or SIGNATURE not in readme.read_text():
            raise RequestError(f"{out} holds something else. Choose another --out.")
    named = {side: source for side, source in (sides or {}).items() if is_repository(source)}
    found = {side: resolve(source) for side, source in named.items()}
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    shutil.copytree(ROOT / "simba_music", out / "simba_music", ignore=_not_served)
    names = {"clap", *(() if len(found) == 2 else (*offered(), "codec"))}
    for name in sorted(names):
        shutil.copytree(BUNDLED / name, out / "checkpoints" / name, ignore=_left_out)
    settings = "".join(
        f'environ.setdefault("SIMBA_MUSIC_{side.upper()}", '
        f'"{model["repository"]}@{model["commit"]}")\n'
        for side, model in found.items()
    )
    (out / "app.py").write_text(APP.format(settings=settings + "\n" if settings else ""))
    (out / "requirements.txt").write_text(requirements(hardware))
    shutil.copyfile(ROOT / "LICENSE", out / "LICENSE")
    for file in (REPORT, *(() if len(found) == 2 else (GALLERY,))):
        shutil.copyfile(file, out / "checkpoints" / file.name)
    (out / "docs").mkdir()
    for figure in FIGURES:
        if (ROOT / "docs" / figure).exists():  # the app leaves out what was not drawn
            shutil.copyfile(ROOT / "docs" / figure, out / "docs" / figure)
    head = yaml.safe_dump(
        front_matter(hardware, list(found.values())), sort_keys=False, allow_unicode=True
    )
    models = "Models: " + ", ".join(f"`{model}`" for model in named.values() or offered()) + "."
    (out / "README.md").write_text(
        f"---\n{head}---\n{ABOUT.format(models=models, signature=SIGNATURE)}"
    )


def _not_served(folder: str, names: list[str]) -> list[str]:
    """What of the package a Space never imports: the room `training`, not `cli.training`."""
    return ["__pycache__", *(["training"] if Path(folder) == ROOT / "simba_music" else [])]


def _left_out(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name.endswith((".state", ".part", ".png"))]


def contents(folder: Path) -> list[str]:
    """Every file of a Space's folder with its size, for a dry run."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [f"{path.stat().st_size:>10}  {path.relative_to(folder)}" for path in files]


def push_space(repository: str, hardware: str, sides: dict[str, str], private: bool) -> str:
    """Create or update a Space; a second run without changes makes no new commit.

    Returns:
        Its address.

    Raises:
        CheckpointError: If the Hub refuses.
    """
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "space"
        write_space(folder, hardware, sides)
        try:
            api = HfApi()
            url = api.create_repo(
                repository, repo_type="space", space_sdk="gradio", private=private, exist_ok=True
            )
            api.upload_folder(
                repo_id=repository,
                repo_type="space",
                folder_path=folder,
                commit_message="The app, by simba-music hub space",
                delete_patterns=["simba_music/**", "checkpoints/**"],
            )
        except Exception as error:
            raise refused(repository, error) from error
    return str(url)
