"""Request check: validate_request(), the one for the app, the API and the CLI."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from simba_music.conditioning.request import Request
from simba_music.errors import RequestError
from simba_music.files.texts import checked_text
from simba_music.settings import settings

SIDES = ("left", "right")  # of the page, each with a model
MIN_DURATION_S = 2.0
DURATION_STEP_S = 0.5
MAX_SEED = 2**32 - 1
MAX_TAKES = 4
MOST_REDRAWS = 3  # of a clip that is nearly empty
# Counted before tokens are: a text of megabytes takes minutes to be cut into tokens. No tokenizer
# makes so few tokens of so much text that a longer one could be within its limit in earnest.
MAX_TEXT_CHARACTERS = 5000


@dataclass(frozen=True)
class Limits:
    """What the loaded models allow."""

    max_duration_s: float
    max_text_tokens: int
    count_tokens: Callable[[str], int] = field(repr=False)


def _number(name: str, value: object, low: float, high: float, whole: bool = False) -> float:
    """A finite number in [low, high].

    Raises:
        RequestError: Otherwise.
    """
    allowed = f"{name} must be a {'whole ' if whole else ''}number from {low:g} to {high:.12g}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RequestError(f"{allowed}, got {value!r}.")
    if not math.isfinite(value) or not low <= value <= high or (whole and value != int(value)):
        raise RequestError(f"{allowed}, got {value:.12g}. Choose a value in that range.")
    return value


def check_length(name: str, text: str) -> None:
    """Refuse a text that is too long to be looked at.

    Raises:
        RequestError: If it has more than `MAX_TEXT_CHARACTERS` characters.
    """
    if len(text) > MAX_TEXT_CHARACTERS:
        raise RequestError(
            f"{name} has {len(text)} characters; at most {MAX_TEXT_CHARACTERS} are allowed. "
            "Shorten it."
        )


def _text(name: str, value: object, limits: Limits) -> str:
    if isinstance(value, str):
        check_length(name, value)
    text = checked_text(name, value)
    count = limits.count_tokens(text)
    if count > limits.max_text_tokens:
        raise RequestError(
            f"{name} has {count} text tokens; at most {limits.max_text_tokens} are allowed. "
            "Shorten it."
        )
    return text


def _grown(value: object, duration_s: float) -> tuple[float, ...]:
    """Lengths at which a clip was continued, each greater than the one before.

    Raises:
        RequestError: If they are none.
    """
    found = list(value) if isinstance(value, list | tuple) else [None]
    lengths = [_number("grown_s", one, MIN_DURATION_S, duration_s) for one in found]
    if any(low >= high for low, high in pairwise([*lengths, duration_s])):
        raise RequestError(
            f"grown_s must be lengths that grow, below duration_s ({duration_s:g} s), got "
            f"{', '.join(f'{one:g}' for one in lengths)}."
        )
    if any(one % DURATION_STEP_S for one in lengths):
        raise RequestError(f"grown_s must be multiples of {DURATION_STEP_S:g} s.")
    return tuple(map(float, lengths))


def _subseed(value: object) -> int | None:
    """Which draw of a seed; None where it is open."""
    return None if value is None else int(_number("subseed", value, 0, MOST_REDRAWS, whole=True))


def validate_request(limits: Limits, **raw: object) -> Request:
    """Check every field and return the request, or say which value is wrong and what is allowed.

    Raises:
        RequestError: On the first field that is out of range, not finite, or of the wrong type.
    """
    unknown = set(raw) - set(Request.__dataclass_fields__)
    if unknown:
        known = ", ".join(Request.__dataclass_fields__)
        raise RequestError(f"Unknown setting {sorted(unknown)[0]!r}. Known settings: {known}.")
    given: dict[str, object] = {**Request("", draw=settings().draw).as_dict(), **raw}
    prompt = _text("prompt", given["prompt"], limits)
    if not prompt:
        raise RequestError(
            'The prompt is empty. Describe the music, for example "calm solo piano, slow, sad".'
        )
    duration_s = _number("duration_s", given["duration_s"], MIN_DURATION_S, limits.max_duration_s)
    if duration_s % DURATION_STEP_S:
        raise RequestError(
            f"duration_s must be a multiple of {DURATION_STEP_S:g} s, got {duration_s:g}."
        )
    if not isinstance(given["draw"], bool):
        raise RequestError(f"draw must be true or false, got {given['draw']!r}.")
    top_p = _number("top_p", given["top_p"], 0, 1)
    if top_p == 0:
        raise RequestError("top_p must be above 0 and at most 1, got 0. Use 1 to keep all tokens.")
    return Request(
        prompt=prompt,
        duration_s=float(duration_s),
        seed=int(_number("seed", given["seed"], 0, MAX_SEED, whole=True)),
        takes=int(_number("takes", given["takes"], 1, MAX_TAKES, whole=True)),
        temperature=float(_number("temperature", given["temperature"], 0, 2)),
        top_k=int(_number("top_k", given["top_k"], 0, 65536, whole=True)),
        top_p=float(top_p),
        guidance=float(_number("guidance", given["guidance"], 1, 10)),
        negative=_text("negative", given["negative"], limits),
        draw=given["draw"],
        grown_s=_grown(given["grown_s"], duration_s),
        subseed=_subseed(given["subseed"]),
    )
