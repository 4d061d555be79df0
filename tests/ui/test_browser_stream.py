"""The stream player: no gap on a clock that is set by hand, and the samples that Chromium renders.

In headless Chromium (marker `browser`).
"""

import base64
import json

import numpy as np
import pytest
from browser import visit

from simba_music.ui.ab_player import PLAYER_JS
from simba_music.ui.create.layout import STREAM_JS

pytestmark = pytest.mark.browser

RATE = 24_000
QUANTUM_S = 128 / RATE  # what the clock of an AudioContext moves by


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with visit("data:text/html,<p>player</p>", "desktop", tmp_path_factory.mktemp("p")) as driver:
        yield driver


def run(page, script, *arguments):
    return page.execute_script(f"{PLAYER_JS}\n{STREAM_JS}\n{script}", *arguments)


def chunk(seq, start, count, last=False):
    """Samples that say where they stand: each is its own number in the clip."""
    pcm = (np.arange(start, start + count) % 30_000).astype("<i2")
    return {
        "seq": seq,
        "start_sample": start,
        "sample_rate": RATE,
        "pcm_b64": base64.b64encode(pcm.tobytes()).decode(),
        "last": last,
    }


def chunks(*lengths_s, ends=True):
    """Chunks of these lengths, in their order."""
    found, start = [], 0
    for seq, length_s in enumerate(lengths_s):
        count = round(length_s * RATE)
        found.append(chunk(seq, start, count, ends and seq == len(lengths_s) - 1))
        start += count
    return found


# Plays events [at_s, what, ...] on a clock that goes by quanta, with a tick every 60 ms. What was
# scheduled is a list of [side, first sample, samples, from_s, to_s]; a later stop cuts it.
SIMULATE = """
const [events, end] = arguments, quantum = 128 / 24000;
let clock = 0;
const parts = [], states = [];
const out = {
  heard: "A",
  start(side, samples, rate, when) {
    const first = Math.round(samples[0] * 32767);
    parts.push({ side, first, count: samples.length, from: when, to: when + samples.length / rate,
      told: clock });
  },
  stop(when) { for (const part of parts) part.to = Math.min(part.to, Math.max(when, part.from)); },
  select(side) { this.heard = side; },
};
const schedule = new StreamSchedule(out, () => clock);
const queue = [...events];
let tick = 0;
const note = () => {
  if (states.at(-1)?.state !== schedule.state) states.push({ at: clock, state: schedule.state });
};
for (let i = 0; (clock = i * quantum) < end; i++) {
  while (queue.length && queue[0][0] <= clock) {
    const [, what, ...rest] = queue.shift();
    schedule[what](...rest);
    note();
  }
  if (clock >= tick) {
    tick += 0.06;
    schedule.update();
    note();
  }
}
return { parts: parts.filter((p) => p.to > p.from), states, position: schedule.position,
  underruns: schedule.underruns };
"""


def simulate(page, events, end_s=20.0):
    return run(page, SIMULATE, sorted(events, key=lambda event: event[0]), end_s)


def arrivals(parts, at_s, side="A"):
    return [[at, "add", side, part] for at, part in zip(at_s, parts, strict=True)]


def sounding(found, side="A"):
    """Parts of a side in the order in which they sound."""
    own = [part for part in found["parts"] if part["side"] == side]
    return sorted(own, key=lambda part: part["from"])


def assert_each_sample_once(parts, first, last):
    """From `first` to `last`, without a hole or an overlap, whatever pauses lie between."""
    at = first
    for part in parts:
        assert part["first"] == at % 30_000
        assert part["from"] >= part["told"]
        at += round((part["to"] - part["from"]) * RATE)
    assert at == last


def gaps(parts):
    """Pauses between parts in s; 0 where they meet to within a hundredth of a sample."""
    found = [b["from"] - a["to"] for a, b in zip(parts, parts[1:], strict=False)]
    return [0.0 if abs(gap) < 0.01 / RATE else gap for gap in found]


def test_what_comes_in_time_sounds_without_a_gap(page):
    lengths = [0.05, 0.3, 0.4, 0.4, 0.4, 0.45]
    found = simulate(
        page,
        [[0.0, "play"], *arrivals(chunks(*lengths), [0.1, 0.25, 0.5, 0.75, 1.0, 1.25])],
    )
    parts = sounding(found)
    assert_each_sample_once(parts, 0, round(2.0 * RATE))
    assert gaps(parts) == [0.0] * (len(parts) - 1) and found["underruns"] == 0
    assert 0.25 < parts[0]["from"] < 0.25 + 0.15 + 0.07  # the lead, and a tick
    assert [state["state"] for state in found["states"]] == ["buffering", "playing", "paused"]
    assert found["position"] == 0


