"""Fuzz targets: what people and files may send, and what each may answer with.

A target takes a value that JSON can hold, so that what was found is kept as a line of
data/fuzz/NAME.jsonl, which `test_fuzz.py` tries again for ever. `make fuzz` searches for longer.
"""

import contextlib
import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from conftest import lm_config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simba_music.errors import CheckpointError, RequestError
from simba_music.generation.recipe import Recipe, read_recipe
from simba_music.generation.request import Limits, validate_request
from simba_music.listening.database import Database
from simba_music.listening.study.file import StudyConfig, read_study
from simba_music.listening.trials import ListeningTest
from simba_music.models.checkpoint import read_config
from simba_music.ui.blind import page as blind

SEEDS = Path(__file__).parent / "data" / "fuzz"
LIMITS = Limits(30.0, 256, lambda text: len(text.split()) + 2)
WORDS = st.text(max_size=12) | st.sampled_from(
    ["", "\u200b", "a\x00b", "é", "🎹", "=1+1", "<b>", "1e999", "..", "-1", "A", "TIE", "simba"]
)
NUMBERS = (
    st.integers()
    | st.floats(allow_subnormal=False)
    | st.sampled_from([0, -1, 2**32, 2**64, 1e9, 2.0, 5.5])
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
ORDER = ("prompt", "negative", "duration_s", "seed", "takes", "temperature", "top_k", "top_p")
FIELDS = (*ORDER, "guidance", "draw")
STUDY = tuple(StudyConfig.model_fields)


class Target(NamedTuple):
    """What is given, and what must hold of it."""

    given: st.SearchStrategy
    check: Callable[[object], None]


def trial(values: st.SearchStrategy, check: Callable[[object], None], **more: object):
    """A function that tries `check` on values that Hypothesis draws; `more` are its settings."""

    @settings(deadline=None, database=None, suppress_health_check=list(HealthCheck), **more)
    @given(values)
    def run(value):
        check(value)

    return run


def check_request(given):
    """A request is refused with a sentence, or is one that can be stored."""
    try:
        found = validate_request(LIMITS, **({"prompt": "calm piano"} | given))
    except RequestError as error:
        assert str(error)
        return
    json.loads(json.dumps(found.as_dict(), allow_nan=False).encode())


@cache
def _config():
    return lm_config("simba").model_dump(by_alias=True)


def _placed(given):
    """A config with values put where paths say: "codec.id" is a key of a key."""
    found = json.loads(json.dumps(_config()))
    for path, value in given:
        *above, last = path.split(".")
        at = found
        for name in above:
            at = at.get(name) if isinstance(at, dict) else None
        if isinstance(at, dict):
            at[last] = value
    return found


def check_config(given):
    """A config.json is read, or refused with a sentence that names it."""
    with tempfile.TemporaryDirectory() as name:
        raw = _placed(given["changes"]) if "changes" in given else given["whole"]
        path = Path(name) / "config.json"
        path.write_text(json.dumps(raw))
        try:
            read_config(Path(name))
        except CheckpointError as error:
            assert "config.json" in str(error)


def check_recipe(given):
    """A recipe is read, or refused; one that is read is written alike."""
    try:
        found = read_recipe(given)
    except RequestError as error:
        assert "no recipe" in str(error)
        return
    assert isinstance(found, Recipe)


@cache
def _endpoints():
    folder = Path(tempfile.mkdtemp(prefix="simba-music-fuzz-"))
    test = ListeningTest(Database("sqlite://"), folder, "a secret of the tests")
    asked = {one.__name__: one for one in blind.answers(lambda: test) if one.__name__ != "hello"}
    return asked, test.new_listener(local=True)


def check_vote(given):
    """A question of the page is answered with an object, never with an incident."""
    asked, listener = _endpoints()
    data = given["data"]
    if isinstance(data, dict) and data.get("listener") == "known":
        data = data | {"listener": listener}
    answer = asked[given["name"]](data)
    assert isinstance(answer, dict)
    json.dumps(answer)
    assert "Incident" not in str(answer.get("error", "")), answer


def check_study(given):
    """A study's file is read, or refused with a sentence that names it."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "s.yaml"
        path.write_bytes(given.encode("utf-8", "surrogatepass"))
        try:
            read_study(path)
        except RequestError as error:
            assert "s.yaml" in str(error)


PATHS = st.sampled_from([
    *["schema", "backbone", "channel_mixer", "conditioning", "d_model", "n_layers", "d_state"],
    *["n_heads", "d_ff", "positions", "conditions", "conditions.text", "conditions.length"],
    *["conditions.text.states", "conditions.length.longest_s", "conditions.beat", "vocab"],
    *["n_codebooks", "codebook_pattern", "special_ids", "special_ids.bos", "text_encoder"],
    *["text_encoder.id", "text_encoder.max_tokens", "codec", "codec.id", "codec.frame_rate"],
    *["codec.codebook_size", "codec.sha256", "max_trained_s", "licence", "more", "line_up"],
])  # fmt: skip
QUESTIONS = ("left_open", "next_pair", "show_pair", "vote", "undo", "reveal")
ASKED = ("listener", "ticket", "battle", "preference", "heard", "ratings", "remark", "switches")
YAML = st.sampled_from(
    "off ~ 2024 [ ' {a: !!python/name:os.system &a *a << é 1e999 a:b - ? |".split()
)
LINES = st.tuples(st.sampled_from([*STUDY, "- x", "?", "<<"]), YAML | WORDS)
TARGETS = {
    "request": Target(
        st.dictionaries(st.sampled_from(FIELDS) | WORDS, VALUES, max_size=4), check_request
    ),
    "config": Target(
        st.fixed_dictionaries({"changes": st.lists(st.tuples(PATHS, VALUES), max_size=3)})
        | st.fixed_dictionaries({"whole": VALUES}),
        check_config,
    ),
    "recipe": Target(
        VALUES
        | st.dictionaries(st.sampled_from([*Recipe.model_fields, "tempo", "key"]), VALUES)
        | st.fixed_dictionaries({"schema": st.just(1), "request": VALUES, "tempo": VALUES}),
        check_recipe,
    ),
    "vote": Target(
        st.fixed_dictionaries(
            {
                "name": st.sampled_from(QUESTIONS),
                "data": VALUES
                | st.dictionaries(
                    st.sampled_from(ASKED), VALUES | st.just("known"), min_size=1, max_size=6
                ),
            }
        ),
        check_vote,
    ),
    "study": Target(
        st.lists(LINES, max_size=9).map(lambda ls: "".join(f"{a}: {b}\n" for a, b in ls))
        | st.text(max_size=40),
        check_study,
    ),
}


def seeds(name: str) -> list:
    """What was found before."""
    file = SEEDS / f"{name}.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return [json.loads(line) for line in lines]


def keep(name: str, given: object) -> None:
    """Write down what failed, once."""
    with contextlib.suppress(ValueError):
        if given not in seeds(name):
            with (SEEDS / f"{name}.jsonl").open("a") as file:
                file.write(json.dumps(given) + "\n")
