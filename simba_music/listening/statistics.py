"""Statistics of votes: preference share, order effect, ratings, Bradley-Terry, votes needed."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.optimize import minimize
from scipy.special import expit, logit
from statsmodels.stats.proportion import proportion_confint

WORTH_FINDING = 0.65  # a preference that a test should not miss
POWER, ALPHA = 0.8, 0.05
BOOTSTRAPS = 1000
FEWEST = 20  # decided votes below which visitors are shown no share


class Estimate(NamedTuple):
    """A value with its 95 % interval and the number of votes behind it."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Outcome:
    """One vote, unblinded: the models at A and B, and the preference A, B, TIE or BOTH_BAD."""

    a: str
    b: str
    preference: str
    stratum: str = ""

    @property
    def winner(self) -> str | None:
        """The preferred model; None for a tie or two bad clips."""
        return {"A": self.a, "B": self.b}.get(self.preference)


@dataclass(frozen=True)
class Preference:
    """How two models compare.

    share: of decided votes that preferred `model`, whatever the order (Wilson).
    adjusted: that share with the order's effect taken out.
    order: share that would choose A if both models were alike; 0.5 is no effect.
    p_value: exact two-sided sign test of share = 0.5.
    needed: votes still to come before a preference of 65 % would be found; 0 is enough.
    """

    model: str
    other: str
    share: Estimate
    adjusted: Estimate
    order: Estimate
    p_value: float
    ties: int
    both_bad: int
    needed: int


def wilson(count: int, n: int) -> Estimate:
    """A share with its Wilson score interval; of nothing, nothing is known."""
    if n == 0:
        return Estimate(math.nan, 0.0, 1.0, 0)
    # Wilson's covers near its 95 % at few votes and at shares near 0 or 1, where p +- 2 se does not
    # (Brown, Cai and DasGupta 2001).
    low, high = proportion_confint(count, n, method="wilson")
    return Estimate(count / n, float(low), float(high), n)


@cache  # of two thousand powers, asked for at every comparison
def votes_needed(share: float, power: float = POWER, alpha: float = ALPHA) -> int:
    """Decided votes for a two-sided exact sign test to find a true `share` with `power`.

    The number from which on the power holds; as the test is discrete, it goes up and down.
    """
    # Fewer than six cannot reach 5 %: 2 / 2^5 is 0.06.
    n = np.arange(6, 2001)
    tail = stats.binom.ppf(alpha / 2, n, 0.5)
    # `ppf` gives the first count that passes alpha / 2; the test rejects up to the one before.
    tail -= stats.binom.cdf(tail, n, 0.5) > alpha / 2
    reached = stats.binom.cdf(tail, n, share) + stats.binom.sf(n - tail - 1, n, share)
    # The last number that fails, and one more, as the power of a discrete test saws.
    return int(n[reached < power].max(initial=5)) + 1


def _in_order(wins: int, n: int) -> tuple[float, float]:
    """Log odds of a share and their variance, with half a vote added to each side (Haldane)."""
    # Without the half votes a side that never lost has infinite log odds.
    return float(logit((wins + 0.5) / (n + 1))), 1 / (wins + 0.5) + 1 / (n - wins + 0.5)


def compare(outcomes: Sequence[Outcome], model: str, other: str) -> Preference:
    """Preference of `model` over `other`, and the effect of the order they were shown in.

    With the chance to prefer `model` being expit(t + b) when it stands at A and expit(t - b) when
    at B, t and b follow from the log odds of the two orders; intervals are Woolf's (1955).
    """
    pair = [o for o in outcomes if {o.a, o.b} == {model, other}]
    # A tie says nothing of which is better; as half a vote to each it would pass for evidence and
    # narrow the intervals. Ties are counted beside.
    decided = [o for o in pair if o.winner]
    wins = sum(o.winner == model for o in decided)
    at_a = [o for o in decided if o.a == model]
    at_b = [o for o in decided if o.b == model]
    first, first_variance = _in_order(sum(o.winner == model for o in at_a), len(at_a))
    second, second_variance = _in_order(sum(o.winner == model for o in at_b), len(at_b))
    # The preference t is half the sum of the two log odds, the order's effect b half their
    # difference: both have this error, half the root of the summed variances.
    half = stats.norm.ppf(1 - ALPHA / 2) * math.sqrt(first_variance + second_variance) / 2

    def estimate(centre: float) -> Estimate:
        low, value, high = expit([centre - half, centre, centre + half])
        return Estimate(float(value), float(low), float(high), len(decided))

    counts = Counter(o.preference for o in pair)
    return Preference(
        model,
        other,
        share=wilson(wins, len(decided)),
        adjusted=estimate((first + second) / 2),
        order=estimate((first - second) / 2),
        p_value=float(stats.binomtest(wins, len(decided)).pvalue) if decided else 1.0,
        ties=counts["TIE"],
        both_bad=counts["BOTH_BAD"],
        needed=max(0, votes_needed(WORTH_FINDING) - len(decided)),
    )


