"""Both sides at once: the same tokens, each side's own order, and no thread is left behind."""

import threading
import time

import pytest
import torch

from simba_music.generation.clip import AudioChunk, Clip, Progress
from simba_music.generation.engines.reference import ReferenceEngine
from simba_music.generation.pipeline import Pipeline
from simba_music.generation.request import SIDES
from simba_music.generation.streaming import threads
from simba_music.generation.streaming.threads import interleaved, usable_cores

SETTINGS = {"prompt": "calm piano", "duration_s": 2.5, "seed": 7}


@pytest.fixture
def cores(monkeypatch):
    """Says to the pipeline how many cores there are."""

    def say(count):
        monkeypatch.setattr("simba_music.generation.pipeline.usable_cores", lambda: count)

    say(2)
    return say


def side_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("side-")]


def of_side(events, side):
    return [event for event in events if event.side == side]


def in_time(events):
    """What is equal from run to run of one side's events."""
    return [(type(e), e.take, getattr(e, "frames", getattr(e, "seq", None))) for e in events]


@pytest.mark.parametrize("takes", [1, 2])
def test_tokens_scores_and_order_are_those_of_one_after_the_other(
    pipeline, cores, monkeypatch, takes
):
    request = pipeline.validate(**SETTINGS, takes=takes)
    together = list(pipeline.generate(request, stream=True))
    monkeypatch.setenv("SIMBA_MUSIC_AT_ONCE", "0")
    apart = list(pipeline.generate(request, stream=True))
    for side in SIDES:
        found, wanted = of_side(together, side), of_side(apart, side)
        assert in_time(found) == in_time(wanted)
        pairs = [(f, w) for f, w in zip(found, wanted, strict=True) if isinstance(f, Clip)]
        assert [clip.take for clip, _ in pairs] == list(range(takes))
        for clip, alone in pairs:
            assert torch.equal(clip.codes, alone.codes)
            assert torch.equal(clip.waveform.samples, alone.waveform.samples)
            assert (clip.score, clip.recipe) == (alone.score, alone.recipe)
    assert not side_threads()


class Meeting:
    """An engine whose first step of a run waits until the other side's has begun too."""

    def __init__(self, inner, barrier):
        self.inner, self.barrier = inner, barrier

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def prefill(self, given, steps):
        self.barrier.wait(20)  # raises if the other side never comes
        return self.inner.prefill(given, steps)


class Only:
    """Engines of a model of which there is one."""

    on_gpu = False

    def __init__(self, engine):
        self.engine = engine

    def problem(self, name, dtype):
        return ""

    def get(self, name, dtype):
        return self.engine


def held(pipeline, engine_of):
    """A pipeline whose engines are replaced."""
    sides = {}
    for side, model in pipeline.models.items():
        own = type(model)(model.origin, model.lm, model.encoder, model.codec)
        own.__dict__["engines"] = Only(engine_of(ReferenceEngine(model.lm)))
        sides[side] = own
    return Pipeline(sides, None)


def test_the_sides_run_at_the_same_time(pipeline, cores):
    barrier = threading.Barrier(2)
    both = held(pipeline, lambda engine: Meeting(engine, barrier))
    events = list(both.generate(both.validate(**SETTINGS)))
    assert {e.side for e in events if isinstance(e, Clip)} == set(SIDES)


@pytest.mark.parametrize("reason", ["setting", "one core", "two threads each", "cuda"])
def test_otherwise_they_run_one_after_the_other(pipeline, cores, monkeypatch, reason):
    request = pipeline.validate(**SETTINGS)
    assert pipeline.at_once() and not pipeline.at_once(("left",))
    if reason == "setting":
        monkeypatch.setenv("SIMBA_MUSIC_AT_ONCE", "0")
    elif reason == "one core":
        cores(1)
    elif reason == "two threads each":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    else:
        assert not Pipeline(pipeline.models, None, "cuda").at_once()
        return
    assert not pipeline.at_once()
    sides = [event.side for event in pipeline.generate(request)]
    assert sides == sorted(sides) and set(sides) == set(SIDES)


@pytest.mark.fault("G1", "closing cancels both sides within a block")
def test_closing_cancels_both_within_a_block(pipeline, cores):
    blocks = []

    class Counting(Meeting):
        def prefill(self, given, steps):
            return self.inner.prefill(given, steps)

        def decode_n(self, *arguments):
            blocks.append(closing.is_set())
            return self.inner.decode_n(*arguments)

    closing = threading.Event()
    both = held(pipeline, lambda engine: Counting(engine, None))
    events = both.generate(both.validate(**SETTINGS | {"duration_s": 30.0}))
    next(events)
    closing.set()
    events.close()
    assert not side_threads()
    assert sum(blocks) <= 2  # of 300: at most the one that each was about to begin
    with pytest.raises(StopIteration):
        next(events)


