"""Density: read from prompts that ask for few notes or many, known of crops, heard by the model."""

import pytest
import torch
from conftest import lm_config, play_beside_plain, random_lm
from model_checks import assert_steps_use

from simba_music.conditioning.density import Density
from simba_music.conditioning.reading.densities import DENSITIES, named_density
from simba_music.conditioning.request import Crop, Request
from simba_music.conditioning.types import Span


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ("sparse piano", "sparse"),
        ("a stripped-down arrangement with guitar", "sparse"),
        ("minimalistic, few notes", "sparse"),
        ("minimal techno", None),
        ("busy drums and bass", "busy"),
        ("dense, intricate harp", "busy"),
        ("music for a busy street", None),
        ("not busy, calm", None),
        ("sparse at first, then busy", None),
        ("calm piano", None),
    ],
)
def test_words_for_few_or_many_notes_are_read(prompt, found):
    assert named_density(prompt) == found


def test_what_is_refused_is_the_negative_sides():
    density = Density()
    assert density.from_prompt(Request("piano, not busy")) is None
    assert density.from_negative(Request("piano, not busy")) == "busy"
    assert density.from_negative(Request("sparse piano", negative="dense")) == "busy"
    assert density.from_negative(Request("sparse piano")) == "sparse"


def test_features_say_which_of_the_three_and_nothing_where_it_is_unknown():
    density, span = Density(), Span(torch.zeros(4), 5, 50.0)
    found = density.features([*DENSITIES, None], span)
    assert torch.equal(found[:3, 0], torch.eye(3)) and not found[3].any()
    assert density.from_crop(Crop(density="busy"), None) == "busy"
    assert density.from_crop(Crop(), "a busy piece") is None


@pytest.mark.parametrize("backbone", ["simba", "transformer"])
def test_forward_and_steps_use_it(backbone):
    lm = random_lm(lm_config(backbone, conditions={"density": {}}))
    assert_steps_use(lm, 12, (1, 5), density=["sparse", None, "busy"])


def test_it_is_in_the_recipe_where_the_model_has_it(system, tmp_path):
    clips = play_beside_plain(system, tmp_path, "sparse piano", {"density": {}})
    assert clips["left"].recipe.conditions["density"].value == "sparse"
    assert "density" not in clips["right"].recipe.conditions
