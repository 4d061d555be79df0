"""Requests that are stepped together: the same codes in any company, seats that are freed."""

import threading
import time

import pytest
import torch
from conftest import lm_config, random_lm

from simba_music.conditioning.request import Request
from simba_music.conditioning.types import TextEmbedding
from simba_music.generation.clip import Clip
from simba_music.generation.decoding import generate
from simba_music.generation.engines.choice import EngineChoice
from simba_music.generation.engines.graph.engine import GraphEngine
from simba_music.generation.engines.reference import ReferenceEngine
from simba_music.generation.pipeline import Pipeline
from simba_music.generation.recipe import engine_choice
from simba_music.generation.streaming.scheduler import Scheduler

KINDS = {
    "simba": {"backbone": "simba"},
    "transformer": {"backbone": "transformer"},
    "transformer, cross, 4 books": {
        "backbone": "transformer",
        "conditioning": "cross",
        "n_codebooks": 4,
        "codebook_pattern": "delay",
    },
}


class Encoder:
    """Text states that depend on the prompt alone, as long as it has words."""

    def encode(self, prompts):
        longest = max(len(prompt.split()) for prompt in prompts)
        states, mask = torch.zeros(len(prompts), longest, 384), torch.zeros(len(prompts), longest)
        for row, prompt in enumerate(prompts):
            count = len(prompt.split())
            random = torch.Generator().manual_seed(len(prompt))
            states[row, -count:] = torch.randn(count, 384, generator=random)
            mask[row, -count:] = 1
        return TextEmbedding(states, mask.bool())


def request(prompt="calm piano", duration_s=0.9, seed=1, **settings):
    return Request(prompt, duration_s, seed=seed, **settings)


OTHERS = [
    request("loud drums and a bass", 0.5, 2, temperature=0.7, top_k=5),
    request("flute", 1.3, 3, guidance=1.0),
    request("slow and sad strings at night", 0.7, 4, top_p=0.9),
]


@pytest.fixture(params=KINDS)
def lm(request):
    return random_lm(lm_config(**KINDS[request.param]))


def codes(blocks):
    return torch.cat(list(blocks), -1)


def together(scheduler, requests, pause_s=0.0):
    """Codes of all, each asked for by a thread of its own."""
    found = [torch.empty(0)] * len(requests)

    def read(i):
        found[i] = codes(scheduler.generate(requests[i]))

    threads = [threading.Thread(target=read, args=(i,)) for i in range(len(requests))]
    for thread in threads:
        thread.start()
        time.sleep(pause_s)
    for thread in threads:
        thread.join()
    return found


@pytest.mark.fault("G2", "codes are the same alone and in any company")
def test_codes_are_the_same_alone_and_in_any_company(lm):
    engine = GraphEngine(lm)
    mine = request()
    alone = codes(Scheduler(engine, Encoder(), 4).generate(mine))
    for company in ([mine, *OTHERS], [*OTHERS, mine], [OTHERS[1], mine]):
        found = together(Scheduler(engine, Encoder(), 4), company, pause_s=0.05)
        assert torch.equal(found[company.index(mine)], alone)


def test_they_are_those_of_the_reference(lm):
    wanted = [codes(generate(ReferenceEngine(lm), lm.config, Encoder(), [r])) for r in OTHERS]
    found = together(Scheduler(GraphEngine(lm), Encoder(), 4), OTHERS)
    assert [w.shape for w in wanted] == [f.shape for f in found]
    assert all(torch.equal(w, f) for w, f in zip(wanted, found, strict=True))


def test_more_than_there_are_slots_for_wait_their_turn():
    lm = random_lm(lm_config("simba"))
    scheduler, ended = Scheduler(GraphEngine(lm), Encoder(), 2), []

    def read(i):
        codes(scheduler.generate(request(seed=i)))
        ended.append(i)

    threads = [threading.Thread(target=read, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
        time.sleep(0.02)
    for thread in threads:
        thread.join()
    assert [set(ended[i : i + 2]) for i in (0, 2, 4)] == [{0, 1}, {2, 3}, {4, 5}]
    assert scheduler.seated == 0


@pytest.mark.fault("G1", "closing frees the slot, and the others go on")
def test_closing_frees_the_slot_within_a_chunk_and_the_others_go_on():
    lm = random_lm(lm_config("simba"))
    engine = GraphEngine(lm)
    scheduler = Scheduler(engine, Encoder(), 1)
    first, second = scheduler.generate(request(duration_s=20.0)), request(seed=9)
    next(first)
    found = []
    waiting = threading.Thread(target=lambda: found.append(codes(scheduler.generate(second))))
    waiting.start()
    assert scheduler.seated == 1
    first.close()
    waiting.join(20)
    assert torch.equal(found[0], codes(Scheduler(engine, Encoder(), 1).generate(second)))


def test_no_thread_is_left_when_nobody_is():
    lm = random_lm(lm_config("simba"))
    scheduler = Scheduler(GraphEngine(lm), Encoder(), 2)
    codes(scheduler.generate(request()))
    for _ in range(100):
        if not any(thread.name == "scheduler" for thread in threading.enumerate()):
            return
        time.sleep(0.02)
    raise AssertionError("a thread is left")


def test_a_damaged_model_is_an_error_for_who_asked():
    lm = random_lm(lm_config("simba"))
    lm.backbone.blocks[0].mixer.out_proj.weight[3, 3] = float("nan")
    with pytest.raises(FloatingPointError, match="damaged"):
        codes(Scheduler(GraphEngine(lm), Encoder(), 2).generate(request()))


@pytest.mark.fault("G4", "the thread of a scheduler fails: all who wait are told")
def test_what_fails_in_a_step_reaches_all_who_wait(monkeypatch):
    engine = GraphEngine(random_lm(lm_config("simba")))

    def fails(*arguments):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(engine, "step", fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        codes(Scheduler(engine, Encoder(), 2).generate(request()))


def test_the_service_steps_requests_together_and_the_recipe_says_so(system):
    paths = (str(system / "simba"), str(system / "transformer"))
    choice = EngineChoice("graph", slots=3)
    pipeline = Pipeline.load(*paths, None, "cpu", choice=choice)
    requests = [pipeline.validate(prompt="x", duration_s=2.0, seed=seed) for seed in (1, 2)]
    batch = pipeline.generate_batch(requests, "left")
    for request_, clip in zip(requests, batch, strict=True):
        (alone,) = (e for e in pipeline.generate(request_, ("left",)) if isinstance(e, Clip))
        assert torch.equal(alone.codes, clip.codes)
        assert (clip.recipe.engine, clip.recipe.slots) == ("graph", 3)
        assert engine_choice(clip.recipe) == choice
    stopped = pipeline.generate(requests[0], ("left",), should_stop=lambda: True)
    assert not list(stopped)
