"""The line-up: instruments read from prompts and captions, and models conditioned on them."""

import pytest
import torch
from conftest import lm_config, play_beside_plain, random_lm
from model_checks import added_by, assert_steps_use
from pydantic import ValidationError

from simba_music.conditioning.line_up import LineUp, named_instruments
from simba_music.conditioning.request import Crop, Request
from simba_music.conditioning.types import Span
from simba_music.ui.create.details import details

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
    line_up = LineUp(names=NAMES)
    named = line_up.from_crop(Crop(), text)
    (row,) = line_up.features([named], Span(torch.zeros(1), 1, 50))[:, 0]
    assert [NAMES[i][0] for i in row.nonzero().flatten().tolist()] == titles
    assert row.sum() == len(titles)


@pytest.mark.parametrize(
    ("prompt", "titles"),
    [
        ("guitars", ["steel guitar"]),
        ("jazz guitar and bossa nova guitar", ["nylon guitar"]),
        ("slide guitar, catchy chorus", []),
        ("drums (no snare)", ["drum kit"]),
        ("piano, but without the piano", []),
        ("grand pianos, a clap", ["piano"]),
    ],
)
def test_a_prompt_asks_for_one_instrument_where_a_caption_may_mean_several(prompt, titles):
    named = LineUp(names=NAMES).from_prompt(Request(prompt))
    assert [NAMES[i][0] for i in named or ()] == titles


@pytest.mark.parametrize("names", [[[]], [["piano"], [" "]], [["x" * 65]], [["piano"]] * 1025, []])
def test_a_config_with_an_instrument_without_a_name_is_refused(names):
    with pytest.raises(ValidationError):
        lm_config("simba", conditions={"line_up": {"names": names}})


@pytest.mark.parametrize("backbone", ["simba", "transformer"])
@pytest.mark.parametrize("conditioning", ["prefix", "cross"])
def test_steps_use_the_line_up_as_the_forward_pass_does(backbone, conditioning):
    conditions = {"line_up": {"names": NAMES}}
    lm = random_lm(lm_config(backbone, conditioning=conditioning, conditions=conditions))
    assert_steps_use(lm, 30, (1,), line_up=[(0, 2, 6), None, (2,)])


def test_each_branch_of_guidance_has_what_its_own_text_names():
    lm = random_lm(lm_config("simba", conditions={"line_up": {"names": NAMES, "guided": 1.5}}))
    vectors = lm.conditions["line_up"]

    def added(*args, **kwargs):
        return added_by(lm, "line_up", *args, **kwargs)

    own = 1.5 * (vectors[0] + vectors[2])
    torch.testing.assert_close(added("piano and brass", guidance=1)[0], own)
    moved = added("piano and brass")
    torch.testing.assert_close(moved[0], own)
    assert not moved[1].any()  # no text, and so nothing that it names
    moved = added("piano", negative="drums")
    torch.testing.assert_close(moved, torch.stack([1.5 * vectors[0], vectors[4]]))
    assert not added("slow, sad").any()


def test_recipe_and_card_say_which_instruments_were_read(system, tmp_path):
    conditions = {"line_up": {"names": NAMES}}
    found = play_beside_plain(system, tmp_path, "ivories over percussion", conditions)
    assert found["left"].recipe.conditions["line_up"].value == "piano, drum kit"
    assert found["right"].recipe.conditions == {}
    assert "piano, drum kit" in details(found["left"], "")
    assert "Read:" not in details(found["right"], "")
