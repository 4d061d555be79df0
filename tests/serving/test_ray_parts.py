"""Parts of serving on replicas that need no Ray: groups of messages, what goes on, who waits."""

import threading
import time
from dataclasses import replace

import loops
import pytest
import torch
from ballots import tone

from simba_music.conditioning.request import Request
from simba_music.errors import RequestError, UserError
from simba_music.generation.clip import AudioChunk, Clip, Progress
from simba_music.generation.engines.choice import EngineChoice
from simba_music.generation.request import MAX_SEED
from simba_music.scoring.together import score_together
from simba_music.serving.ray.made import Made, Waiting
from simba_music.serving.ray.plan import Begun, Plan
from simba_music.serving.ray.pump import pumped


def groups_of(begin, left, most=100):
    async def read():
        found = []
        async for group in pumped(begin, left):
            found.append(group)
            if len(found) == most:
                left.set()
                break
        return found

    return loops.run(read())


def test_a_pump_says_something_at_once_and_gives_everything_in_order():
    groups = groups_of(lambda: iter(range(500)), threading.Event())
    assert groups[0] == []
    assert [item for group in groups for item in group] == list(range(500))
    assert len(groups) < 10  # what comes together is one message


def test_a_pump_closes_its_iterator_at_the_next_item_once_nobody_reads():
    closed = threading.Event()

    def begin():
        try:
            for i in range(10_000):
                time.sleep(0.01)
                yield i
        finally:
            closed.set()

    groups_of(begin, threading.Event(), most=2)
    assert closed.wait(1.0)


def test_what_an_iterator_raises_comes_after_what_it_gave():
    def begin():
        yield 1
        raise RequestError("no")

    found = []

    async def read():
        async for group in pumped(begin, threading.Event()):
            found.extend(group)

    with pytest.raises(RequestError, match="no"):
        loops.run(read())
    assert found == [1]


def chunk(take, seq):
    return AudioChunk("left", take, seq, 0, tone(0.1))


def clip(take, side="left"):
    return Clip(side, "simba", take, tone(1.0), torch.zeros(1, 4), None, None, False, 1.0)


def progress(take, frames):
    return Progress("left", "simba", take, frames, 100, 1.0)


def test_after_a_loss_what_was_there_is_left_out_and_finished_takes_are_not_made_again():
    request = Request("calm piano", seed=MAX_SEED, takes=3)
    made = Made({"left": request, "right": replace(request, takes=1)})
    assert made.left() == {"left": request, "right": replace(request, takes=1)}
    made.begin(Begun(("a", "b", "compiled")))
    events = [progress(0, 10), chunk(0, 0), clip(0), clip(0, "right"), progress(1, 10), chunk(1, 0)]
    assert [made.new(event) for event in events] == events
    # The second take is begun again as the first of what is left, by its own seed.
    assert made.left() == {"left": replace(request, seed=0, takes=2)}
    made.begin(Begun(("a", "compiled")))
    assert made.new(progress(0, 10)) is None and made.new(chunk(0, 0)) is None
    assert made.new(progress(0, 20)).take == 1
    assert made.new(chunk(0, 1)).seq == 1
    assert made.new(clip(0)).take == 1
    assert made.new(progress(1, 10)).take == 2


def test_a_run_does_not_go_on_with_other_weights():
    made = Made({"left": Request("calm piano")})
    made.begin(Begun(("a", "compiled")))
    with pytest.raises(RequestError, match="other weights"):
        made.begin(Begun(("b", "compiled")))


def test_places_are_in_the_order_of_coming():
    waiting = Waiting()
    for run in "abc":
        waiting.add(run)
    assert [waiting.place(run) for run in "abc"] == [1, 2, 3]
    waiting.remove("a")
    assert [waiting.place(run) for run in "abc"] == [0, 1, 2]


def test_a_plan_has_replicas_in_the_right_order():
    assert Plan(choice=EngineChoice(slots=8), least=1, most=3).capacity == 24
    with pytest.raises(UserError, match="at least one replica"):
        Plan(least=3, most=2)


def test_scores_of_a_batch_are_those_of_each_clip(pipeline):
    scorer = pipeline.scorer
    clips = [
        (tone(11.0), "calm piano"),
        (tone(0.2), "too short"),
        (tone(11.0, pitch=330.0), "loud drums, fast and with much distortion"),
        (tone(2.0, level=0.3), "flute"),
    ]
    together = score_together(scorer, clips)
    for found, (wave, prompt) in zip(together, clips, strict=True):
        alone = scorer.score(wave, prompt)
        assert found.reason == alone.reason
        assert (found.cosine is None) == (alone.cosine is None)
        if alone.cosine is not None:
            assert found.cosine == pytest.approx(alone.cosine, abs=2e-4)
            assert found.timeline == pytest.approx(alone.timeline, abs=2e-4)
    assert score_together(scorer, clips[1:2])[0].reason is not None
