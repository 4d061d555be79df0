"""The line-up: instruments read from prompts, and models that are told of them."""

import functools

import pytest
import torch
from conftest import lm_config, play_beside_plain, random_lm
from model_checks import added_by, assert_steps_hear
from pydantic import ValidationError

from simba_music.conditioning.line_up import line_up_features, named_instruments
from simba_music.generation.decoding import GUIDED_LINE_UP
from simba_music.ui.cards import result_card

NAMES = (
    ("piano", "grand piano", "ivories"),
    ("electric piano", "Rhodes", "e-piano"),
    ("brass section", "trumpets and trombones", "brass"),
    ("steel drums", "steelpan"),
    ("drum kit", "drums", "percussion", "drummer"),
    ("drumless", "no drums", "without drums"),
    ("nylon guitar", "guitar"),
    ("steel guitar", "guitar"),
)


@pytest.mark.parametrize(
    ("text", "titles"),
    [
        ("calm solo piano, slow, sad", ["piano"]),
        ("Two Grand Pianos and BRASS", ["piano", "brass section"]),
        ("an E-Piano over e piano", ["electric piano"]),
        ("electric piano, piano", ["piano", "electric piano"]),
        ("trumpets and\ntrombones", ["brass section"]),
        ("steel drums", ["steel drums"]),
        ("steel drums and drums", ["steel drums", "drum kit"]),
        ("rhodes with no drums", ["electric piano", "drumless"]),
        ("drumless, without any brass, no piano", ["drumless"]),
        ("guitars", ["nylon guitar", "steel guitar"]),
        ("pianoforte, brassy, drumstick", []),
        ("", []),
    ],
)
def test_a_text_names_instruments_by_the_longest_name_and_not_by_denial(text, titles):
    assert [NAMES[i][0] for i in named_instruments(text, NAMES)] == titles
    row = line_up_features([text], NAMES)[0]
    assert [NAMES[i][0] for i in row.nonzero().flatten().tolist()] == titles
    assert row.sum() == len(titles)


def test_without_names_nothing_is_named():
    assert named_instruments("piano", ()) == [] and line_up_features(["piano"], ()).shape == (1, 0)


@pytest.mark.parametrize("names", [[[]], [["piano"], [" "]], [["x" * 65]], [["piano"]] * 1025])
def test_a_config_with_an_instrument_without_a_name_is_refused(names):
    with pytest.raises(ValidationError):
        lm_config("simba", line_up=names)


@pytest.mark.parametrize("backbone", ["simba", "transformer"])
@pytest.mark.parametrize("conditioning", ["prefix", "cross"])
def test_steps_hear_the_line_up_as_the_forward_pass_does(backbone, conditioning):
    lm = random_lm(lm_config(backbone, conditioning=conditioning, line_up=NAMES))
    texts = ["piano, ivories, brass and guitars without drums", "loud", "brass"]
    # the last row is without its text, and so without what that names
    assert_steps_hear(lm, 30, (1,), rows=(0,), line_up=line_up_features(texts, NAMES))


def test_each_half_of_guidance_hears_what_its_own_text_names():
    lm = random_lm(lm_config("simba", line_up=NAMES))
    vectors = lm.line_up_vectors
    told = functools.partial(added_by, lm, vectors)
    torch.testing.assert_close(told("piano and brass", guidance=1)[0], vectors[0] + vectors[2])
    moved = told("piano and brass")
    torch.testing.assert_close(moved[0], GUIDED_LINE_UP * (vectors[0] + vectors[2]))
    assert not moved[1].any()  # no text, and so nothing that it names
    moved = told("piano", negative="drums")
    torch.testing.assert_close(moved, torch.stack([GUIDED_LINE_UP * vectors[0], vectors[4]]))
    assert not told("slow, sad").any()


def test_recipe_and_card_say_which_instruments_a_model_was_told_of(system, tmp_path):
    found = play_beside_plain(system, tmp_path, "ivories over percussion", line_up=NAMES)
    assert [found[side].recipe["line_up"] for side in ("left", "right")] == [
        ["piano", "drum kit"], [],
    ]  # fmt: skip
    assert "Instruments named: piano, drum kit." in result_card("", found["left"])
    assert "Instruments named" not in result_card("", found["right"])
