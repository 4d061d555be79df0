"""In headless Chromium: a checkpoint from a Hub on loopback, and a Space's folder on its own."""

import subprocess
import sys

import pytest
from browser import (
    CAN_PLAY,
    finished,
    generate,
    length_in_browser,
    shoot,
    text_of,
    visit,
    wait,
)
from conftest import serving
from hub_server import Fault, Repo, on, running

from simba_music.hub.places import BUNDLED
from simba_music.publishing.push import stage
from simba_music.publishing.space import write_space

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A Hub that holds the bundled Transformer; its files come slowly enough to be seen."""
    folder = tmp_path_factory.mktemp("published")
    stage(BUNDLED / "simba", folder, "org/mine")
    with running() as hub:
        hub.repos["org/mine"] = Repo()
        files = (path for path in folder.rglob("*") if path.is_file())
        hub.repos["org/mine"].commit({str(p.relative_to(folder)): p.read_bytes() for p in files})
        hub.faults.append(on("/resolve/", Fault(delay_s=0.7), method="GET"))
        yield hub


def choose(page, side, name):
    """Name a side's model in the settings."""
    wait(page, f"return document.querySelector('#st-{side}')")
    page.execute_script(
        "const box = document.querySelector(`#st-${arguments[0]}`); box.value = arguments[1];"
        "box.dispatchEvent(new Event('input', { bubbles: true }))",
        side,
        name,
    )


def test_a_pasted_repository_downloads_generates_and_is_named(published, tmp_path):
    environment = {
        "HF_ENDPOINT": published.url,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(tmp_path / "hf"),
        "SIMBA_MUSIC_DATA": str(tmp_path / "data"),
    }
    commit = published.repos["org/mine"].refs["main"]
    with serving(environment=environment) as url, visit(url, "desktop", tmp_path / "p") as page:
        wait(page, CAN_PLAY)
        choose(page, "left", "org/none")
        generate(page, "calm solo piano, slow, sad")
        wait(page, "return document.body.innerText.includes('org/none was not found on')")
        # nothing of the clips before stands under the new name
        assert page.execute_script("return document.querySelector('#create .ab-play').disabled")
        assert page.execute_script("return document.querySelector('.kp-menu').hidden")
        assert text_of(page, ".st-row .st-called") == "" and text_of(page, ".st-verdict") == ""
        shoot(page, "hub-bad-name")
        choose(page, "left", "org/mine")
        generate(page, "calm solo piano, slow, sad")
        wait(page, "return document.body.innerText.includes('Downloading org/mine')")
        shoot(page, "hub-download")
        pair = finished(page)
        assert pair["names"]["A"]["title"] == "mine"
        assert pair["names"]["A"]["about"] == "SiMBA"
        assert f"org/mine at {commit[:8]}" in text_of(page, ".st-numbers")
        assert length_in_browser(page, pair["urls"]["A"]) > 9
        shoot(page, "hub-loaded")
        # A bad name in between cost nothing.
        choose(page, "right", "org/none")
        generate(page, "upbeat funk with slap bass")
        wait(page, "return document.body.innerText.includes('org/none was not found on')")
        choose(page, "right", "transformer")
        generate(page, "upbeat funk with slap bass")
        finished(page)


def test_a_spaces_folder_starts_on_its_own_in_a_fresh_venv(tmp_path):
    space, venv = tmp_path / "space", tmp_path / "venv"
    write_space(space)
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    python = venv / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "-q", "-r", str(space / "requirements.txt")]
    subprocess.run(install, check=True)
    with (
        serving(python=python, app=space / "app.py") as url,
        visit(url, "phone", tmp_path / "p") as page,
    ):
        generate(page, "calm solo piano, slow, sad")
        pair = finished(page)
        for side in "AB":
            length = length_in_browser(page, pair["urls"][side])
            assert length == pytest.approx(10.0, abs=0.1)
        shoot(page, "space")
