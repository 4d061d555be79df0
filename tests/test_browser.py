"""A person's visit in headless Chromium, on the bundled checkpoints (marker `browser`)."""

import os
import time
from pathlib import Path

import pytest
from conftest import serving

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parent.parent
SHOTS = Path(os.environ.get("SIMBA_MUSIC_SCREENSHOTS", ROOT / "runs" / "screenshots"))
WIDTHS = {"desktop": (1280, 1100), "phone": (390, 844)}
DURATION_S = 10.0


@pytest.fixture(scope="module")
def address():
    with serving() as url:
        yield url


@pytest.fixture(params=WIDTHS)
def page(request, address, tmp_path):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    width, height = WIDTHS[request.param]
    for word in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
        f"--window-size={width},{height}",
        f"--user-data-dir={tmp_path / 'profile'}",
    ):
        options.add_argument(word)
    driver = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))
    # Headless Chromium keeps windows at 500 px and wider; this sets the page's width itself.
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    driver.get(address)
    driver.form = request.param
    yield driver
    driver.quit()


def wait(page, script, seconds=120):
    """Until the script returns something true; returns it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = page.execute_script(script)
        if found:
            return found
        time.sleep(0.3)
    shoot(page, "timeout")
    raise AssertionError(f"never true: {script}")


def shoot(page, name):
    """A picture of the whole page."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    height = page.execute_script("return document.documentElement.scrollHeight")
    width = WIDTHS[page.form][0]
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    time.sleep(0.5)
    page.save_screenshot(str(SHOTS / f"{name}-{page.form}.png"))


def clip_address(side):
    return f"const a = document.querySelector('#{side}-player a[download]'); return a && a.href"


def length_in_browser(page, url):
    """Seconds, as the browser's own player decodes the clip."""
    return page.execute_async_script(
        "const done = arguments[1], a = new Audio(arguments[0]);"
        "a.onloadedmetadata = () => done(a.duration); a.onerror = () => done(-1);",
        url,
    )


def generate(page, prompt):
    from selenium.webdriver.common.by import By

    wait(page, "return document.querySelector('#prompt textarea')")
    box = page.find_element(By.CSS_SELECTOR, "#prompt textarea")
    box.clear()
    box.send_keys(prompt)
    page.execute_script("document.querySelector('#generate').click()")


def both_cards(words):
    return (
        "return ['left', 'right'].every(s => "
        f"document.querySelector(`#${{s}}-card`).innerText.includes('{words}'))"
    )


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
    time.sleep(1)  # the waveforms are drawn
    shoot(page, "compare")


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
