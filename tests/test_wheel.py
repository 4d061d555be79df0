"""The wheel, in a fresh environment: it generates and serves offline, in an empty folder."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from conftest import serving

pytestmark = pytest.mark.wheel
ROOT = Path(__file__).parent.parent
OFFLINE = {"HF_HUB_OFFLINE": "1", "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    shutil.rmtree(ROOT / "build", ignore_errors=True)  # of an earlier build, files that are gone
    line = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", out, ROOT]
    subprocess.run([str(part) for part in line], check=True, cwd=out)
    shutil.rmtree(ROOT / "build", ignore_errors=True)
    (found,) = out.glob("simba_music-*.whl")
    return found


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """The interpreter of a fresh environment with the wheel and what it requires, nothing else."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=True)
    found = folder / "bin" / "python"
    subprocess.run([found, "-m", "pip", "install", "--quiet", wheel], check=True)
    return found


def test_the_wheel_holds_the_bundled_checkpoints_and_no_training_state(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for name in ("codec", "simba", "transformer", "clap", "tagger"):
        assert f"simba_music/checkpoints/{name}/model.safetensors" in names
    assert "simba_music/checkpoints/REPORT.json" in names
    assert "simba_music/docs/convergence.png" in names and "simba_music/py.typed" in names
    assert not any(name.endswith((".state", ".part")) for name in names)
    assert wheel.stat().st_size < 60e6


def test_it_generates_in_an_empty_folder_offline(python, tmp_path):
    environment = os.environ | OFFLINE | {"SIMBA_MUSIC_DATA": str(tmp_path / "data")}
    folder = tmp_path / "empty"
    folder.mkdir()
    command = [python, "-m", "simba_music", "generate", "calm piano", "--duration", "2"]
    made = subprocess.run(
        command, cwd=folder, env=environment, check=True, capture_output=True, text=True
    )
    assert "simba.wav" in made.stdout and (folder / "out" / "transformer.wav").exists()


def test_it_serves_the_app_from_an_empty_folder(python, tmp_path):
    with serving(python=str(python), command=("app",), environment=OFFLINE, folder=tmp_path) as url:
        assert url.startswith("http://127.0.0.1")
