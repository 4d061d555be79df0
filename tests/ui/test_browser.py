"""A person's visit in headless Chromium, on the bundled checkpoints (marker `browser`)."""

import time

import pytest
from browser import (
    CAN_PLAY,
    DONE,
    WIDTHS,
    choose_tab,
    finished,
    generate,
    length_in_browser,
    listen_for_pairs,
    press,
    shoot,
    text_of,
    wait,
    write,
)

from simba_music.files import read_json
from simba_music.hub.places import BUNDLED
from simba_music.models.report import FIGURES

pytestmark = pytest.mark.browser

DURATION_S, LONG_S, SHORT_S = 10.0, 30.0, 4.0
FIRST_SCREEN = {"desktop": 800, "phone": 844}


def box_of(page, selector):
    """Where a part of the page lies on the screen: left, top, right, bottom in px."""
    return page.execute_script(
        "const b = document.querySelector('#create ' + arguments[0]).getBoundingClientRect();"
        "return [b.left, b.top, b.right, b.bottom]",
        selector,
    )


def position_s(page):
    minutes, _, rest = text_of(page, ".ab-time").partition(":")
    return 60 * int(minutes) + float(rest.split("/")[0])


def set_length(page, seconds):
    page.execute_script(
        "const slider = document.querySelector('#st-duration'); slider.value = arguments[0];"
        "slider.dispatchEvent(new Event('input', { bubbles: true }))",
        seconds,
    )


def running(page):
    return text_of(page, "#generate") == "Stop"


def playing(page):
    return page.execute_script("return document.querySelector('#create .ab-play').ariaLabel") == (
        "Pause"
    )


def test_a_pair_is_ready_and_one_tap_is_sound(page):
    wait(page, CAN_PLAY)
    for part in ("#st-prompt", "#generate", ".ab-play", ".st-switch"):
        left, top, right, bottom = box_of(page, part)
        assert 0 <= left and right <= WIDTHS[page.form][0], part
        assert 0 <= top and bottom <= FIRST_SCREEN[page.form], part
    shoot(page, "first")
    press(page, "#create .ab-play")  # sound needs a real press
    wait(page, "return document.querySelector('#create .ab-time').textContent >= '0:01'")
    assert playing(page) and text_of(page, ".st-verdict")
    wide = page.execute_script("return document.documentElement.scrollWidth")
    assert wide <= WIDTHS[page.form][0]


def test_a_prompt_becomes_two_clips_that_sound_while_they_are_made(page):
    wait(page, CAN_PLAY)
    places = {
        part: box_of(page, part) for part in (".st-title", ".st-row", ".st-bar", ".st-choice")
    }
    set_length(page, LONG_S)
    generate(page, "calm solo piano, slow, sad")
    wait(page, "return document.querySelector('#create .ab-time').textContent >= '0:01'")
    assert running(page) and playing(page)
    shoot(page, "running")
    pair = finished(page)
    for side in "AB":
        length = length_in_browser(page, pair["urls"][side])
        assert length == pytest.approx(LONG_S, abs=0.1)
        assert pair["matches"][side].startswith("match:")
    assert pair["recipes"]["A"]["request"]["seed"] == pair["recipes"]["B"]["request"]["seed"]
    assert f"seed {pair['request']['seed']}" in text_of(page, ".st-meta")
    # nothing has moved meanwhile
    assert {part: box_of(page, part) for part in places} == places
    assert page.execute_script("return document.querySelectorAll('audio').length") == 0
    details = text_of(page, ".st-numbers")
    for part in ("Alignment", "mismatched prompts", "Seed", "real time", "Checkpoint"):
        assert part in details
    time.sleep(0.5)
    shoot(page, "done")


def test_what_is_read_and_what_cannot_be_done_is_said_while_typing(page):
    wait(page, CAN_PLAY)
    write(page, "sad piano in C minor, 70 bpm, with vocals")
    wait(page, "return document.querySelector('#st-read .st-is-cannot')")
    said = text_of(page, "#st-read")
    for part in ("C minor", "70 bpm", "piano", "can't do: vocals"):
        assert part in said
    shoot(page, "reading")


def test_a_new_prompt_stops_the_run_before_and_takes_its_place(page):
    wait(page, CAN_PLAY)
    set_length(page, LONG_S)
    generate(page, "upbeat funk with slap bass and drums")
    wait(page, "return document.querySelector('#create .ab-time').textContent >= '0:01'")
    set_length(page, SHORT_S)
    generate(page, "calm flute")
    pair = finished(page)
    assert pair["prompt"] == "calm flute"
    assert page.execute_script("return window.pairs.length") == 1
    assert text_of(page, ".st-title h2") == "calm flute"
    assert length_in_browser(page, pair["urls"]["A"]) == pytest.approx(4.0, abs=0.1)


