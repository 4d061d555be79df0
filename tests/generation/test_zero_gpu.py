"""ZeroGPU: one call for both models, nothing but what can be pickled, a duration that is enough."""

import pickle
import sys
from types import SimpleNamespace

import pytest

from simba_music.generation.clip import Clip
from simba_music.generation.zero_gpu import LONGEST_S, SHORTEST_S, seconds_needed
from simba_music.ui.blind import PairMaker
from simba_music.ui.compare import Runner, Stops


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


def run(pipeline, tmp_path, stops=None, duration_s=2.0):
    runner = Runner(pipeline, stops or Stops())
    names = [pipeline.models[side].origin.id for side in ("left", "right")]
    return runner, runner.run(
        *names, {"prompt": "calm piano", "duration_s": duration_s, "seed": 5}, "session", tmp_path
    )


def test_both_models_run_in_one_call_and_give_the_same_clips(pipeline, tmp_path, calls):
    request = pipeline.validate(prompt="calm piano", duration_s=2.0, seed=5)
    expected = [e.recipe for e in pipeline.generate(request) if isinstance(e, Clip)]
    _, steps = run(pipeline, tmp_path)
    changes = list(steps)
    assert len(calls) == 1 and SHORTEST_S <= calls[0] <= LONGEST_S
    paths = [path for _, change in changes for _, path in change.values() if path]
    assert len(paths) == len(expected) == 2
    assert all(recipe["request"]["seed"] == 5 for recipe in expected)


def test_stop_reaches_the_other_process_and_keeps_what_was_made(pipeline, tmp_path, calls):
    stops = Stops()
    _, steps = run(pipeline, tmp_path, stops, duration_s=10.0)
    texts = []
    for _, change in steps:
        texts += [card for card, _ in change.values()]
        if "tokens/s, about" in texts[-1]:
            stops.request("session")
    assert any("Stopped early" in text for text in texts)
    assert any("Stopped before it began" in text for text in texts)


def test_the_duration_follows_length_and_measured_speed(pipeline, tmp_path, calls):
    assert seconds_needed(1000, 100) < seconds_needed(2000, 100) < seconds_needed(2000, 50)
    assert seconds_needed(10, 1e6) == SHORTEST_S and seconds_needed(10**6, 1) == LONGEST_S
    runner, steps = run(pipeline, tmp_path)
    before = runner.tokens_per_s
    list(steps)
    assert runner.tokens_per_s != before
    _, steps = run(pipeline, tmp_path, duration_s=30.0)
    next(steps)
    next(steps)
    steps.close()
    assert calls[1] > calls[0]


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
