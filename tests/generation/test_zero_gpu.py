"""ZeroGPU: one call for both models, nothing but what can be pickled, a duration that is enough."""

import pickle
import sys
from types import SimpleNamespace

import pytest
import torch

from simba_music.generation.clip import AudioChunk, Clip, Progress
from simba_music.generation.comparison import Comparison
from simba_music.generation.stops import Stops
from simba_music.generation.zero_gpu import LONGEST_S, SHORTEST_S, ZeroGpu, seconds_needed
from simba_music.listening.typed_pairs import PairMaker


@pytest.fixture
def calls(monkeypatch):
    """A `spaces` that does to a function what ZeroGPU does: everything goes through pickle."""
    made = []

    def gpu(duration):
        def decorate(function):
            def call(*arguments):
                made.append(duration(*arguments))
                for event in function(*pickle.loads(pickle.dumps(arguments))):
                    yield pickle.loads(pickle.dumps(event))

            return call

        return decorate

    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=gpu))
    return made


def run(pipeline, stops=None, duration_s=2.0):
    comparison = Comparison(pipeline, stops or Stops())
    names = [pipeline.models[side].origin.id for side in ("left", "right")]
    raw = {"prompt": "calm piano", "duration_s": duration_s, "seed": 5}
    return comparison, comparison.run(*names, raw, "session")


def test_both_models_run_in_one_call_and_give_the_same_clips(pipeline, calls):
    request = pipeline.validate(prompt="calm piano", duration_s=2.0, seed=5)
    expected = {e.side: e for e in pipeline.generate(request) if isinstance(e, Clip)}
    _, events = run(pipeline)
    found = {event.side: event for event in events if isinstance(event, Clip)}
    assert len(calls) == 1 and SHORTEST_S <= calls[0] <= LONGEST_S
    assert found.keys() == expected.keys() == {"left", "right"}
    for side, wanted in expected.items():
        assert torch.equal(found[side].codes, wanted.codes)
        assert found[side].recipe == wanted.recipe


def test_sound_while_it_is_made_comes_from_the_other_process_too(pipeline, calls):
    comparison = Comparison(pipeline, Stops())
    names = [pipeline.models[side].origin.id for side in ("left", "right")]
    raw = {"prompt": "calm piano", "duration_s": 2.0, "seed": 5}
    events = list(comparison.run(*names, raw, "session", stream=True))
    for side in ("left", "right"):
        own = [e for e in events if isinstance(e, AudioChunk) and e.side == side]
        assert [chunk.seq for chunk in own] == list(range(len(own))) and own[-1].last


def test_stop_reaches_the_other_process_and_keeps_what_was_made(pipeline, calls):
    stops = Stops()
    _, events = run(pipeline, stops, duration_s=10.0)
    clips = []
    for event in events:
        if isinstance(event, Progress):
            stops.request("session")
        clips += [event] if isinstance(event, Clip) else []
    assert clips and all(clip.stopped_early for clip in clips)


def test_the_duration_follows_length_and_measured_speed(pipeline, calls):
    assert seconds_needed(1000, 100) < seconds_needed(2000, 100) < seconds_needed(2000, 50)
    assert seconds_needed(10, 1e6) == SHORTEST_S and seconds_needed(10**6, 1) == LONGEST_S
    comparison, events = run(pipeline)
    before = comparison.place.tokens_per_s
    list(events)
    assert comparison.place.tokens_per_s != before
    _, events = run(pipeline, duration_s=30.0)
    while not isinstance(next(events), Progress):
        pass
    events.close()
    assert calls[1] > calls[0]


def test_a_batch_is_a_call_a_request(pipeline, calls):
    requests = [pipeline.validate(prompt="calm piano", duration_s=2.0, seed=s) for s in (1, 2)]
    found = ZeroGpu(pipeline).of(pipeline).generate_batch(requests, "right")
    assert len(calls) == 2 and [clip.recipe.request.seed for clip in found] == [1, 2]


def test_a_blind_pair_is_written_in_one_call_and_kept_whole(pipeline, base, test, calls):
    steps = list(PairMaker(pipeline, test).make("calm piano"))
    shares, offer = steps[:-1], steps[-1]
    assert shares == sorted(shares) and shares[-1] == 1.0
    pair = test.show_offered(offer, test.listener_id_of(test.new_listener(local=False)))
    assert len(calls) == 1 and pair["prompt"] == "calm piano"
    (battle,) = base.battles("typed")
    assert {side["checkpoint"] for side in battle.sides.values()} == {"simba", "transformer"}
    abandoned = PairMaker(pipeline, test).make("fast drums")
    next(abandoned)
    abandoned.close()
    assert len(base.battles("typed")) == 1