def test_stop_keeps_what_was_made_and_it_goes_on_from_there(page):
    wait(page, CAN_PLAY)
    set_length(page, LONG_S)
    generate(page, "upbeat funk with slap bass and drums")
    wait(page, "return document.querySelector('#create .ab-time').textContent >= '0:01'")
    page.execute_script("document.querySelector('#generate').click()")
    wait(page, "return document.body.innerText.includes('Stopped; this is what was made')")
    wait(page, DONE)
    # where sides take turns, one may have had nothing yet
    for pair in page.execute_script("return window.pairs"):
        assert 0 < length_in_browser(page, pair["urls"]["A"]) < LONG_S
    shoot(page, "stopped")
    page.execute_script("window.pairs = []; document.querySelector('#create .st-on').click()")
    whole = finished(page)
    assert length_in_browser(page, whole["urls"]["A"]) == pytest.approx(LONG_S, abs=0.1)
    # which is as long as these models play
    assert page.execute_script("return document.querySelector('#create .st-on').disabled")


def test_both_clips_go_on(page):
    wait(page, CAN_PLAY)
    set_length(page, SHORT_S)
    generate(page, "calm flute")
    finished(page)
    page.execute_script("window.pairs = []; document.querySelector('#create .st-on').click()")
    longer = finished(page)
    assert (longer["request"]["grown_s"], longer["request"]["duration_s"]) == ([4], 14)
    assert length_in_browser(page, longer["urls"]["B"]) == pytest.approx(14.0, abs=0.1)
    assert page.execute_script("return window.pairs.length") == 1


def test_an_empty_prompt_is_explained_and_takes_nothing_away(page):
    wait(page, CAN_PLAY)
    generate(page, " ")
    wait(page, "return document.querySelector('#st-read').innerText.includes('Describe the music')")
    assert page.execute_script(CAN_PLAY)


def test_a_preference_is_asked_for_once_both_were_heard(page):
    wait(page, CAN_PLAY)
    set_length(page, DURATION_S)
    generate(page, "calm flute")
    finished(page)
    button = "document.querySelector('#create [data-choice=B]')"
    assert page.execute_script(f"return {button}.disabled")
    for side in "BABA":  # twice: the clip may play since it was generated, and end meanwhile
        page.execute_script(
            f"document.querySelector('#create .st-switch [data-side={side}]').click();"
            "const play = document.querySelector('#create .ab-play');"
            "if (play.ariaLabel === 'Play') play.click()"
        )
        time.sleep(3)
    wait(page, f"return !{button}.disabled")
    page.execute_script(f"{button}.click()")
    wait(page, "return document.body.innerText.includes('kept apart from the blind test')")


def test_the_keyboard_alone_is_enough(page):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    wait(page, CAN_PLAY)
    keys = lambda *these: ActionChains(page).send_keys(*these).perform()  # noqa: E731
    set_length(page, SHORT_S)
    listen_for_pairs(page)
    keys("/", "calm harp", Keys.ENTER)
    finished(page)
    keys(Keys.ESCAPE)  # out of the field
    pressed = "return document.querySelector('#create .st-switch [data-side=B]').ariaPressed"
    keys("2")
    assert page.execute_script(pressed) == "true"
    keys("1")
    assert page.execute_script(pressed) == "false"
    before = playing(page)
    keys(" ")
    assert playing(page) != before
    keys("l")
    loop = "return document.querySelector('#create .ab-loop').ariaPressed"
    assert page.execute_script(loop) == "true"


def test_a_restored_recipe_fills_the_page(page):
    wait(page, CAN_PLAY)
    page.execute_script(
        "document.dispatchEvent(new CustomEvent('simba:restore', { detail: {"
        " prompt: 'calm oboe', seed: 77, settings: { duration_s: 6.5, guidance: 3 } } }))"
    )
    values = page.execute_script(
        "return ['st-prompt', 'st-seed', 'st-duration', 'st-length', 'st-guidance']"
        ".map((id) => document.getElementById(id).value)"
    )
    assert values == ["calm oboe", "77", "6.5", "6.5", "3"]


def test_the_findings_are_shown_as_the_report_has_them(page):
    choose_tab(page, "Findings")
    wait(page, "return document.querySelectorAll('#results table').length >= 4")
    wait(page, f"return document.querySelectorAll('#results img').length == {len(FIGURES)}")
    tables = read_json(BUNDLED / "REPORT.json")["tables"]
    text = page.execute_script("return document.querySelector('#results').innerText")
    for made in tables:
        assert f"{made['rows'][0]['value']:.4g}" in text
    wide = page.execute_script("return document.documentElement.scrollWidth")
    assert wide <= WIDTHS[page.form][0]
    lead = page.execute_script("return document.querySelector('#findings-lead').innerText")
    assert lead.startswith("In short, by 6 measures") and "SiMBA is ahead" in lead
    shoot(page, "findings")


def test_a_tab_has_an_address(page):
    blind, create = ("#blind-tab", "#create")
    shown = "return document.querySelector('{}')?.offsetParent != null"
    choose_tab(page, "Blind test")
    wait(page, "return location.hash === '#blind'")
    page.refresh()
    wait(page, shown.format(blind))
    choose_tab(page, "Create")
    wait(page, "return location.hash === ''")
    page.back()
    wait(page, shown.format(blind))
    page.forward()
    wait(page, shown.format(create))
