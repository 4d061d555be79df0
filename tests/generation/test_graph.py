"""The graph engine's buffers: rows that do not touch each other, and nothing that is left over."""

import pytest
import torch
from conftest import CODES, lm_config, random_lm
from model_checks import codes, given

from simba_music.conditioning.types import TextEmbedding
from simba_music.errors import EngineError
from simba_music.generation.engines.choice import EngineChoice, Engines, engine_of, now
from simba_music.generation.engines.graph.buffers import Buffers, Size, bucket
from simba_music.generation.engines.graph.draw import drawn
from simba_music.generation.engines.graph.engine import GraphEngine
from simba_music.generation.engines.graph.making import capture_problem, make, wrong_draws
from simba_music.generation.engines.reference import ReferenceEngine
from simba_music.generation.sampling import Sampling, draw_noise, sample
from simba_music.settings import settings

STEPS = 12
EACH = pytest.mark.parametrize("backbone", ["simba", "transformer"])


def of_rows(lm, rows):
    """Conditions of so many rows."""
    torch.manual_seed(2)
    text = TextEmbedding(torch.randn(rows, 6, 384), torch.ones(rows, 6, dtype=torch.bool))
    return given(lm, STEPS, text=text, null=(False,) * rows, total_s=(10.0,) * rows)


def decoded(engine, lm, seeds, sampling=Sampling(top_k=20)):  # noqa: B008
    found = of_rows(lm, len(seeds))
    plane, state = engine.plane(found), engine.prefill(found, STEPS)
    noise = draw_noise([torch.Generator().manual_seed(s) for s in seeds], STEPS, (1, CODES))
    active = torch.ones(1, STEPS, dtype=torch.bool)
    return engine.decode_n(state, plane, noise, active, sampling)[0]


@EACH
def test_buffers_are_used_again_and_begin_empty(backbone):
    engine = GraphEngine(lm := random_lm(lm_config(backbone)))
    first = decoded(engine, lm, (5,))
    (runner,) = next(iter(engine._free.values()))
    decoded(engine, lm, (6,))
    assert torch.equal(decoded(engine, lm, (5,)), first)
    assert engine._free[runner.buffers.size] == [runner]


@EACH
def test_two_states_at_once_have_buffers_of_their_own(backbone):
    engine = GraphEngine(lm := random_lm(lm_config(backbone)))
    found = of_rows(lm, 1)
    tokens = codes(1, 1, STEPS)
    first, second = engine.prefill(found, STEPS), engine.prefill(found, STEPS)
    wanted = engine.logits(first, tokens, engine.plane(found))
    assert torch.equal(engine.logits(second, tokens, engine.plane(found)), wanted)
    assert first.runner is not second.runner


@EACH
def test_bfloat16_is_near_and_is_not_the_same(backbone):
    lm = random_lm(lm_config(backbone))
    found, tokens = given(lm, STEPS), codes(3, 1, STEPS)
    wanted, near = (
        one.logits(one.prefill(found, STEPS), tokens, one.plane(found))
        for one in (ReferenceEngine(lm), GraphEngine(lm, "bfloat16"))
    )
    error = float((wanted - near).abs().max() / wanted.abs().max())
    assert 1e-5 < error < 2e-2


@torch.inference_mode()
def test_a_damaged_row_leaves_nothing_behind():
    lm = random_lm(lm_config("transformer"))
    engine = GraphEngine(lm)
    sound = decoded(engine, lm, (5,))
    (runner,) = next(iter(engine._free.values()))
    for kept in (*runner.buffers.keys, *runner.buffers.values):
        kept.fill_(float("nan"))
    assert torch.equal(decoded(engine, lm, (5,)), sound)


def test_settings_of_a_row_are_its_own():
    lm, rows = random_lm(lm_config("simba")), 4
    settings_of = [
        Sampling(),
        Sampling(0.7, 5),
        Sampling(temperature=0.0),
        Sampling(1.3, 20, 0.6),
    ]
    buffers = Buffers(lm.config, Size(rows, False, nucleus=True), torch.device("cpu"), torch.float)
    for row, one in enumerate(settings_of):
        buffers.set_sampling(one, [row])
    torch.manual_seed(0)
    logits, noise = torch.randn(rows, 1, CODES), torch.empty(rows, 1, CODES).exponential_()
    found = drawn(logits, noise, buffers)
    for row, one in enumerate(settings_of):
        own = slice(row, row + 1)
        assert torch.equal(found[own], sample(logits[own], noise[own], one))


def test_few_sizes_are_made():
    assert [bucket(n, 256) for n in (0, 1, 256, 257)] == [0, 256, 256, 512]


def test_it_runs_on_a_cpu_when_it_is_asked_for_and_is_not_chosen_there():
    lm = random_lm(lm_config("simba"))
    assert engine_of(lm, "graph").name == "graph"
    assert now([Engines(lm)], EngineChoice("graph")) == "graph"
    assert now([Engines(lm)], EngineChoice()) != "graph"
    engine = make(lm, "float32")
    assert (engine.kernels, capture_problem(engine), wrong_draws(engine)) == ("torch", "", "")
    assert settings().weights == "float32"


def test_int8_is_refused():
    with pytest.raises(EngineError, match="float32, bfloat16"):
        engine_of(random_lm(lm_config("simba")), "graph", "int8")
