"""A listener's visit to the blind test in Chromium, by keyboard alone (marker `browser`)."""

import json
import time

import pytest
from browser import choose_tab, shoot, wait

pytestmark = pytest.mark.browser

HEARD_S = 5.4


def press(page, *keys):
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(page).send_keys(*keys).perform()


def enter(page):
    from selenium.webdriver.common.keys import Keys

    press(page, Keys.ENTER)


def tab_to(page, selector):
    """Press the tab key until a part of the page has the focus."""
    from selenium.webdriver.common.keys import Keys

    for _ in range(60):
        if page.execute_script(f"return document.activeElement.matches({json.dumps(selector)})"):
            return
        press(page, Keys.TAB)
    raise AssertionError(f"the tab key never comes to {selector}")


def text(page, selector):
    return page.execute_script(f"return document.querySelector('{selector}')?.innerText || ''")


def state(page, name, seconds=30):
    wait(page, f"return document.querySelector('.bt').dataset.state === '{name}'", seconds)


def open_tab(page):
    choose_tab(page, "Blind test")
    wait(page, "return localStorage.getItem('simba-music-listener')")
    page.execute_script("document.activeElement.blur()")


def ready(page):
    """A pair is there, and its sound."""
    state(page, "trial", 120)
    wait(page, "return !document.querySelector('.bp-play').disabled")


def first(page):
    return page.execute_script(
        "return document.querySelector('.bp-side[aria-pressed=true]').dataset.side"
    )


def listen(page):
    """Hear as much of both sides as a vote needs."""
    side = first(page)
    press(page, side.lower())
    time.sleep(HEARD_S)
    press(page, "2" if side == "A" else "1")
    wait(page, "return !document.querySelector('.bt-choice').disabled", 20)


BARS = """
const canvas = document.querySelector(`.bp-wave[data-side=${arguments[0]}]`);
const scale = window.devicePixelRatio, bars = Math.floor(canvas.clientWidth / 6);
const pitch = canvas.width / bars, ink = canvas.getContext("2d");
return Array.from({ length: bars }, (_, i) => {
  const x = Math.round((i + 0.3) * pitch);
  const column = ink.getImageData(x, 0, 1, canvas.height).data;
  let tall = 0;
  for (let y = 0; y < canvas.height; y++) tall += column[4 * y + 3] > 0;
  return tall === canvas.height ? 0 : tall / scale;
});
"""


def bars(page, side):
    """Heights of the drawn wave in px; 0 where the line stands that says what plays."""
    return page.execute_script(BARS, side)


def test_a_typed_prompt_is_heard_voted_on_and_revealed(page):
    prompt = "calm solo piano, slow, sad"
    open_tab(page)
    wait(page, "return document.querySelector('#blind-own button')")
    tab_to(page, "#blind-own button")
    enter(page)
    wait(page, "return document.querySelector('#blind-prompt :is(textarea, input)')")
    tab_to(page, "#blind-prompt :is(textarea, input)")
    press(page, prompt)
    time.sleep(1)  # Gradio sends what was typed a moment later
    enter(page)
    wait(page, "return document.querySelector('#blind-progress').innerText.includes('together')")
    ready(page)
    assert text(page, ".bt-prompt") == prompt
    for side in "AB":  # neither loudness nor an ending is seen before it was heard
        assert max(bars(page, side)) <= 4, side
    press(page, "u")
    assert "Listen to" in page.execute_script(
        "return document.querySelector('.bt-say').textContent"
    )
    state(page, "trial")
    other = "B" if first(page) == "A" else "A"
    listen(page)
    press(page, " ")
    for side in "AB":
        drawn = bars(page, side)
        assert max(drawn[int(0.8 * len(drawn)) :]) <= 4 or side == other, side
        assert max(drawn) > 4, side
    told = text(page, "#blind").lower()
    assert "simba" not in told and "transformer" not in told
    name = page.execute_script(
        "const id = document.querySelector('.bt-choices').getAttribute('aria-labelledby');"
        "return document.getElementById(id).innerText"
    )
    assert name == "Which fits the prompt better?"
    shoot(page, "blind")
    press(page, "o")
    state(page, "voted")
    assert "simba" not in text(page, "#blind").lower()
    assert text(page, ".bt-left").startswith("in ")
    state(page, "shown")  # by itself
    assert text(page, ".bt-chosen") == "You found them alike."
    shown = text(page, ".bt-after")
    assert "SiMBA" in text(page, ".bt-reveal") and "Transformer" in text(page, ".bt-reveal")
    assert "Your votes so far: " in shown and "alike 1." in shown
    assert "shares are shown from 20 decided votes on" in shown and "%" not in shown
    assert max(bars(page, other)[-8:]) > 0
    shoot(page, "blind-revealed")


def test_pair_after_pair_by_keyboard_with_a_reload_and_an_undo(page):
    open_tab(page)
    wait(page, "return !document.querySelector('.bt-go').disabled")
    shoot(page, "blind-start")
    enter(page)  # nothing was clicked
    ready(page)
    prompt = text(page, ".bt-prompt")
    page.refresh()  # in mid-trial: the same pair is there again
    open_tab(page)
    wait(page, f"return document.querySelector('.bt-prompt').innerText === {json.dumps(prompt)}")
    ready(page)
    listen(page)
    press(page, "p")
    state(page, "voted")
    shoot(page, "blind-voted")
    press(page, "z")
    state(page, "trial")
    press(page, "u")
    state(page, "voted")
    assert text(page, ".bt-chosen") == "You chose A."
    enter(page)  # closes the vote: the models are shown now
    state(page, "shown", 5)
    assert text(page, ".bt-chosen") in ("You chose A: SiMBA.", "You chose A: Transformer.")
    press(page, "z")  # which is over
    state(page, "trial", 20)  # the next pair comes by itself
    ready(page)
    assert text(page, ".bt-prompt") != prompt
    listen(page)
    press(page, "i")
    state(page, "voted")
    enter(page)
    state(page, "shown", 5)
    assert text(page, ".bt-stay")
    press(page, "s")
    assert not text(page, ".bt-stay")
    enter(page)
    ready(page)
    assert text(page, ".bt-place") == "Pair 3"
    press(page, first(page).lower())
    wait(page, "return document.querySelector('.bp-play').innerText === 'Pause'")
    press(page, " ")
    choose_tab(page, "Findings")
    wait(page, "return document.querySelector('#votes-drawn').innerText.includes('never pooled')")
    assert "decided so far" in text(page, "#votes-drawn")
    tab_to(page, "#votes-figures button")
    enter(page)
    wait(page, "return document.querySelector('#votes')?.innerText.includes('too few votes')")
    shoot(page, "votes")
