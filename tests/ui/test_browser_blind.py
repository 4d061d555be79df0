"""A listener's visit to the blind test in headless Chromium (marker `browser`)."""

import json
import time

import pytest
from browser import choose_tab, shoot, wait

pytestmark = pytest.mark.browser


def press(page, key):
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(page).send_keys(key).perform()


def open_tab(page):
    choose_tab(page, "Blind test")
    wait(page, "return document.querySelector('#blind .bt-next')")
    wait(page, "return localStorage.getItem('simba-music-listener')")


def write_pair(page, prompt):
    from selenium.webdriver.common.by import By

    box = page.find_element(By.CSS_SELECTOR, "#blind-prompt input, #blind-prompt textarea")
    box.clear()
    box.send_keys(prompt)
    page.execute_script("document.querySelector('#blind-write').click()")
    wait(page, "return document.querySelector('#blind-progress').innerText.includes('together')")
    wait(page, f"return document.querySelector('.bt-prompt').innerText === {json.dumps(prompt)}")
    wait(page, "return !document.querySelector('.ab-play').disabled")


def listen(page):
    page.execute_script("document.querySelector('.ab').focus()")
    press(page, " ")
    time.sleep(5.4)
    press(page, "2" if first(page) == "A" else "1")
    time.sleep(5.4)
    wait(page, "return !document.querySelector('.bt-choices button').disabled", 20)


def first(page):
    return page.execute_script(
        "return document.querySelector('.ab-side[aria-pressed=true]').dataset.side"
    )


def test_a_typed_prompt_is_heard_voted_on_and_revealed(page):
    open_tab(page)
    write_pair(page, "calm solo piano, slow, sad")
    assert page.execute_script("return document.querySelector('.bt-choices button').disabled")
    text = page.execute_script("return document.querySelector('#blind').innerText")
    assert "simba" not in text.lower() and "transformer" not in text.lower()
    listen(page)
    shoot(page, "blind")
    press(page, "t")
    wait(page, "return document.querySelector('.bt-undo')")
    wait(page, "return document.querySelectorAll('.bt-reveal li').length === 2", 30)
    told = page.execute_script("return document.querySelector('.bt-reveal').innerText")
    assert "simba" in told and "transformer" in told
    shoot(page, "blind-revealed")


def test_the_gallery_is_voted_on_by_keyboard_and_a_vote_can_be_taken_back(page):
    open_tab(page)
    wait(page, "return !document.querySelector('.bt-next').disabled")
    page.execute_script("document.querySelector('.bt').focus()")
    press(page, "n")
    wait(page, "return !document.querySelector('.ab-play').disabled")
    prompt = page.execute_script("return document.querySelector('.bt-prompt').innerText")
    page.refresh()  # in mid-trial: the same pair is there again
    open_tab(page)
    wait(page, f"return document.querySelector('.bt-prompt').innerText === {json.dumps(prompt)}")
    wait(page, "return !document.querySelector('.ab-play').disabled")
    listen(page)
    press(page, "x")
    wait(page, "return document.querySelector('.bt-undo')")
    press(page, " ")  # the button has the focus
    wait(page, "return document.querySelector('.bt-after').innerText.includes('taken back')")
    press(page, "a")
    wait(page, "return document.querySelector('.bt-undo')")
    choose_tab(page, "Votes")
    wait(page, "return document.querySelector('#votes').innerText.includes('never pooled')")
    wait(page, "return document.querySelector('#votes').innerText.includes('sign test')")
    shoot(page, "votes")
