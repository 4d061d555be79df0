import math

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import binom, binomtest

from simba_music.listening import statistics
from simba_music.listening.statistics import (
    Outcome,
    bradley_terry,
    by_stratum,
    compare,
    mean_of,
    votes_needed,
    wilson,
)

EVERY = {
    (first, preference): Outcome(first, "y" if first == "x" else "x", preference)
    for first in "xy"
    for preference in ("A", "B", "TIE")
}


def simulate(rng, n, preference, bias, ties=0.1):
    """Votes with a true share that prefers x, and a true share that would choose A."""
    x_first = rng.random(n) < 0.5
    lean = np.where(x_first, logit(preference), -logit(preference))
    choice = np.where(rng.random(n) < expit(lean + logit(bias)), "A", "B")
    choice = np.where(rng.random(n) < ties, "TIE", choice)
    first = np.where(x_first, "x", "y")
    return [EVERY[one] for one in zip(first.tolist(), choice.tolist(), strict=True)]


def test_known_preference_and_order_bias_lie_in_their_intervals():
    """Each alone, in 92 to 98 % of 1,000 seeded simulations."""
    rng = np.random.default_rng(20)
    inside = {"preference": 0, "order": 0, "plain share": 0}
    for _ in range(1000):
        found = compare(simulate(rng, 200, 0.62, 0.58), "x", "y")
        inside["preference"] += found.adjusted.low <= 0.62 <= found.adjusted.high
        inside["order"] += found.order.low <= 0.58 <= found.order.high
        plain = compare(simulate(rng, 200, 0.62, 0.5), "x", "y").share
        inside["plain share"] += plain.low <= 0.62 <= plain.high
    assert all(920 <= count <= 980 for count in inside.values()), inside


def test_order_bias_alone_is_no_preference():
    rng = np.random.default_rng(3)
    found = compare(simulate(rng, 4000, 0.5, 0.8), "x", "y")
    assert found.adjusted.low < 0.5 < found.adjusted.high
    assert found.order.low > 0.75


def test_counts_are_reported_and_ties_decide_nothing():
    votes = [Outcome("x", "y", p) for p in ("A", "A", "B", "TIE", "BOTH_BAD")]
    votes += [Outcome("x", "z", "A")]
    found = compare(votes, "x", "y")
    assert (found.share.n, found.ties, found.both_bad) == (3, 1, 1)
    assert found.share.value == pytest.approx(2 / 3)
    assert found.needed == votes_needed(0.65) - 3
    assert found.p_value == 1.0
    assert compare(votes, "y", "x").share.value == pytest.approx(1 / 3)


def test_no_votes_are_no_error():
    found = compare([], "x", "y")
    assert math.isnan(found.share.value) and (found.share.low, found.share.high) == (0, 1)
    assert found.p_value == 1 and found.needed > 0
    assert mean_of([]).n == 0 and mean_of([3]).high == math.inf


def test_wilson_agrees_with_a_published_value():
    assert wilson(8, 10)[:3] == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-4)  # Newcombe 1998


@pytest.mark.parametrize("share", [0.65, 0.75])
def test_as_many_votes_as_needed_find_the_preference(share):
    def power(n):
        found = [k for k in range(n + 1) if binomtest(k, n).pvalue <= 0.05]
        return sum(binom.pmf(k, n, share) for k in found)

    needed = votes_needed(share)
    assert power(needed - 1) < 0.8
    assert all(power(n) >= 0.8 for n in range(needed, needed + 12))


def test_strata_are_kept_apart():
    votes = [Outcome("x", "y", "A", "typed")] * 3 + [Outcome("x", "y", "B", "gallery")]
    found = by_stratum(votes, "x", "y")
    assert found["typed"].value == 1 and found["gallery"].value == 0


@pytest.fixture
def few_bootstraps(monkeypatch):
    """Enough for an interval that is compared with the truth, in a fifth of the time."""
    monkeypatch.setattr(statistics, "BOOTSTRAPS", 200)


def test_bradley_terry_finds_known_strengths(few_bootstraps):
    rng, true = np.random.default_rng(1), {"x": 0.6, "y": 0.0, "z": -0.6}
    votes = []
    for _ in range(1500):
        a, b = rng.choice(list(true), 2, replace=False)
        better = rng.random() < expit(true[a] - true[b])
        votes.append(Outcome(str(a), str(b), "A" if better else "B"))
    found = bradley_terry(votes)
    for name, strength in true.items():
        assert found[name].low <= strength <= found[name].high
    assert sum(e.value for e in found.values()) == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError, match="three models"):
        bradley_terry([v for v in votes if "z" not in (v.a, v.b)])


def test_a_model_that_never_loses_has_a_finite_strength(few_bootstraps):
    votes = [Outcome("x", "y", "A")] * 5 + [Outcome("y", "z", "A")] * 5
    assert all(math.isfinite(v) for e in bradley_terry(votes).values() for v in e)