def by_stratum(outcomes: Sequence[Outcome], model: str, other: str) -> dict[str, Estimate]:
    """Share that preferred `model`, in each stratum of prompts."""
    found = {}
    for stratum in sorted({o.stratum for o in outcomes}):
        decided = [
            o
            for o in outcomes
            if o.stratum == stratum and o.winner and {o.a, o.b} == {model, other}
        ]
        found[stratum] = wilson(sum(o.winner == model for o in decided), len(decided))
    return found


def mean_of(values: Iterable[float]) -> Estimate:
    """A mean with its Student interval; of fewer than two values the interval is unbounded."""
    found = np.array(list(values), dtype=float)
    # One value has no spread, which is not a spread of zero.
    if len(found) < 2:
        value = float(found[0]) if len(found) else math.nan
        return Estimate(value, -math.inf, math.inf, len(found))
    mean, error = float(found.mean()), float(stats.sem(found))
    half = error * float(stats.t.ppf(1 - ALPHA / 2, len(found) - 1))
    return Estimate(mean, mean - half, mean + half, len(found))


def bradley_terry(outcomes: Sequence[Outcome], seed: int = 0) -> dict[str, Estimate]:
    """Strength of each of three models or more, as log odds against their mean.

    Maximum likelihood (Bradley and Terry 1952) with half a draw of every pair added, so that no
    strength is infinite; intervals by bootstrap over votes.

    Raises:
        ValueError: For fewer than three models: their preference share says it all.
    """
    decided = [o for o in outcomes if o.winner]
    models = sorted({name for o in decided for name in (o.a, o.b)})
    if len(models) < 3:
        raise ValueError(f"Bradley-Terry needs three models with votes, got {len(models)}.")
    places = {name: i for i, name in enumerate(models)}
    won = np.array([places[str(o.winner)] for o in decided])
    lost = np.array([places[o.b if o.winner == o.a else o.a] for o in decided])
    rng = np.random.default_rng(seed)
    best = _strengths(won, lost, len(models))
    again = []
    for _ in range(BOOTSTRAPS):
        # Votes are drawn as if independent. Several of one listener are not, so this is a lower
        # bound of the uncertainty.
        picks = rng.integers(len(won), size=len(won))
        again.append(_strengths(won[picks], lost[picks], len(models)))
    low, high = np.quantile(again, [ALPHA / 2, 1 - ALPHA / 2], axis=0)
    return {
        name: Estimate(float(best[i]), float(low[i]), float(high[i]), len(won))
        for name, i in places.items()
    }


def _strengths(won: np.ndarray, lost: np.ndarray, count: int) -> np.ndarray:
    """Log strengths `[count]` with mean 0, of who won and who lost each vote."""
    # Half a draw a pair, as a quarter of a win to each: in the likelihood it is a weak prior at
    # equality, and it connects models that never met.
    wins = np.full((count, count), 0.25)
    np.fill_diagonal(wins, 0)
    np.add.at(wins, (won, lost), 1)
    total = wins + wins.T

    # -log of prod (p_i / (p_i + p_j))^wins_ij with p = exp(s), which is convex in s.
    def loss(s: np.ndarray) -> tuple[float, np.ndarray]:
        gaps = s[:, None] - s[None]
        value = float((wins * np.logaddexp(0, -gaps)).sum())
        return value, -(wins - total * expit(gaps)).sum(1)

    found = minimize(loss, np.zeros(count), jac=True, method="BFGS").x
    # Only differences are identified; their mean is where the strengths are zero.
    made: np.ndarray = found - found.mean()
    return made
