"""A person's visit in headless Chromium, on the bundled checkpoints (marker `browser`)."""

import time

import pytest
from browser import (
    WIDTHS,
    both_cards,
    choose_tab,
    clip_address,
    generate,
    length_in_browser,
    shoot,
    wait,
)

from simba_music.files import read_json
from simba_music.hub.places import BUNDLED
from simba_music.models.report import FIGURES

pytestmark = pytest.mark.browser

DURATION_S = 10.0


def test_a_prompt_becomes_two_playable_clips(page):
    generate(page, "calm solo piano, slow, sad")
    wait(page, "return document.body.innerText.includes('tokens/s, about')")
    wait(page, both_cards("made in"))
    seeds = set()
    for side in ("left", "right"):
        url = wait(page, clip_address(side))
        assert length_in_browser(page, url) == pytest.approx(DURATION_S, abs=0.1)
        card = page.execute_script(f"return document.querySelector('#{side}-card').innerText")
        for part in ("Alignment", "mismatched prompts", "Seed", "real time", "checkpoint"):
            assert part in card
        seeds.add(card.split("Seed ")[1].split()[0])
        width = page.execute_script(
            f"return document.querySelector('#{side}-player').getBoundingClientRect().right"
        )
        assert width <= WIDTHS[page.form][0]
    assert len(seeds) == 1
    wait(page, "return !document.querySelector('#both-player .ab-play')?.disabled")
    names = page.execute_script("return document.querySelector('#both-player').innerText")
    assert "simba" in names and "transformer" in names
    time.sleep(1)  # the waveforms are drawn
    shoot(page, "compare")


def player(page, what):
    return page.execute_script(f"return document.querySelector('#both-player {what}')?.textContent")


def position_s(page):
    minutes, _, seconds = player(page, ".ab-time").partition(":")
    return 60 * int(minutes) + float(seconds)


def generating(page):
    """Whether neither side is done."""
    return not any(
        "made in" in page.execute_script(f"return document.querySelector('#{s}-card').innerText")
        for s in ("left", "right")
    )


CAN_PLAY = "return document.querySelector('#both-player .ab-play')?.disabled === false"


def test_sound_begins_while_it_is_generated_and_goes_on_in_the_finished_clips(page):
    generate(page, "calm solo piano, slow, sad")
    moved = "document.querySelector('#both-player .ab-time')?.textContent ?? '0:00.0'"
    wait(page, f"return {moved} !== '0:00.0'")
    assert generating(page) and player(page, ".ab-play") == "Pause"
    shoot(page, "streaming")
    finished = "return document.querySelector('#both-player .ab-loop').disabled === false"
    began, before = time.monotonic(), position_s(page)
    while not page.execute_script(finished):
        began, before = time.monotonic(), position_s(page)
    after = position_s(page)
    # On a busy machine the last of the sound may have been played before the scores came.
    at_the_end = after > DURATION_S - 0.3
    assert at_the_end or player(page, ".ab-play") == "Pause"
    assert player(page, ".ab-state") == ""
    assert before <= after <= before + time.monotonic() - began + 0.3


def test_nothing_sounds_by_itself_where_that_is_not_wanted(page):
    wait(page, "return document.querySelector('#play-at-once input')")
    page.execute_script("document.querySelector('#play-at-once input').click()")
    generate(page, "calm solo piano, slow, sad")
    wait(page, CAN_PLAY)
    assert generating(page)
    time.sleep(1)
    assert player(page, ".ab-play") == "Play" and position_s(page) == 0
    page.execute_script("document.querySelector('#both-player .ab-play').click()")
    wait(page, "return document.querySelector('#both-player .ab-time').textContent !== '0:00.0'")
    assert player(page, ".ab-play") == "Pause"


def test_an_empty_prompt_is_explained(page):
    generate(page, " ")
    wait(page, "return document.body.innerText.includes('The prompt is empty')")
    shoot(page, "empty-prompt")


def test_stop_keeps_what_was_made(page):
    generate(page, "upbeat funk with slap bass and drums")
    wait(page, "return document.body.innerText.includes('tokens/s, about')")
    page.execute_script("document.querySelector('#stop').click()")
    wait(page, "return document.body.innerText.includes('Stopped early')")
    length = length_in_browser(page, wait(page, clip_address("left")))
    assert 0 < length < DURATION_S


def test_the_results_are_shown_as_the_report_has_them(page):
    choose_tab(page, "Results")
    wait(page, "return document.querySelectorAll('#results table').length >= 4")
    wait(page, f"return document.querySelectorAll('#results img').length == {len(FIGURES)}")
    tables = read_json(BUNDLED / "REPORT.json")["tables"]
    text = page.execute_script("return document.querySelector('#results').innerText")
    for made in tables:
        assert f"{made['rows'][0]['value']:.4g}" in text
    wide = page.execute_script("return document.documentElement.scrollWidth")
    assert wide <= WIDTHS[page.form][0]
    shoot(page, "results")
