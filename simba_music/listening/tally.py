"""Tally: what the votes say as Markdown, pool by pool, and a daily line of their health."""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations

from simba_music.listening.statistics import (
    FEWEST,
    Estimate,
    Outcome,
    Preference,
    bradley_terry,
    by_stratum,
    compare,
    mean_of,
)
from simba_music.listening.tables import Vote
from simba_music.listening.votes.ballot import DIMENSIONS
from simba_music.listening.votes.open_choices import OPEN

NOT_ENOUGH = (
    "**Not enough votes yet:** {needed} more decided votes would find a preference of 65 % in four "
    "of five tests."
)


def sides_at(vote: Vote) -> dict[str, str]:
    """The models at A and B: name and the first digits of the weights' sha256."""
    return {
        letter: f"{side['checkpoint']} {side.get('model', {}).get('sha256', '')[:8]}".strip()
        for letter, side in vote.trial.at(vote.trial.battle).items()
    }


def outcome_of(vote: Vote) -> Outcome:
    """A vote, unblinded."""
    at = sides_at(vote)
    return Outcome(at["A"], at["B"], vote.preference, vote.trial.battle.origin)


def share_text(e: Estimate, fewest: int = 1) -> str:
    """A share in per cent with its interval and number; of fewer votes, their number alone."""
    if not e.n:
        return "no votes"
    if e.n < fewest:
        return f"too few votes (n = {e.n})"
    return f"{100 * e.value:.0f} % ({100 * e.low:.0f} to {100 * e.high:.0f}, n = {e.n})"


def _models(outcomes: Sequence[Outcome]) -> list[tuple[str, str]]:
    """Every two models that met."""
    met = {frozenset((o.a, o.b)) for o in outcomes}
    names = sorted({name for pair in met for name in pair})
    return [pair for pair in combinations(names, 2) if frozenset(pair) in met]


def _pair(outcomes: Sequence[Outcome], model: str, other: str, fewest: int) -> list[str]:
    found = compare(outcomes, model, other)
    lines = [
        f"#### {model} against {other}",
        "",
        "| measure | value (95 % interval) |",
        "|---|---|",
        f"| preferred {model}, of decided votes | {share_text(found.share, fewest)} |",
        f"| the same, order of showing taken out | {share_text(found.adjusted, fewest)} |",
        f"| would choose A if both were alike | {share_text(found.order, fewest)} |",
    ]
    if found.share.n >= fewest:
        lines += [f"| sign test | p = {found.p_value:.3g} |"]
    lines += [f"| alike / both bad | {found.ties} / {found.both_bad} |"]
    for stratum, share in by_stratum(outcomes, model, other).items():
        lines.append(f"| preferred {model}, {stratum} prompts | {share_text(share, fewest)} |")
    if found.needed:
        lines += ["", NOT_ENOUGH.format(needed=found.needed)]
    return [*lines, ""]


def _ratings(votes: Sequence[Vote]) -> list[str]:
    values: dict[tuple[str, str], list[float]] = {}
    for vote in votes:
        at = sides_at(vote)
        for letter, found in vote.ratings.items():
            for dimension, value in found.items():
                values.setdefault((dimension, at[letter]), []).append(value)
    models = sorted({model for _, model in values})
    if not models:
        return []
    lines = ["#### Ratings, 1 to 5", "", f"| | {' | '.join(models)} |", "|---" * (len(models) + 1)]
    lines[-1] += "|"
    for dimension in DIMENSIONS:
        cells = []
        for model in models:
            e = mean_of(values.get((dimension, model), []))
            spread = f" ({e.low:.2f} to {e.high:.2f})" if e.n > 1 else ""
            cells.append(f"{e.value:.2f}{spread}, n = {e.n}" if e.n else "")
        lines.append(f"| {dimension} | {' | '.join(cells)} |")
    return [*lines, ""]


def _strengths(outcomes: Sequence[Outcome], fewest: int) -> list[str]:
    decided = [o for o in outcomes if o.winner]
    if len(decided) < fewest or len({name for o in decided for name in (o.a, o.b)}) < 3:
        return []
    lines = ["#### Strength (Bradley-Terry, log odds against the mean)", "", "| | |", "|---|---|"]
    found = bradley_terry(outcomes)
    for name, e in sorted(found.items(), key=lambda pair: -pair[1].value):
        lines.append(f"| {name} | {e.value:+.2f} ({e.low:+.2f} to {e.high:+.2f}) |")
    return [*lines, ""]