@pytest.mark.parametrize("seed", range(5))
def test_whatever_the_arrivals_each_sample_sounds_once_and_gaps_are_waits(page, seed):
    rng = np.random.default_rng(seed)
    lengths = rng.uniform(0.02, 0.5, 25)
    arriving = np.cumsum(rng.uniform(0.0, 0.8, 25))
    found = simulate(page, [[0.0, "play"], *arrivals(chunks(*lengths), arriving)], 60.0)
    parts = sounding(found)
    total = sum(round(length * RATE) for length in lengths)
    assert_each_sample_once(parts, 0, total)
    pauses = [gap for gap in gaps(parts) if gap]
    assert len(pauses) == found["underruns"] > 0 and min(pauses) > 0.1
    waits = [state["state"] for state in found["states"]].count("buffering")
    assert waits == found["underruns"] + 1


def test_an_underrun_pauses_says_so_and_resumes_by_itself_where_it_was(page):
    parts = chunks(0.5, 0.7, 0.8)
    found = simulate(page, [[0.0, "play"], *arrivals(parts, [0.0, 3.0, 3.5])])
    heard = sounding(found)
    assert_each_sample_once(heard, 0, round(2.0 * RATE))
    assert found["underruns"] == 1 and gaps(heard)[0] == pytest.approx(3.0 - 0.65 + 0.15, abs=0.1)
    changes = found["states"][1:]  # from the first sound
    assert [s["state"] for s in changes] == ["playing", "buffering", "playing", "paused"]
    assert changes[1]["at"] == pytest.approx(0.65, abs=0.1)
    assert changes[2]["at"] == pytest.approx(3.0, abs=0.1)


def test_after_an_underrun_more_is_kept_ready(page):
    """Sound that comes at 0.8 of its own speed stops ever less often."""
    lengths, arriving = [0.2] * 50, [0.25 * i for i in range(50)]
    found = simulate(page, [[0.0, "play"], *arrivals(chunks(*lengths), arriving)], 30.0)
    assert_each_sample_once(sounding(found), 0, 10 * RATE)
    assert 1 <= found["underruns"] <= 4


@pytest.mark.parametrize("order", [[1, 0, 2, 3], [3, 2, 1, 0], [0, 0, 1, 1, 2, 3, 2], [0, 2, 3, 1]])
def test_chunks_out_of_turn_and_twice_sound_in_their_order_and_once(page, order):
    parts = chunks(0.4, 0.4, 0.4, 0.4)
    events = arrivals([parts[i] for i in order], [0.1 * i for i in range(len(order))])
    found = simulate(page, [[0.0, "play"], *events])
    assert_each_sample_once(sounding(found), 0, round(1.6 * RATE))


