"""Verdict: how well a clip fits its prompt, and which of two fits better, in words."""

from collections.abc import Mapping

from simba_music.scoring.score import FEWEST_WINDOWS, TIMELINE_S, Score, difference
from simba_music.ui.look.words import say

# Shares of mismatched prompts, in %, that fit a clip less well; chance is 50.
LEVELS = {"strong": 95.0, "good": 80.0, "fair": 50.0, "weak": 0.0}


def level(score: Score | None) -> str:
    """How well a clip fits its prompt: a key of the words in `[match]`."""
    if score is None or score.percentile is None:
        return "none"
    if score.note:
        return "unclear"
    return next(name for name, least in LEVELS.items() if score.percentile >= least)


def share(score: Score | None) -> float:
    """The same as a part of 1, for a bar; 0 if it was not scored."""
    return 0.0 if score is None or score.percentile is None else score.percentile / 100


def rank(scores: Mapping[int, Score | None]) -> list[int]:
    """Takes, the one that fits best first; those that were not scored last."""

    def worth(take: int) -> float:
        score = scores[take]
        return -2.0 if score is None or score.cosine is None else score.cosine

    return sorted(scores, key=lambda take: (-worth(take), take))


def verdict(names: tuple[str, str], left: Score | None, right: Score | None) -> dict[str, str]:
    """Which of two fits better: `text` in words, `numbers` for who wants them, or ""."""
    scored = [score for score in (left, right) if score and score.percentile is not None]
    found = difference(left, right) if left and right else None
    if found is None:
        short = len(scored) == 2 and min(len(s.timeline) for s in scored) < FEWEST_WINDOWS
        least = f"{TIMELINE_S * FEWEST_WINDOWS:g}"
        text = say("verdict", "short", least=least) if short else say("verdict", "unknown")
        return {"text": text, "numbers": ""}
    if any(score.note for score in scored):
        text = say("verdict", "unclear")
    elif found.clear:
        text = say("verdict", "better", name=names[0] if found.mean > 0 else names[1])
    else:
        text = say("verdict", "close")
    numbers = say(
        "verdict",
        "numbers",
        windows=found.windows,
        window=f"{TIMELINE_S:g}",
        left=names[0],
        right=names[1],
        mean=f"{found.mean:+.2f}",
        low=f"{found.low:+.2f}",
        high=f"{found.high:+.2f}",
    )
    return {"text": text, "numbers": numbers}
