"""Every engine agrees with the reference, for every model there can be."""

import itertools

import pytest
import torch
from conftest import CODES, lm_config, random_lm
from model_checks import codes, given

from simba_music.conditioning.types import TextEmbedding
from simba_music.errors import EngineError
from simba_music.generation.engines.compiled import CompiledEngine
from simba_music.generation.engines.graph.engine import GraphEngine
from simba_music.generation.engines.packed import PackedEngine
from simba_music.generation.engines.reference import ReferenceEngine
from simba_music.generation.sampling import Sampling, draw_noise
from simba_music.models.codebook_pattern import pattern
from simba_music.models.lm import NO_CODE

BACKBONES = {
    "transformer": {"backbone": "transformer"},
    "transformer with sinusoids": {"backbone": "transformer", "positions": "sinusoidal"},
    "simba": {"backbone": "simba"},
    "simba with EinFFT": {"backbone": "simba", "mixer": "einfft"},
    "mamba": {"backbone": "mamba", "mixer": "none"},
}
SIZES = (CODES, 40, 24, 40)  # codes of four books, of which the first has most
MODELS = list(itertools.product(BACKBONES, ("prefix", "cross"), (1, 4)))
ENGINES = {"compiled": CompiledEngine, "packed": PackedEngine, "graph": GraphEngine}


def model(name, conditioning="prefix", books=1, **changes):
    layout = "single" if books == 1 else "delay"
    found = BACKBONES[name] | {"conditioning": conditioning, "n_codebooks": books}
    return random_lm(lm_config(**found | {"codebook_pattern": layout} | changes))


def sized(name, conditioning="prefix"):
    """A model of four books that have `SIZES` codes."""
    codec = lm_config("simba").codec.model_dump() | {"codes_per_book": SIZES}
    return model(name, conditioning, 4, codec=codec)


def of_rows(lm, frames, null):
    """Conditions of as many rows as `null` has, with texts of 6 tokens or, as 3, of 2, 5 and 6."""
    text = TextEmbedding(torch.randn(len(null), 6, 384), torch.ones(len(null), 6, dtype=bool))
    total_s = tuple(10.0 + row for row in range(len(null)))
    return given(lm, frames, null=null, text=None if len(null) == 3 else text, total_s=total_s)


def agreed(engine, lm, rows=(False, False, True)):
    """Largest difference from the reference's teacher-forced logits, which are of order 1."""
    torch.manual_seed(1)
    conditions, tokens = of_rows(lm, 40, rows), codes(len(rows), lm.config.n_codebooks, 40)
    found = []
    for one in (ReferenceEngine(lm), engine):
        plane, state = one.plane(conditions), one.prefill(conditions, 40)
        found.append(one.logits(state, tokens, plane))
    assert found[0].std() > 0.1
    return float((found[0] - found[1]).abs().max())


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("name", "conditioning", "books"), MODELS)
def test_logits_are_those_of_the_reference(engine, name, conditioning, books):
    lm = model(name, conditioning, books)
    assert agreed(ENGINES[engine](lm), lm) < 1e-4


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["transformer", "simba"])
def test_books_of_fewer_codes_have_logits_for_these_alone(engine, name):
    lm = sized(name, "cross")
    assert lm.head.weight.shape[0] == sum(SIZES)
    assert agreed(ENGINES[engine](lm), lm) < 1e-4
    one, conditions = ENGINES[engine](lm), of_rows(lm, 5, (False, False, True))
    found = one.logits(one.prefill(conditions, 5), codes(3, 4, 5) % 24, one.plane(conditions))
    for book, size in enumerate(SIZES):
        assert (found[:, book, :, size:] == NO_CODE).all()
        assert found[:, book, :, :size].abs().max() < 100


@pytest.mark.parametrize("engine", ["reference", *ENGINES])
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(2.0, 50), Sampling(2.0, 0, 0.999, 3.0)])
def test_no_code_is_drawn_that_its_book_lacks(engine, sampling):
    lm = sized("simba")
    lm.head.weight.zero_()  # all codes are as likely
    one = (ENGINES | {"reference": ReferenceEngine})[engine](lm)
    found = decoded(one, lm, sampling, range(8), 80)
    order, tokens = pattern("delay"), found[..., :80]
    highest = order.revert(tokens).amax((0, 2))
    assert (highest < torch.tensor(SIZES)).all() and (highest > torch.tensor(SIZES) - 4).all()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["transformer", "simba", "simba with EinFFT"])
