"""Keeping, in headless Chromium: history, files, links, a dropped clip (marker `browser`)."""

import io
import json
import time
import urllib.request
from pathlib import Path
from urllib.parse import unquote

import pytest
import soundfile
from browser import WIDTHS, press, shoot, visit, wait

from simba_music.conditioning.request import Request
from simba_music.generation.recipe import recipes_of_file
from simba_music.ui.keep.permalink import link_of

pytestmark = pytest.mark.browser

MODELS = ["simba", "transformer"]
PROMPT = "funk <img src=x onerror=document.title='hit'>, slap bass, 104 bpm"
ROWS = "return document.querySelectorAll('#kept-history .kp-row').length"
NOTE = "return document.querySelector('#kept-restore .kp-note')?.textContent"
SEED = "document.querySelector('#st-seed')"
DROP = """
const [bytes, name] = arguments;
const data = new DataTransfer();
data.items.add(new File([Uint8Array.from(bytes)], name));
document.body.dispatchEvent(new DragEvent("dragover", { dataTransfer: data, bubbles: true }));
const shown = !document.querySelector(".kp-cover").hidden;
document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
return shown;
"""


def fill(page, address, prompt=PROMPT, seed=17, duration_s=2.0):
    """Open a link; the form is as it says."""
    page.get(f"{address}/?r={link_of(Request(prompt, duration_s, seed), MODELS)}")
    wait(page, f"return {SEED}?.value === '{seed}'")


def click(page, selector):
    page.execute_script(f"document.querySelector(`{selector}`).click()")


def rows(page, count):
    wait(page, f"{ROWS} === {count}")


def row(page):
    return page.execute_script("return document.querySelector('#kept-history .kp-row').innerText")


def fetched(url):
    with urllib.request.urlopen(url, timeout=60) as reply:
        return reply.read()


def kept_urls(page):
    found = page.execute_script("return JSON.parse(localStorage['simba-music-history'])")
    return [page.execute_script("return location.origin") + url for url in found[0]["urls"]]


def downloaded(page, button):
    """Address and name of a file that a button gives."""
    page.execute_script(
        "window.given = null; HTMLAnchorElement.prototype.click = function () {"
        "window.given = [this.href, this.download]; };"
    )
    click(page, button)
    return wait(page, "return window.given")


def test_a_pair_stays_with_its_files_its_link_and_its_place_in_the_history(page, address):
    fill(page, address)
    rows(page, 0)
    click(page, "#generate")
    rows(page, 1)
    assert PROMPT in row(page) and "#17" in row(page) and page.title == "SiMBA Music"

    click(page, "#kept-downloads summary")
    wav = page.execute_script(
        "const a = document.querySelector('#kept-downloads .kp-wav'); return [a.href, a.download]"
    )
    assert wav[1] == "funk-img-src-x-onerror-104bpm-simba-seed17.wav"
    own, rate = soundfile.read(io.BytesIO(fetched(wav[0])), dtype="int16")
    assert rate == 24_000
    href, name = downloaded(page, "#kept-downloads .kp-flac")
    assert name == wav[1].replace(".wav", ".flac")
    assert (soundfile.read(io.BytesIO(fetched(href)), dtype="int16")[0] == own).all()
    href, name = downloaded(page, "#kept-downloads .kp-ogg")
    assert name.endswith(".ogg") and fetched(href)[:4] == b"OggS"
    href, name = downloaded(page, "#kept-downloads .kp-zip")
    assert name.endswith("both-seed17.zip") and fetched(href)[:2] == b"PK"
    menu = page.execute_script("return document.querySelector('#kept-downloads').innerText")
    assert "Apache-2.0" in menu
    wait(page, "return !document.querySelector('.kp-share').disabled")
    page.execute_script("navigator.share = undefined; navigator.clipboard.writeText = null")
    click(page, ".kp-share")
    link = wait(page, "return document.querySelector('.kp-link').value")
    assert link == f"{address}/?r={link_of(Request(PROMPT, 2.0, 17), MODELS)}"
    wide = page.execute_script("return document.documentElement.scrollWidth")
    assert wide <= WIDTHS[page.form][0]
    click(page, ".kp-star")
    assert (
        page.execute_script(
            "return document.activeElement.className + document.activeElement.ariaPressed"
        )
        == "kp-startrue"
    )
    shoot(page, "kept")

    page.get(address)
    rows(page, 1)
    press(page, ".kp-play")  # sound needs a real press
    heard = "document.querySelector('#create .ab-time').textContent"
    wait(page, f"return {heard}.endsWith('/ 0:02') && {heard} >= '0:01'")
    for button in (".st-new", ".st-on"):  # it can be gone on from
        assert not page.execute_script(f"return document.querySelector('{button}').disabled")
    shoot(page, "kept-open")
    click(page, ".kp-delete")
    rows(page, 0)
    click(page, ".kp-undo")
    rows(page, 1)
    assert page.execute_script("return document.querySelector('.kp-star').ariaPressed") == "true"

    for url in kept_urls(page):
        Path(unquote(url.partition("file=")[2])).unlink()
    page.get(address)
    wait(page, "return document.querySelector('.kp-again')")
    click(page, ".kp-again")
    rows(page, 2)
    again = soundfile.read(io.BytesIO(fetched(kept_urls(page)[0])), dtype="int16")[0]
    assert (again == own).all()


