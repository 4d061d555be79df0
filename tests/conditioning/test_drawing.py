"""Drawing: the seed decides tempo and key where a prompt leaves them open, for all models alike."""

import dataclasses

import pytest
from conftest import play_beside_plain

from simba_music.conditioning.batch import drawn_from, read_from
from simba_music.conditioning.beat import Beat
from simba_music.conditioning.key import KeySignature
from simba_music.conditioning.reading.scales import SCALES
from simba_music.conditioning.reading.styles import named_styles, styles
from simba_music.conditioning.request import Request
from simba_music.generation.recipe import read_recipe
from simba_music.training.corpus.tables import genres
from simba_music.ui.create.details import details


def tempos(prompt, seeds=60):
    return [Beat().wanted(Request(prompt, seed=seed)).tempo for seed in range(seeds)]


def keys(prompt, seeds=60):
    return [KeySignature().wanted(Request(prompt, seed=seed)) for seed in range(seeds)]


@pytest.mark.parametrize("name", sorted(genres()))
def test_a_genre_draws_from_the_composers_table(name):
    low, high = genres()[name].tempo
    found = tempos(genres()[name].names[0])
    assert low <= min(found) and max(found) <= high and len(set(found)) > 5
    assert {key.scale for key in keys(genres()[name].names[0])} <= set(genres()[name].modes)
    assert styles()[name].tempo == genres()[name].tempo


def test_moods_and_tempo_words_narrow_the_draw():
    assert max(tempos("calm rock")) < 100 <= min(tempos("energetic jazz"))
    assert {62 <= bpm <= 155 for bpm in tempos("slow verse, fast chorus")} == {True}
    assert all(4 in SCALES[key.scale] for key in keys("calm folk"))
    assert all(3 in SCALES[key.scale] for key in keys("tense folk"))
    assert max(tempos("techno in 6/8")) <= 0.6 * 142 + 1
    assert named_styles("lo-fi hip hop beat, heavy-metal") == ("lo-fi", "metal")


def test_chords_suggest_their_key():
    assert {str(key) for key in keys("chords: Am F C G", 5)} == {"A minor"}
    assert {str(key) for key in keys("chords: D A Bm G", 5)} == {"D major"}


@pytest.mark.parametrize(
    ("prompt", "tempo", "key"),
    [
        ("rubato piano", False, True),
        ("strings in free time", False, True),
        ("ambient drone", False, False),
        ("atonal clusters", True, False),
        ("no tempo, low strings", False, True),
        ("no rubato, piano", True, True),
        ("piano", True, True),
    ],
)
def test_what_wants_no_tempo_or_key_gets_none(prompt, tempo, key):
    request = Request(prompt)
    assert (Beat().wanted(request) is not None) == tempo
    assert (KeySignature().wanted(request) is not None) == key


def test_the_same_seed_draws_the_same_for_any_model_and_a_setting_turns_it_off():
    request = Request("loud music", seed=5)
    beat, other = Beat(), Beat(guided=2.0)
    assert beat.wanted(request) == other.wanted(request)
    assert len({beat.wanted(dataclasses.replace(request, seed=s)) for s in range(30)}) > 10
    off = dataclasses.replace(request, draw=False)
    assert beat.wanted(off) is None and KeySignature().wanted(off) is None
    conditions = {"beat": beat, "key": KeySignature()}
    assert set(read_from(conditions, request)) == set(drawn_from(conditions, request))
    assert read_from(conditions, off) == drawn_from(conditions, off) == {}
    assert drawn_from(conditions, Request("90 bpm, A minor")) == {}
    # what is said is never drawn; a mode alone gets its tonic with drawing or without
    said = Request("90 bpm, sad", seed=5)
    assert beat.wanted(said).tempo == 90
    assert KeySignature().wanted(said) == KeySignature().wanted(
        dataclasses.replace(said, draw=False)
    )


def test_both_branches_have_what_is_drawn():
    request = Request("loud music", seed=5)
    assert Beat().from_negative(request) == Beat().wanted(request)
    assert KeySignature().from_negative(request) == KeySignature().wanted(request)


def test_card_and_recipe_show_what_was_drawn_apart(system, tmp_path):
    conditions = {"key": {}, "beat": {}}
    found = play_beside_plain(system, tmp_path, "drums, no vocals, C# minor", conditions)["left"]
    bpm = Beat().wanted(found.recipe.request).tempo
    assert found.recipe.drawn == {"beat": f"{bpm:g} bpm"} and "key" in found.recipe.conditions
    card = details(found, "")
    assert "Read: C# minor<" in card and "Without: vocals<" in card
    assert f"Drawn: {bpm:g} bpm<" in card
    assert found.recipe.denied == ("vocals",)
    assert read_recipe(found.recipe.as_json()) == found.recipe


def test_a_recipe_of_before_drawing_is_made_again_without(system, tmp_path):
    recipe = play_beside_plain(system, tmp_path, "drums", {"beat": {}})["left"].recipe.as_json()
    del recipe["request"]["draw"]
    assert read_recipe(recipe).request.draw is False