def test_widths_that_fill_no_panel_and_widths_that_do(engine, name):
    for width, heads in ((96, 3), (64, 2), (40, 2)):
        lm = model(name, "cross" if width % 3 == 0 else "prefix", d_model=width, n_heads=heads)
        assert agreed(ENGINES[engine](lm), lm, (False,) * 5 if width == 64 else (True,)) < 1e-4


def decoded(engine, lm, sampling, seeds=(3, 4), steps=24, cuts=(0, 24)):
    """Tokens `[B, K, n]`, and the state after them, decoded from cut to cut."""
    rows = (False,) * len(seeds) + (True,) * len(seeds) * sampling.guided
    torch.manual_seed(2)
    conditions = of_rows(lm, steps, rows)
    plane, state = engine.plane(conditions), engine.prefill(conditions, steps)
    order = pattern(lm.config.codebook_pattern)
    active = order.active(lm.config.n_codebooks, 0, steps, steps - lm.config.n_codebooks + 1)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    noise = draw_noise(generators, steps, (lm.config.n_codebooks, CODES))
    parts = []
    for start, end in itertools.pairwise(cuts):
        tokens, state = engine.decode_n(
            state, plane[:, start:end], noise[start:end], active[:, start:end], sampling
        )
        parts.append(tokens)
    return torch.cat(parts, -1)


SAMPLINGS = {
    "plain": Sampling(),
    "guided": Sampling(guidance=3.0),
    "greedy": Sampling(temperature=0.0, guidance=2.0),
    "top-k": Sampling(temperature=0.8, top_k=5, guidance=3.0),
    "top-p": Sampling(temperature=1.2, top_p=0.7),
    "both": Sampling(top_k=20, top_p=0.9, guidance=1.5),
    "more than all": Sampling(top_k=1000, top_p=1e-6),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize(("name", "books"), [("transformer", 1), ("simba", 4)])
def test_codes_are_those_of_the_reference(engine, sampling, name, books):
    lm = model(name, books=books)
    sampling = SAMPLINGS[sampling]
    wanted = decoded(ReferenceEngine(lm), lm, sampling)
    assert torch.equal(decoded(ENGINES[engine](lm), lm, sampling), wanted)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("sampling", ["plain", "greedy", "both"])
def test_codes_of_books_of_other_sizes_are_those_of_the_reference(engine, sampling):
    lm, sampling = sized("simba"), SAMPLINGS[sampling]
    wanted = decoded(ReferenceEngine(lm), lm, sampling)
    assert torch.equal(decoded(ENGINES[engine](lm), lm, sampling), wanted)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["transformer", "simba"])
def test_blocks_of_any_size_decode_the_same(engine, name):
    lm = model(name)
    one = ENGINES[engine](lm)
    whole = decoded(one, lm, Sampling(guidance=2.0), (3,))
    cut = decoded(one, lm, Sampling(guidance=2.0), (3,), cuts=(0, 1, 2, 9, 24))
    assert torch.equal(whole, cut)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["transformer", "simba"])
def test_logits_leave_the_state_as_it_was(engine, name):
    lm = model(name)
    one, conditions, tokens = ENGINES[engine](lm), given(lm, 8), codes(3, 1, 8)
    state = one.prefill(conditions, 8)
    first = one.logits(state, tokens, one.plane(conditions))
    assert torch.equal(one.logits(state, tokens, one.plane(conditions)), first)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_damaged_weight_is_an_error_and_no_sound(engine):
    lm = model("simba")
    lm.backbone.blocks[0].mixer.out_proj.weight[3, 3] = float("nan")
    with pytest.raises(FloatingPointError, match="damaged"):
        decoded(ENGINES[engine](lm), lm, Sampling(top_k=5))


@pytest.mark.parametrize("made", ENGINES.values(), ids=ENGINES)
def test_a_cache_that_is_too_short_is_an_error(made):
    lm = model("transformer")
    engine, conditions = made(lm), given(lm, 80)
    state = engine.prefill(conditions, 8)
    with pytest.raises(ValueError, match="KV cache holds"):
        engine.logits(state, codes(3, 1, 80), engine.plane(conditions))


@pytest.mark.compiled
@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize("name", BACKBONES)
def test_fewer_bits_change_logits_a_little(dtype, name):
    lm = model(name, "cross")
    found = agreed(CompiledEngine(lm, dtype), lm)
    assert 1e-4 < found < 0.5


def test_no_engine_for_what_it_cannot_run():
    lm = model("simba")
    with pytest.raises(EngineError, match="float32, int8, bfloat16"):
        CompiledEngine(lm, "float16")
    for made in ENGINES.values():
        with pytest.raises(EngineError, match="on meta"):
            made(lm.to("meta"))