def test_a_clip_that_is_dropped_on_a_fresh_browser_gives_the_identical_clip(
    page, address, tmp_path
):
    fill(page, address, prompt="chiptune lead, 140 bpm", seed=4_000_000_000)
    click(page, "#generate")
    rows(page, 1)
    first = [fetched(url) for url in kept_urls(page)]
    (tmp_path / "clip.wav").write_bytes(first[1])
    (recipe,) = recipes_of_file(tmp_path / "clip.wav").values()
    assert recipe.model.id == "transformer"
    with visit(address, page.form, tmp_path / "fresh") as other:
        wait(other, "return document.querySelector('.kp-open')")
        assert other.execute_script(ROWS) == 0
        assert other.execute_script(DROP, list(first[1]), "clip.wav")
        wait(other, f"return {SEED}?.value === '4000000000'")
        assert "chiptune lead, 140 bpm" in other.execute_script(NOTE)
        click(other, "#generate")
        rows(other, 1)
        for before, url in zip(first, kept_urls(other), strict=True):
            both = [soundfile.read(io.BytesIO(d), dtype="int16")[0] for d in (before, fetched(url))]
            assert (both[0] == both[1]).all()
        assert other.execute_script(DROP, list(b"RIFF no sound"), "x.wav")
        wait(other, f"{NOTE}.includes('There is no recipe in this file')")
        shoot(other, "kept-none")
    assert page.execute_script(ROWS) == 1


def test_a_broken_link_is_a_sentence_and_the_page_works(page, address):
    page.get(f"{address}/?r=nonsense")
    wait(page, f"{NOTE}.includes('incomplete')")
    assert page.execute_script("return document.querySelector('#st-prompt').value") == ""


def test_a_reload_while_generating_leaves_a_row_that_generates_again(page, address):
    fill(page, address, prompt="slow piano", duration_s=30.0)
    click(page, "#generate")
    wait(page, "return sessionStorage['simba-music-pending']")
    page.get(address)
    rows(page, 1)
    assert "Left before it was done" in row(page) and "slow piano" in row(page)
    shoot(page, "kept-interrupted")
    # The server has ended that run: a short one is not behind it.
    fill(page, address, prompt="harp", duration_s=2.0)
    click(page, "#generate")
    rows(page, 2)


def test_two_browsers_keep_and_stop_only_their_own(address, tmp_path):
    with (
        visit(address, "desktop", tmp_path / "a") as one,
        visit(address, "phone", tmp_path / "b") as other,
    ):
        fill(one, address, prompt="techno", duration_s=30.0, seed=1)
        fill(other, address, prompt="harp", duration_s=10.0, seed=2)
        click(one, "#generate")
        click(other, "#generate")
        for each in (one, other):
            wait(each, "return /[1-9]\\d? %/.test(document.querySelector('#create').innerText)")
        click(one, "#generate")  # which is Stop now
        rows(one, 1)
        rows(other, 1)
        time.sleep(0.5)
        kept = [
            json.loads(p.execute_script("return localStorage['simba-music-history']"))
            for p in (one, other)
        ]
        assert [[e["asked"]["prompt"] for e in each] for each in kept] == [["techno"], ["harp"]]
        assert not set(kept[0][0]["urls"]) & set(kept[1][0]["urls"])
        made = f"· {kept[0][0]['seconds']:.1f} s ·".replace(".0 s", " s")
        assert made in row(one)  # though more was asked for
        assert kept[0][0]["seconds"] < 30
        length = soundfile.info(io.BytesIO(fetched(kept_urls(other)[0]))).duration
        assert length == pytest.approx(10.0, abs=0.01)
        assert soundfile.info(io.BytesIO(fetched(kept_urls(one)[0]))).duration < 30
