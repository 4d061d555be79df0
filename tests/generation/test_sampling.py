import pytest
import torch
from conftest import CODES, lm_config, random_lm
from model_checks import given

from simba_music.conditioning.request import Request
from simba_music.generation.decoding import _noises
from simba_music.generation.engines.reference import ReferenceEngine
from simba_music.generation.sampling import (
    Sampling,
    draw_noise,
    guide,
    keep_top_k,
    keep_top_p,
    sample,
)

GUIDED = Sampling(guidance=3.0)


def noise(rows, books, codes, seed=0, count=1):
    """`[n, B, K, V]`; row i has the seed `seed + i`."""
    generators = [torch.Generator().manual_seed(seed + i) for i in range(rows)]
    return draw_noise(generators, count, (books, codes))


def test_temperature_zero_is_greedy():
    logits = torch.tensor([[[0.0, 3.0, 1.0]], [[5.0, 1.0, 2.0]]])
    assert sample(logits, noise(2, 1, 3)[0], Sampling(temperature=0)).tolist() == [[1], [0]]


def test_top_k_one_is_greedy_at_any_temperature():
    logits = torch.randn(4, 2, 50)
    drawn = sample(logits, noise(4, 2, 50)[0], Sampling(temperature=2.0, top_k=1))
    assert torch.equal(drawn, logits.argmax(-1))


@pytest.mark.parametrize("k", [0, 50, 51, 9999])
def test_top_k_of_zero_or_beyond_the_vocabulary_keeps_everything(k):
    logits = torch.randn(2, 50)
    assert torch.equal(keep_top_k(logits, k), logits)


def test_top_p_keeps_at_least_one_and_one_keeps_everything():
    logits = torch.randn(3, 50)
    tiny = keep_top_p(logits, 1e-9)
    assert (tiny > float("-inf")).sum(-1).tolist() == [1, 1, 1]
    assert torch.equal(tiny.argmax(-1), logits.argmax(-1))
    assert torch.equal(keep_top_p(logits, 1.0), logits)


def test_top_p_keeps_the_fewest_that_reach_p():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    assert (keep_top_p(logits, 0.7) > float("-inf")).tolist() == [[True, True, False, False]]
    assert (keep_top_p(logits, 0.81) > float("-inf")).tolist() == [[True, True, True, False]]


def test_guidance_of_one_is_the_conditional():
    conditional, unconditional = torch.randn(2, 9), torch.randn(2, 9)
    torch.testing.assert_close(guide(conditional, unconditional, 1.0), conditional)
    further = guide(conditional, unconditional, 3.0)
    torch.testing.assert_close(further, conditional + 2 * (conditional - unconditional))


def test_draws_follow_the_distribution():
    probabilities = torch.tensor([0.6, 0.3, 0.1, 0.0])
    logits = probabilities.log().expand(4000, 1, 4)
    drawn = sample(logits, noise(4000, 1, 4)[0], Sampling())
    counts = torch.bincount(drawn.flatten(), minlength=4) / 4000
    torch.testing.assert_close(counts, probabilities, atol=0.03, rtol=0)
    assert counts[3] == 0


def test_a_row_depends_on_its_own_generator_only():
    logits = torch.randn(3, 2, 100)
    together = sample(logits, noise(3, 2, 100)[0], Sampling())
    alone = [sample(logits[i : i + 1], noise(1, 2, 100, i)[0], Sampling()) for i in range(3)]
    assert torch.equal(together, torch.cat(alone))


def test_noise_is_the_same_however_steps_are_cut_into_blocks():
    whole = noise(2, 1, 60, count=7)
    generators = [torch.Generator().manual_seed(i) for i in range(2)]
    blocks = [draw_noise(generators, count, (1, 60)) for count in (3, 1, 3)]
    assert whole.shape == (7, 2, 1, 60) and torch.equal(torch.cat(blocks), whole)


def test_requests_of_a_batch_share_their_sampling():
    requests = [Request("a", guidance=2.0), Request("b", guidance=2.0, seed=5)]
    assert Sampling.of(requests) == Sampling(1.0, 100, 1.0, 2.0)
    with pytest.raises(ValueError, match="must share temperature"):
        Sampling.of([*requests, Request("c")])


def test_nan_logits_raise():
    lm = random_lm(lm_config("simba"))
    lm.head.weight[3] = float("nan")
    engine, conditions = ReferenceEngine(lm), given(lm, 2, null=(False, True))
    state = engine.prefill(conditions, 2)
    with pytest.raises(FloatingPointError, match="NaN"):
        everywhere = torch.ones(1, 2, dtype=torch.bool)
        drawn = noise(1, 1, CODES, count=2)
        engine.decode_n(state, engine.plane(conditions), drawn, everywhere, GUIDED)


def test_noise_that_is_drawn_ahead_is_the_same():
    def drawn(ahead):
        generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
        return list(_noises(generators, 23, (1, 8), ahead))

    pairs = list(zip(drawn(True), drawn(False), strict=True))
    assert [len(one) for one, _ in pairs] == [10, 10, 3]
    assert all(torch.equal(one, other) for one, other in pairs)
