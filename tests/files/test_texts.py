"""Texts that people send: what is refused, and that the rest is kept to the last code point."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simba_music.errors import RequestError
from simba_music.files.texts import checked_text
from simba_music.generation.request import Limits, validate_request

LIMITS = Limits(30.0, 256, lambda text: len(text.split()) + 2)
KEPT = (
    "calm 🎹👩‍🎤 piano",
    "موسيقى هادئة",
    "\u202eonaip mlac\u202c",
    "e\u0301tude",
    "line one\nline two\tand a tab",
    "<script>alert(1)</script>",
    '=HYPERLINK("http://x")',
    "音楽",
    "!!!",
)


@pytest.mark.fault("P1", "zero-width characters alone, blanks of every kind")
@pytest.mark.parametrize(
    "text", ["", " \n\t", "\u200b\u200d\ufeff", "\u3164", "\u2800 \u00ad", "\u0301"]
)
def test_a_prompt_with_nothing_to_see_is_empty(text):
    assert checked_text("prompt", text) == ""
    with pytest.raises(RequestError, match="prompt is empty"):
        validate_request(LIMITS, prompt=text)


@pytest.mark.fault("P3", "control characters, NUL, half of a surrogate pair")
@pytest.mark.parametrize("character", ["\x00", "\x07", "\x1b", "\x7f", "\x85", "\ud800", "\udfff"])
@pytest.mark.fault("R11", "control characters, half a surrogate pair")
def test_what_cannot_be_stored_is_named(character):
    for field in ("prompt", "negative"):
        raw = {"prompt": "calm piano"} | {field: f"calm {character} piano"}
        with pytest.raises(
            RequestError, match=rf"{field} holds .*U\+{ord(character):04X}, at place 6"
        ):
            validate_request(LIMITS, **raw)


@pytest.mark.fault("P5", "dict, list, null and numbers as a prompt")
@pytest.mark.parametrize("value", [None, {}, [], {"text": "x"}, ["calm piano"], 3, True, b"x"])
def test_what_is_no_text_is_refused(value):
    with pytest.raises(RequestError, match=f"prompt must be text, got {type(value).__name__}"):
        validate_request(LIMITS, prompt=value)


@pytest.mark.fault("P3", "emoji, right-to-left, bidi overrides, combining: stored as they are")
@pytest.mark.parametrize("text", KEPT)
def test_the_rest_is_kept_to_the_last_code_point(text, base, test):
    assert validate_request(LIMITS, prompt=text).prompt == text
    from ballots import battle

    found = battle(test, prompt=text)
    assert base.battle(found.id).prompt == text
    assert json.loads(json.dumps(text)) == text


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.text(max_size=40))
def test_every_text_is_kept_or_refused(text):
    try:
        found = checked_text("prompt", text)
    except RequestError as error:
        assert "U+" in str(error)
        return
    assert found in (text.strip(), "") and found.encode("utf-8").decode() == found
