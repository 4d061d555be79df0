import pytest
import torch

from simba_music.generation.sampling import guide, keep_top_k, keep_top_p, sample


def generators(count, seed=0):
    return [torch.Generator().manual_seed(seed + i) for i in range(count)]


def test_temperature_zero_is_greedy():
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 1.0, 2.0]])
    assert sample(logits, generators(2), temperature=0).tolist() == [1, 0]


def test_top_k_one_is_greedy_at_any_temperature():
    logits = torch.randn(4, 50)
    drawn = sample(logits, generators(4), temperature=2.0, top_k=1)
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
    logits = probabilities.log().expand(4000, 4)
    counts = torch.bincount(sample(logits, generators(4000)), minlength=4) / 4000
    torch.testing.assert_close(counts, probabilities, atol=0.03, rtol=0)
    assert counts[3] == 0


def test_a_row_depends_on_its_own_generator_only():
    logits = torch.randn(3, 100)
    together = sample(logits, generators(3))
    alone = [int(sample(logits[i : i + 1], generators(1, seed=i))) for i in range(3)]
    assert together.tolist() == alone


def test_nan_logits_raise():
    logits = torch.zeros(1, 5)
    logits[0, 2] = float("nan")
    with pytest.raises(FloatingPointError, match="NaN"):
        sample(logits, generators(1))
