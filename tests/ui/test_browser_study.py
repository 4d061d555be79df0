"""A listener's whole study in headless Chromium, by keyboard, with a reload in its middle."""

import csv
import os
import subprocess
import sys
import time

import pytest
import yaml
from browser import WIDTHS, shoot, visit, wait
from conftest import serving
from test_browser_blind import first, press
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


def enter(page):
    from selenium.webdriver.common.keys import Keys

    press(page, Keys.ENTER)


def trial(page, key):
    """Listen to both clips of the trial that is shown, then choose."""
    wait(page, "return !document.querySelector('.ab-play').disabled")
    page.execute_script("document.querySelector('.ab').focus()")
    press(page, " ")
    time.sleep(5.2)
    press(page, "2" if first(page) == "A" else "1")
    wait(page, "return !document.querySelector('.bt-choices[role] button').disabled", 20)
    press(page, key)
    wait(page, "return !document.querySelector('.bt-next').disabled || "
         "document.querySelector('.st-panel').dataset.code")  # fmt: skip


def answered(page, count):
    wait(page, f"return document.querySelector('.bt-count').innerText.startsWith('{count} of 7')")


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


def test_six_trials_by_keyboard_with_a_reload(page, folder, data, tmp_path):
    from selenium.webdriver.common.keys import Keys

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
    press(page, Keys.TAB)
    enter(page)
    wait(page, "return document.querySelector('.st-panel').innerText.includes('for practice')")
    enter(page)
    given = []
    for number in range(7):
        if number == 3:  # in mid-trial
            wait(page, "return !document.querySelector('.ab-play').disabled")
            prompt = page.execute_script("return document.querySelector('.bt-prompt').innerText")
            page.refresh()
            wait(page, "return document.querySelector('.st-panel button')")
            assert "Welcome back" in panel(page)
            enter(page)
            wait(page, f"return document.querySelector('.bt-prompt').innerText === '{prompt}'")
        trial(page, "t" if number % 2 else "a")
        prompt = page.execute_script("return document.querySelector('.bt-prompt').innerText")
        given.append((prompt, "TIE" if number % 2 else "A"))
        answered(page, number + 1)
        if number == 1:
            shoot(page, "study-trial")
            page.execute_script("document.querySelector('.bt-undo').focus()")
            enter(page)
            wait(page, "return !document.querySelector('.bt-vote').hidden")
            answered(page, number)
            press(page, "b")
            given[-1] = (prompt, "B")
            answered(page, number + 1)
        if number < 6:
            page.execute_script("document.querySelector('.bt-next').focus()")
            press(page, "n")
            wait(page, "return !document.querySelector('.bt-vote').hidden")
    code = wait(page, "return document.querySelector('.st-panel').dataset.code")
    assert len(code) == 10 and code in panel(page)
    shoot(page, "study-thanks")
    assert exported(folder, data, tmp_path / "out", code) == given
    text = page.execute_script("return document.body.innerText").lower()
    assert "left" not in text and "right" not in text