def test_what_is_missing_is_waited_for_and_given_up_at_the_end(page):
    first, _, third = chunks(0.5, 0.5, 0.5)
    events = [[0.0, "play"], *arrivals([first, third], [0.0, 0.1])]
    found = simulate(page, events, 5.0)
    assert_each_sample_once(sounding(found), 0, RATE // 2)
    assert found["states"][-1]["state"] == "buffering"
    found = simulate(page, [*events, [3.0, "end"]], 5.0)
    assert found["states"][-1]["state"] == "paused" and found["position"] == 0


def test_nothing_sounds_until_somebody_plays(page):
    found = simulate(page, arrivals(chunks(0.5, 0.5), [0.0, 0.5]), 3.0)
    assert found["parts"] == [] and found["states"][0]["state"] == "paused"
    found = simulate(page, [*arrivals(chunks(0.5, 0.5), [0.0, 0.5]), [2.0, "play"]], 5.0)
    assert_each_sample_once(sounding(found), 0, RATE)
    assert sounding(found)[0]["from"] == pytest.approx(2.15, abs=0.01)


def test_a_pause_goes_on_at_the_same_sample(page):
    events = [[0.0, "play"], *arrivals(chunks(1.0, 1.0), [0.0, 0.2]), [0.9, "pause"], [3.0, "play"]]
    parts = sounding(simulate(page, events))
    assert_each_sample_once(parts, 0, 2 * RATE)
    assert max(gaps(parts)) > 2


def test_a_seek_goes_where_it_says(page):
    events = [[0.0, "play"], *arrivals(chunks(2.0, 2.0), [0.0, 0.2]), [1.0, "seek", 3.0]]
    parts = sounding(simulate(page, events))
    assert parts[-1]["first"] == 3 * RATE % 30_000
    assert parts[-1]["from"] == pytest.approx(1.0 + 0.15, abs=0.01)


def test_both_sides_sound_at_the_same_position_and_one_that_is_late_joins_there(page):
    both = [
        *arrivals(chunks(0.5, 0.5, 1.0), [0.0, 0.2, 0.4]),
        *arrivals(chunks(0.2, 0.8, 1.0), [0.1, 0.85, 0.9], "B"),
    ]
    found = simulate(page, [[0.0, "play"], *both, [1.2, "select", "B"]])
    begin = sounding(found)[0]["from"]
    assert found["underruns"] == 0 and gaps(sounding(found)) == [0.0] * 2
    for part in sounding(found, "B"):
        position = part["first"] / RATE if part["from"] < begin + 1.2 else None
        if position is not None:
            assert part["from"] - begin == pytest.approx(position, abs=1e-6)
    late = sounding(found, "B")[1]
    assert late["first"] > 0.2 * RATE and late["from"] >= late["told"]


def test_a_side_that_is_behind_is_waited_for_at_the_position(page):
    both = [
        *arrivals(chunks(3.0), [0.0]),
        *arrivals(chunks(0.5, 1.0, 1.5), [0.1, 2.0, 2.5], "B"),
    ]
    found = simulate(page, [[0.0, "play"], *both, [1.0, "select", "B"]])
    states = [state["state"] for state in found["states"][1:]]
    assert states == ["playing", "buffering", "playing", "paused"] and found["underruns"] == 0
    before, *resumed = sounding(found, "B")
    assert before["to"] == pytest.approx(0.65, abs=0.02)
    assert resumed[0]["first"] / RATE == pytest.approx(1.0 - 0.15, abs=0.02)
    assert resumed[0]["from"] == pytest.approx(2.15, abs=0.02)
    assert gaps(resumed) == [0.0]


def test_a_side_without_any_sound_is_waited_for(page):
    events = [[0.0, "select", "B"], [0.0, "play"], *arrivals(chunks(1.0), [0.5])]
    found = simulate(page, [*events, [2.0, "end"]], 4.0)
    assert [state["state"] for state in found["states"]] == ["paused", "buffering", "paused"]
    assert found["parts"] == []


# ---- The samples that a browser renders. ----

RENDER = """
const [parts, seconds, handOverAt, done] = arguments, rate = 24000;
const context = new OfflineAudioContext(1, seconds * rate, rate);
const out = new WebAudioOut(context), wave = new SoundLine();
const schedule = new StreamSchedule(out, () => 0);
for (const part of parts) {
  schedule.add("A", part);
  wave.add(part);
}
schedule.play();
if (handOverAt !== null) {
  const samples = wave.samples.slice(0, wave.length).map((x) => x * 0.5);
  const buffer = new AudioBuffer({ length: samples.length, numberOfChannels: 1, sampleRate: rate });
  buffer.copyToChannel(samples, 0);
  const bus = new GainNode(context);
  bus.connect(context.destination);
  const when = schedule.timeOf(handOverAt);
  handOver(out.bus, bus, when);
  out.stop(when + RAMP_S);
  buildGraph(context, { A: buffer, B: buffer }, "A", when, handOverAt, null, bus);
}
context.startRendering().then((made) => done(
  [Array.from(made.getChannelData(0)), Array.from(wave.samples.slice(0, wave.length))]));
"""


def render(page, parts, seconds, hand_over_at):
    played, wanted = page.execute_async_script(
        f"{PLAYER_JS}\n{STREAM_JS}\n{RENDER}", parts, seconds, hand_over_at
    )
    lead = round(0.15 * RATE)
    return np.array(played)[lead:], np.array(wanted)


def test_chromium_renders_the_chunks_as_one_unbroken_wave(page):
    parts = chunks(0.0533, 0.31234, 0.4, 0.40001, 0.7)
    played, wanted = render(page, parts, 3, None)
    np.testing.assert_allclose(played[: len(wanted)], wanted, atol=1e-6)
    assert np.abs(played[len(wanted) :]).max() == 0


def test_the_finished_clip_takes_over_at_the_same_sample_within_a_second(page):
    """At half the level: what is heard is the wave times a gain that goes from 1 to 0.5."""
    played, wanted = render(page, chunks(1.0, 1.0, 1.0, 1.0), 5, 1.5)
    gain = np.interp(np.arange(len(wanted)) / RATE, [1.5, 2.5], [1.0, 0.5])
    np.testing.assert_allclose(played[: len(wanted)], wanted * gain, atol=2e-5)


def test_the_messages_of_the_server_are_what_the_line_reads(page):
    import torch

    from simba_music.audio import Waveform
    from simba_music.generation.clip import AudioChunk
    from simba_music.generation.streaming.sound import message, playable

    wave = Waveform(0.3 * torch.sin(torch.arange(4800) / 20)[None], RATE)
    sent = json.loads(json.dumps(message(AudioChunk("left", 0, 0, 0, wave, True), "A")))
    script = """
      const line = new SoundLine();
      line.add(arguments[0]);
      return [Array.from(line.samples), line.length, line.rate, line.complete];
    """
    samples, length, rate, complete = run(page, script, sent)
    assert (length, rate, complete) == (4800, RATE, True)
    np.testing.assert_allclose(samples, playable(wave).samples[0], atol=1 / 32767)