@pytest.mark.fault("G1", "closing cancels a single side")
def test_closing_a_single_side_cancels_too(pipeline):
    events = pipeline.generate(pipeline.validate(**SETTINGS | {"duration_s": 30.0}), ("left",))
    next(events)
    events.close()
    with pytest.raises(StopIteration):
        next(events)


def test_a_stop_ends_both_takes_as_they_are_and_begins_no_more(pipeline, cores):
    stop = threading.Event()
    clips = []
    request = pipeline.validate(**SETTINGS | {"duration_s": 30.0}, takes=2)
    for event in pipeline.generate(request, should_stop=stop.is_set, stream=True):
        if isinstance(event, Progress) and event.frames >= 50:
            stop.set()
        clips += [event] if isinstance(event, Clip) else []
    assert clips and all(clip.take == 0 and clip.stopped_early for clip in clips)
    assert all(clip.codes.shape[-1] < 1500 for clip in clips) and not side_threads()


@pytest.mark.fault("G4", "a side that fails ends the other and the caller gets the error")
def test_an_error_of_one_side_reaches_the_caller_and_ends_the_other(pipeline, cores):
    made = []

    class Failing(Meeting):
        def prefill(self, given, steps):
            return self.inner.prefill(given, steps)

        def decode_n(self, *arguments):
            made.append(self.inner)
            if self.inner.lm is pipeline.models["right"].lm and len(made) > 6:
                raise FloatingPointError("NaN logits")
            return self.inner.decode_n(*arguments)

    both = held(pipeline, lambda engine: Failing(engine, None))
    with pytest.raises(FloatingPointError, match="NaN logits"):
        list(both.generate(both.validate(**SETTINGS | {"duration_s": 30.0})))
    assert not side_threads()
    count = len(made)
    time.sleep(0.2)
    assert len(made) == count < 300


def test_one_model_on_both_sides_is_no_trouble(pipeline, system, cores):
    twice = pipeline.with_models(str(system / "simba"), str(system / "simba"))
    clips = [e for e in twice.generate(twice.validate(**SETTINGS)) if isinstance(e, Clip)]
    assert len(clips) == 2 and torch.equal(clips[0].codes, clips[1].codes)


def test_the_time_of_a_side_is_its_own(pipeline, cores):
    """What the other side takes after it, or whoever reads the events, is not in it."""
    left_is_done = threading.Event()

    class Slow(Meeting):
        def prefill(self, given, steps):
            return self.inner.prefill(given, steps)

        def decode_n(self, *arguments):
            if self.inner.lm is pipeline.models["right"].lm:
                assert left_is_done.wait(60)
            return self.inner.decode_n(*arguments)

    both, clips = held(pipeline, lambda engine: Slow(engine, None)), {}
    for event in both.generate(both.validate(**SETTINGS)):
        if isinstance(event, Clip):
            clips[event.side] = event
            time.sleep(0.5)
            left_is_done.set()
    assert list(clips) == ["left", "right"]
    assert clips["right"].seconds > clips["left"].seconds + 0.4


def test_items_come_from_all_and_in_the_order_of_each():
    def count(name):
        for i in range(200):
            yield name, i

    found = list(interleaved([lambda: count("a"), lambda: count("b"), lambda: iter(())]))
    for name in "ab":
        assert [i for own, i in found if own == name] == list(range(200))


def test_a_thread_of_a_side_uses_as_many_cores_as_torch_was_given(monkeypatch):
    asked = []
    monkeypatch.setattr(
        threads.torch, "get_num_threads", lambda: asked.append(threading.current_thread().name)
    )
    list(interleaved([lambda: iter([1]), lambda: iter([2])]))
    assert sorted(asked) == ["side-0", "side-1"]


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("100000 100000", 1), ("50000 100000", 1), ("max 100000", None), ("", None)],
)
def test_the_quota_of_a_container_is_obeyed(tmp_path, quota, cores):
    file = tmp_path / "cpu.max"
    file.write_text(quota + "\n")
    free = usable_cores(tmp_path / "none")
    assert free >= 1 and usable_cores(file) == (free if cores is None else cores)


def test_sound_of_both_sides_comes_before_either_is_done(pipeline, cores):
    request = pipeline.validate(**SETTINGS | {"duration_s": 10.0})
    events = list(pipeline.generate(request, stream=True))
    done = min(i for i, event in enumerate(events) if isinstance(event, Clip))
    heard = {event.side for event in events[:done] if isinstance(event, AudioChunk)}
    assert heard == set(SIDES)
