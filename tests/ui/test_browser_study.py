"""A listener's whole study in headless Chromium, by keyboard, with a reload in its middle."""

import csv
import os
import subprocess
import sys

import pytest
import yaml
from browser import WIDTHS, shoot, visit, wait
from conftest import serving
from test_browser_blind import enter, listen, press, ready, state, tab_to, text
from test_study import tone_pairs

from simba_music.listening.study.file import render_study

pytestmark = pytest.mark.browser

STUDY = {
    "name": "browser",
    "title": "Which tone is lower?",
    "consent": "I take part of my own will.\nI can stop at any time.",
    "trials": 4,
    "repeats": 1,
    "catches": 1,
    "headphones": "required",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("study")
    pairs = tone_pairs(made, 5.0)
    (made / "study.yaml").write_text(yaml.safe_dump(STUDY | {"pairs": pairs}))
    render_study(None, made / "study.yaml", made / "out")
    return made / "out"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def address(folder, data):
    kept = {"SIMBA_MUSIC_DATA": str(data)}
    with serving(command=("study", "serve", folder), environment=kept) as url:
        yield url


@pytest.fixture(params=WIDTHS)
def page(request, address, tmp_path):
    with visit(address, request.param, tmp_path / "profile") as driver:
        yield driver


def panel(page):
    return page.execute_script("return document.querySelector('.st-panel')?.innerText || ''")


def answer(page, key):
    """Listen to both clips of the trial that is shown, then choose."""
    ready(page)
    listen(page)
    press(page, key)
    state(page, "voted")


def exported(folder, data, out, code):
    """(prompt, preference) of every vote of the listener with that code, in their order."""
    command = [sys.executable, "-m", "simba_music", "study", "export", folder, "--out", out]
    kept = os.environ | {"SIMBA_MUSIC_DATA": str(data)}
    subprocess.run([str(part) for part in command], check=True, env=kept)
    listeners = list(csv.DictReader((out / "listeners.csv").read_text().splitlines()))
    (name,) = [row["listener"] for row in listeners if row["code"] == code]
    votes = csv.DictReader((out / "votes.csv").read_text().splitlines())
    own = sorted((row for row in votes if row["listener"] == name), key=lambda r: int(r["place"]))
    return [(row["prompt"], row["preference"]) for row in own]


def test_a_whole_study_by_keyboard_with_a_reload(page, folder, data, tmp_path):

    wait(page, "return document.querySelector('.st-panel button')")
    assert "my own will" in panel(page)
    shoot(page, "study-consent")
    enter(page)
    assert "Put on headphones" in panel(page)
    enter(page)
    for number in range(1, 7):
        assert f"Round {number} of 6" in panel(page)
        right = page.execute_script("return window.studyPage.answer")
        press(page, str(right))
    assert "volume" in panel(page)
    enter(page)  # plays the tone
    tab_to(page, ".st-panel button:nth-of-type(2)")
    enter(page)
    wait(page, "return document.querySelector('.st-panel').innerText.includes('for practice')")
    enter(page)
    given = []
    for number in range(7):
        ready(page)
        place = "For practice" if number == 0 else f"Pair {number} of 6"
        assert text(page, ".bt-place").startswith(place)
        if number == 3:  # in mid-trial
            prompt = text(page, ".bt-prompt")
            page.refresh()
            wait(page, "return document.querySelector('.st-panel button')")
            assert "Welcome back" in panel(page)
            enter(page)
            wait(page, f"return document.querySelector('.bt-prompt').innerText === '{prompt}'")
        answer(page, "o" if number % 2 else "u")
        given.append((text(page, ".bt-prompt"), "TIE" if number % 2 else "A"))
        if number == 1:
            press(page, "z")
            state(page, "trial")
            shoot(page, "study-trial")
            press(page, "i")
            state(page, "voted")
            shoot(page, "study-voted")
            given[-1] = (given[-1][0], "B")
        if number == 2:
            state(page, "trial", 15)  # the next pair comes by itself
        else:
            enter(page)
    code = wait(page, "return document.querySelector('.st-panel').dataset.code")
    assert len(code) == 10 and code in panel(page)
    shoot(page, "study-thanks")
    told = page.execute_script("return document.body.innerText")
    assert "left" not in told.lower() and "right" not in told.lower() and "API" not in told
    offered = (
        "return [...document.querySelectorAll('button, a')].filter(e => e.offsetParent).length"
    )
    assert page.execute_script(offered) == 0  # it ends here
    assert exported(folder, data, tmp_path / "out", code) == given
    listeners = list(csv.DictReader((tmp_path / "out" / "listeners.csv").read_text().splitlines()))
    (own,) = [row for row in listeners if row["code"] == code]
    assert own["checks"] == '{"headphones": "passed", "volume": "set"}'
    page.refresh()
    wait(page, f"return document.querySelector('.st-panel')?.innerText.includes('{code}')")
