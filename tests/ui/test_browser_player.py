"""The A/B player's own logic and sound, in headless Chromium (marker `browser`)."""

import numpy as np
import pytest
from browser import visit

from simba_music.ui.ab_player import PLAYER_JS

pytestmark = pytest.mark.browser

RATE, SECONDS, EVERY_S = 24_000, 4.0, 0.5


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with visit("data:text/html,<p>player</p>", "desktop", tmp_path_factory.mktemp("p")) as driver:
        yield driver


def evaluate(page, expression):
    return page.execute_script(f"{PLAYER_JS}\nreturn {expression};")


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("addStretch([], 1, 2)", [[1, 2]]),
        ("addStretch([[1, 2], [5, 6]], 2, 3)", [[1, 3], [5, 6]]),
        ("addStretch([[1, 2], [5, 6]], 1.5, 5.5)", [[1, 6]]),
        ("addStretch([[1, 2]], 3, 3)", [[1, 2]]),
        ("secondsOf([[1, 2], [5, 6.5]])", 2.5),
        ("stretchesSince(1, 2, 8, null)", [[1, 3]]),
        ("stretchesSince(7, 2, 8, null)", [[7, 8]]),
        ("stretchesSince(3, 2, 8, [1, 4])", [[3, 4], [1, 2]]),
        ("stretchesSince(3, 20, 8, [1, 4])", [[3, 4], [1, 4]]),
        ("stretchesSince(5, 9, 8, [1, 4])", [[5, 8]]),
        ("positionAfter(3, 2, 8, [1, 4])", 2),
        ("positionAfter(3, 8, 8, [1, 4])", 2),
        ("positionAfter(7, 2, 8, null)", 8),
        ("peaksOf([0, 1, -1, 0.5], 2)", [[0, 1], [-1, 0.5]]),
        ("clockOf(61.25)", "1:01.3"),
    ],
)
def test_time_and_listening_are_counted_right(page, expression, wanted):
    assert evaluate(page, expression) == wanted


def test_the_crossfade_keeps_the_power(page):
    curves = evaluate(
        page, "(c => [Array.from(c.rising), Array.from(c.falling)])(fadeCurves(FADE_POINTS))"
    )
    rising, falling = (np.array(curve) for curve in curves)
    np.testing.assert_allclose(rising**2 + falling**2, 1, atol=1e-6)


RENDER = """
const done = arguments[0], rate = %d, length = %d;
const context = new OfflineAudioContext(1, length, rate);
const make = (seed) => {
  const buffer = new AudioBuffer({ length, numberOfChannels: 1, sampleRate: rate });
  const data = buffer.getChannelData(0);
  let state = seed;
  for (let i = 0; i < length; i++) {
    state = (state * 1664525 + 1013904223) %% 4294967296;
    data[i] = state / 4294967296 - 0.5;
  }
  return buffer;
};
const A = make(1), B = %s;
const graph = buildGraph(context, { A, B }, "A", 0, 0, null);
let side = "A";
for (let t = %g; t < length / rate; t += %g) {
  side = side === "A" ? "B" : "A";
  crossfade(graph, side, t);
}
context.startRendering().then((out) => done([
  Array.from(out.getChannelData(0)), Array.from(A.getChannelData(0)),
  Array.from(B.getChannelData(0))]));
"""


def render(page, other):
    script = RENDER % (RATE, RATE * SECONDS, other, EVERY_S, EVERY_S)
    played, a, b = page.execute_async_script(PLAYER_JS + script)
    times = np.arange(len(played)) / RATE
    fading = (times % EVERY_S < 0.012) & (times > 0.1)
    return np.array(played), np.array(a), np.array(b), fading


def test_switching_between_equal_clips_is_not_heard_outside_crossfades(page):
    """A against A, switched every 0.5 s: what differs is below -60 dB."""
    played, original, _, fading = render(page, "A")
    error = np.abs(played - original)[~fading].max() / np.abs(original).max()
    assert 20 * np.log10(max(error, 1e-12)) <= -60
    assert fading.mean() < 0.03


def test_switching_plays_the_other_clip_at_the_same_position(page):
    played, a, b, fading = render(page, "make(2)")
    turn = (np.arange(len(played)) / RATE // EVERY_S).astype(int) % 2
    expected = np.where(turn == 0, a, b)
    assert np.abs(played - expected)[~fading].max() < 1e-3
    assert np.abs(a - b).max() > 0.5