def _health(votes: Sequence[Vote]) -> list[str]:
    days: dict[str, Counter[str]] = {}
    reasons: Counter[str] = Counter()
    for vote in votes:
        days.setdefault(vote.created.date().isoformat(), Counter())[vote.status] += 1
        reasons.update(vote.reasons)
    kinds = ("counted", "pending", "excluded")
    lines = ["#### Votes a day", "", f"| day | {' | '.join(kinds)} |", "|---|---|---|---|"]
    for day, counts in sorted(days.items(), reverse=True)[:14]:
        lines.append(f"| {day} | {' | '.join(str(counts[kind]) for kind in kinds)} |")
    said = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
    return [*lines, "", f"Not counted because: {said}." if said else "", ""]


def pool_tally(votes: Sequence[Vote], fewest: int = 1) -> str:
    """What the votes of one pool say, as Markdown; no share of fewer votes than `fewest`."""
    counted = [vote for vote in votes if vote.status == "counted"]
    outcomes = [outcome_of(vote) for vote in counted]
    lines = [line for pair in _models(outcomes) for line in _pair(outcomes, *pair, fewest)]
    lines += [*_strengths(outcomes, fewest), *_ratings(counted), *_health(votes)]
    return "\n".join(lines)


def verdict(found: Preference, fewest: int = FEWEST) -> str:
    """How two models compare, in one plain sentence."""
    n = found.share.n
    beside = f" Alike: {found.ties}, both bad: {found.both_bad}."
    if n < fewest:
        return f"{n} decided so far; a share is shown from {fewest} on.{beside}"
    model, share = found.model, found.share
    if share.value < 0.5:
        low, high = 1 - share.high, 1 - share.low
        model, share = found.other, Estimate(1 - share.value, low, high, n)
    clear = "a clear preference" if share.low > 0.5 else "too close to call"
    return (
        f"{model} was preferred in {100 * share.value:.0f} % of {n} decided votes (95 % interval "
        f"{100 * share.low:.0f} to {100 * share.high:.0f} %): {clear}.{beside}"
    )


def comparisons(votes: Sequence[Vote]) -> list[Preference]:
    """How every two models that met compare, by the votes that count."""
    outcomes = [outcome_of(vote) for vote in votes if vote.status == "counted"]
    return [compare(outcomes, *pair) for pair in _models(outcomes)]


def shares(votes: Sequence[Vote], fewest: int = FEWEST) -> dict[str, list[tuple[str, Estimate]]]:
    """Preference and order effect of every two models, to be drawn; none of too few votes."""
    outcomes = [outcome_of(vote) for vote in votes if vote.status == "counted"]
    found = {}
    for one in comparisons(votes):
        model, other = one.model, one.other
        rows = [
            (f"preferred {model}", one.share),
            ("order of showing taken out", one.adjusted),
            ("would choose A if both were alike", one.order),
        ]
        strata = by_stratum(outcomes, model, other)
        rows += [(f"{name} prompts", share) for name, share in strata.items()]
        enough = [(label, share) for label, share in rows if share.n >= fewest]
        if enough:
            found[f"{model} against {other}"] = enough
    return found


def pools(votes: Sequence[Vote], local: set[str]) -> dict[str, list[Vote]]:
    """Votes of visitors, and of listeners at the host's own machine; never pooled, none empty.

    What was preferred where the names were on show is no vote (see `open_choices`).
    """
    votes = [vote for vote in votes if vote.status != OPEN]
    found = {
        "Votes of visitors": [vote for vote in votes if vote.listener_id not in local],
        "Votes given at this machine, never pooled with others": [
            vote for vote in votes if vote.listener_id in local
        ],
    }
    return {name: pool for name, pool in found.items() if pool}


def tally(votes: Sequence[Vote], local: set[str], fewest: int = FEWEST) -> str:
    """All votes as Markdown, pool by pool; no share of fewer votes than `fewest`."""
    found = pools(votes, local).items()
    parts = [f"### {name}\n\n{pool_tally(pool, fewest)}" for name, pool in found]
    return "\n".join(parts) or "No votes yet. The blind test is where they are given."
