"""Requests that are stepped together: the same codes in any company, seats that are freed."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
from conftest import lm_config, random_lm

from simba_music.conditioning.request import Request
from simba_music.conditioning.types import TextEmbedding
from simba_music.generation.clip import Clip
from simba_music.generation.decoding import generate
from simba_music.generation.engines import choice
from simba_music.generation.engines.choice import EngineChoice
from simba_music.generation.engines.compiled import CompiledEngine
from simba_music.generation.engines.compiled_slots import CompiledSlots
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


class Ready:
    """Kernels that are there: the test itself compiles them, in this process."""

    kept = False

    def problem(self):
        return ""

    def start(self):
        pass

    wait = start


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


ENGINES = {"graph": GraphEngine, "compiled": CompiledEngine}


@pytest.fixture(params=KINDS)
def lm(request):
    return random_lm(lm_config(**KINDS[request.param]))


@pytest.fixture(params=ENGINES)
def made(request):
    return ENGINES[request.param]


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
def test_codes_are_the_same_alone_and_in_any_company(made, lm):
    engine, mine = made(lm), request()
    alone = codes(Scheduler(engine, Encoder(), 4).generate(mine))
    for company in ([mine, *OTHERS], [*OTHERS, mine], [OTHERS[1], mine]):
        found = together(Scheduler(engine, Encoder(), 4), company, pause_s=0.05)
        assert torch.equal(found[company.index(mine)], alone)


def test_they_are_those_of_the_reference(made, lm):
    wanted = [codes(generate(ReferenceEngine(lm), lm.config, Encoder(), [r])) for r in OTHERS]
    found = together(Scheduler(made(lm), Encoder(), 4), OTHERS)
    assert [w.shape for w in wanted] == [f.shape for f in found]
    assert all(torch.equal(w, f) for w, f in zip(wanted, found, strict=True))


def test_more_than_there_are_slots_for_wait_their_turn(made):
    lm = random_lm(lm_config("simba"))
    scheduler, ended = Scheduler(made(lm), Encoder(), 2), []

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
def test_closing_frees_the_slot_within_a_chunk_and_the_others_go_on(made):
    lm = random_lm(lm_config("simba"))
    engine = made(lm)
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


def gone(name):
    """Whether no thread of that name is left after a moment."""
    for _ in range(100):
        if not any(thread.name.startswith(name) for thread in threading.enumerate()):
            return True
        time.sleep(0.02)
    return False


def test_no_thread_is_left_when_nobody_is(made):
    lm = random_lm(lm_config("simba"))
    scheduler = Scheduler(made(lm), Encoder(), 2)
    codes(scheduler.generate(request()))
    assert gone("scheduler")


def test_a_damaged_model_is_an_error_for_who_asked(made):
    lm = random_lm(lm_config("simba"))
    lm.backbone.blocks[0].mixer.out_proj.weight[3, 3] = float("nan")
    with pytest.raises(FloatingPointError, match="damaged"):
        codes(Scheduler(made(lm), Encoder(), 2).generate(request()))


@pytest.mark.fault("G4", "the thread of a scheduler fails: all who wait get the error")
def test_what_fails_in_a_step_reaches_all_who_wait(monkeypatch):
    engine = GraphEngine(random_lm(lm_config("simba")))

    def fails(*arguments):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(engine, "step", fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        codes(Scheduler(engine, Encoder(), 2).generate(request()))


def test_the_service_steps_requests_together_and_the_recipe_says_so(system):
    paths = (str(system / "simba"), str(system / "transformer"))
    asked = EngineChoice("graph", slots=3)
    pipeline = Pipeline.load(*paths, None, "cpu", choice=asked)
    requests = [pipeline.validate(prompt="x", duration_s=2.0, seed=seed) for seed in (1, 2)]
    batch = pipeline.generate_batch(requests, "left")
    for request_, clip in zip(requests, batch, strict=True):
        (alone,) = (e for e in pipeline.generate(request_, ("left",)) if isinstance(e, Clip))
        assert torch.equal(alone.codes, clip.codes)
        assert (clip.recipe.engine, clip.recipe.slots) == ("graph", 3)
        assert engine_choice(clip.recipe) == asked
    stopped = pipeline.generate(requests[0], ("left",), should_stop=lambda: True)
    assert not list(stopped)


def test_longer_requests_that_join_later_leave_the_others_as_they_were():
    lm = random_lm(lm_config(**KINDS["transformer, cross, 4 books"]))
    engine, requests = CompiledEngine(lm), [request(duration_s=4.0), request("a " * 40, 8.0, 5)]
    wanted = [codes(generate(engine, lm.config, Encoder(), [r])) for r in requests]
    found = together(Scheduler(engine, Encoder(), 2), requests, pause_s=0.05)
    assert all(torch.equal(w, f) for w, f in zip(wanted, found, strict=True))


@pytest.mark.parametrize("company", [1, 4, 7])
def test_rows_of_a_block_are_those_of_one_alone(company):
    """Ten rows and more are multiplied eight, two and one at a time."""
    lm = random_lm(lm_config("simba", "einfft", d_model=96, n_heads=3))
    engine, mine = CompiledEngine(lm), request(duration_s=0.5)
    others = [request(seed=20 + i, duration_s=0.5) for i in range(company)]
    (alone,) = codes(generate(engine, lm.config, Encoder(), [mine]))
    among = codes(generate(engine, lm.config, Encoder(), [*others, mine]))
    assert torch.equal(among[-1], alone)


@pytest.mark.parametrize("name", ["simba", "transformer"])
def test_workers_change_nothing(monkeypatch, name):
    lm = random_lm(lm_config(name))
    engine, requests = CompiledEngine(lm), [request(), *OTHERS]
    wanted = together(Scheduler(engine, Encoder(), 4), requests)
    made = []

    def three_workers(count):
        made.append(CompiledSlots(engine, count, workers=3))
        return made[0]

    monkeypatch.setattr(engine, "slots", three_workers)
    found = together(Scheduler(engine, Encoder(), 4), requests)
    assert all(torch.equal(w, f) for w, f in zip(wanted, found, strict=True))
    assert made and gone("slots")


def test_eight_threads_get_from_the_service_what_they_get_alone(system, monkeypatch):
    paths = (str(system / "simba"), str(system / "transformer"))
    monkeypatch.setattr(choice, "kernels", lambda dtype: Ready())
    pipeline = Pipeline.load(*paths, None, "cpu", choice=EngineChoice("compiled", slots=None))
    apart = Pipeline(pipeline.models, None, choice=EngineChoice("compiled", slots=0))
    requests = [
        pipeline.validate(prompt=f"piano {i}", duration_s=2.0 + i % 3, seed=i) for i in range(8)
    ]

    def clips(service, one):
        return {e.side: e for e in service.generate(one, stream=True) if isinstance(e, Clip)}

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(partial(clips, pipeline), requests))
    assert {key for model in pipeline.models.values() for key in model._schedulers} == {
        ("compiled", "float32", 8)
    }
    for one, pair in zip(requests, found, strict=True):
        alone = clips(apart, one)
        for side in ("left", "right"):
            assert torch.equal(pair[side].codes, alone[side].codes)
            assert pair[side].recipe.slots == 0, "its codes do not depend on them"
        assert engine_choice(pair["left"].recipe) == EngineChoice("compiled")
