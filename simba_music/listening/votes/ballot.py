"""Ballot: what a browser sends as a vote, and whether it was heard (no database, no sound)."""

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, ValidationError

from simba_music.errors import RequestError, UserError
from simba_music.files import StrictModel, first_problem
from simba_music.files.texts import checked_text

# The address of whoever asks, set by the server around every question; None where it is the host's
# own machine, or not known.
visitor: ContextVar[str | None] = ContextVar("visitor", default=None)
Letter = Literal["A", "B"]
Preference = Literal["A", "B", "TIE", "BOTH_BAD"]
Stretch = tuple[float, float]
DIMENSIONS = ("prompt fit", "melody", "harmony", "rhythm", "sound quality")
HEARD_S = 5.0
UNDO_S = 10.0
CLOCK_SLACK_S = 1.0  # for a browser's clock that is not ours
MOST_STRETCHES = 5000  # of one clip, as many as hours of switching make
END_SLACK_S = 0.25  # players stop a little before the last sample


class VoteError(UserError):
    """A vote that is not accepted; its text says why and what to do."""


class Ballot(StrictModel):
    """What a browser sends as a vote; every field is checked."""

    ticket: str = Field(max_length=1000)
    preference: Preference
    ratings: dict[Letter, dict[str, int]] = {}
    remark: str = Field(default="", max_length=2000)
    heard: dict[Letter, Annotated[list[Stretch], Field(max_length=MOST_STRETCHES)]]
    switches: int = Field(default=0, ge=0, le=100_000)


def _checked(remark: str) -> str:
    """A remark that can be stored and exported as it is.

    Raises:
        VoteError: Otherwise, naming the character.
    """
    try:
        return checked_text("The vote's remark", remark)
    except RequestError as error:
        raise VoteError(str(error)) from error


def read_ballot(raw: dict[str, Any]) -> Ballot:
    """A ballot of known fields within their bounds.

    Raises:
        VoteError: Otherwise, naming the first field that is wrong.
    """
    try:
        ballot = Ballot.model_validate(raw)
    except ValidationError as error:
        where, problem = first_problem(error, "ballot")
        raise VoteError(f"The vote's {where} is wrong: {problem}.") from error
    for side in ballot.ratings.values():
        for dimension, value in side.items():
            if dimension not in DIMENSIONS or not 1 <= value <= 5:
                raise VoteError(
                    f"A rating is 1 to 5 for one of {', '.join(DIMENSIONS)}; got {value!r} for "
                    f"{dimension!r}."
                )
    return ballot.model_copy(update={"remark": _checked(ballot.remark)})


def merge(stretches: Sequence[Stretch], duration_s: float) -> list[Stretch]:
    """Unique stretches within the clip, in order, of stretches that may overlap.

    Raises:
        VoteError: If one is no stretch of time.
    """
    # Time heard twice counts once, or a loop over a second would pass for listening.
    merged: list[Stretch] = []
    for start, end in sorted(stretches):
        if not 0 <= start <= end:
            raise VoteError(f"Heard from {start:g} to {end:g} s is no stretch of time.")
        start, end = min(start, duration_s), min(end, duration_s)
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def seconds(stretches: Sequence[Stretch]) -> float:
    """Their length together, in s."""
    return sum(end - start for start, end in stretches)


def needed_s(duration_s: float) -> float:
    """How much of each clip must be heard, in s: 5 s, or all of a shorter one."""
    return min(HEARD_S, duration_s - END_SLACK_S)


def heard_of(ballot: Ballot, duration_s: float, waited_s: float) -> dict[str, list[Stretch]]:
    """What was heard of each clip, without repeats.

    Raises:
        VoteError: If it is too little, beyond the clip, or more than fits in `waited_s` seconds.
    """
    for side, stretches in ballot.heard.items():
        beyond = max((end for _, end in stretches), default=0.0)
        if beyond > duration_s + CLOCK_SLACK_S:
            raise VoteError(
                f"{side} cannot have been heard up to {beyond:g} s: it has {duration_s:g} s. "
                "Reload the page."
            )
    heard = {s: merge(ballot.heard.get(s, []), duration_s) for s in get_args(Letter)}
    needed = needed_s(duration_s)
    for side, stretches in heard.items():
        if seconds(stretches) < needed:
            raise VoteError(
                f"Listen to at least {needed:g} s of each clip before you vote; of {side} you "
                f"have heard {seconds(stretches):.1f} s."
            )
    # Both clips share one clock, so together they take no longer than the pair was shown.
    total = sum(seconds(stretches) for stretches in heard.values())
    if total > waited_s + CLOCK_SLACK_S:
        raise VoteError(
            f"{total:.1f} s of listening do not fit in the {waited_s:.1f} s since the pair was "
            "shown. Listen to both clips, then vote."
        )
    return heard
