"""Helpers of the browser tests: a page in headless Chromium, waiting, pictures, the form."""

import os
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
SHOTS = Path(os.environ.get("SIMBA_MUSIC_SCREENSHOTS", ROOT / "runs" / "screenshots"))
WIDTHS = {"desktop": (1280, 1100), "phone": (390, 844)}


@contextmanager
def visit(address, form, profile):
    """A page in headless Chromium, `form` "desktop" or "phone"."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    width, height = WIDTHS[form]
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
        f"--user-data-dir={profile}",
    ):
        options.add_argument(word)
    driver = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))
    # Headless Chromium keeps windows at 500 px and wider; this sets the page's width itself.
    _resize(driver, width, height)
    driver.get(address)
    driver.form = form
    try:
        yield driver
    finally:
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


def press(page, selector):
    """A real press, which sound needs; the element is scrolled clear of the transport first."""
    element = page.find_element("css selector", selector)
    page.execute_script("arguments[0].scrollIntoView({ block: 'center' })", element)
    element.click()


def choose_tab(page, name):
    """Click a tab; a narrow page keeps some behind a menu."""
    wait(page, "return document.querySelector('button[role=tab]')")
    find = "[...document.querySelectorAll('%s')].find(b => b.innerText.trim() === '%s')"
    tab = find % ("button[role=tab]", name)
    if not page.execute_script(f"return {tab}"):
        page.execute_script("document.querySelector('.overflow-menu > button').click()")
        tab = find % (".overflow-menu button", name)
    wait(page, f"return {tab}")
    page.execute_script(f"{tab}.click()")


def shoot(page, name):
    """A picture of the whole page, whose window is as high as before afterwards."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    width, height = WIDTHS[page.form]
    _resize(page, width, page.execute_script("return document.documentElement.scrollHeight"))
    time.sleep(0.5)
    page.save_screenshot(str(SHOTS / f"{name}-{page.form}.png"))
    _resize(page, width, height)


def _resize(page, width, height):
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
    )


CAN_PLAY = "return document.querySelector('#create .ab-play')?.disabled === false"
DONE = "return document.querySelector('#create .st-new')?.disabled === false"


def text_of(page, selector):
    return page.execute_script(
        "return document.querySelector('#create ' + arguments[0])?.textContent.trim()", selector
    )


def write(page, prompt):
    """Put a prompt in its field, as a hand does."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    wait(page, "return document.querySelector('#st-prompt')")
    box = page.find_element(By.CSS_SELECTOR, "#st-prompt")
    box.send_keys(Keys.CONTROL, "a")
    box.send_keys(Keys.BACKSPACE, prompt)
    return box


def listen_for_pairs(page):
    """Keep from now on what the page tells its other parts of finished pairs."""
    page.execute_script(
        "if (!window.pairs) document.addEventListener('simba:pair',"
        " (event) => window.pairs.push(event.detail.pair)); window.pairs = []"
    )


def generate(page, prompt):
    """Type a prompt and press the button; `finished` gives the pair."""
    listen_for_pairs(page)
    write(page, prompt)
    page.execute_script("document.querySelector('#generate').click()")


def finished(page, seconds=300):
    """The pair that was made, as the page tells it to its other parts."""
    wait(page, "return window.pairs?.length", seconds)
    wait(page, DONE)
    return page.execute_script("return window.pairs.at(-1)")


def length_in_browser(page, url):
    """Seconds, as the browser's own player decodes the clip."""
    return page.execute_async_script(
        "const done = arguments[1], a = new Audio(arguments[0]);"
        "a.onloadedmetadata = () => done(a.duration); a.onerror = () => done(-1);",
        url,
    )
