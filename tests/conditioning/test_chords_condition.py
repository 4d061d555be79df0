"""Chords: progressions read from prompts, and models conditioned on them."""

import pytest
import torch
from conftest import lm_config, play_beside_plain, random_lm
from model_checks import assert_steps_use

from simba_music.conditioning.chord_symbols import NO_CHORD
from simba_music.conditioning.chords import Chords, Progression, chord_s, named_chords
from simba_music.conditioning.request import Crop, Request
from simba_music.conditioning.types import Span


@pytest.mark.parametrize(
    ("prompt", "symbols"),
    [
        ("calm piano, chords: Am F C G", "Am F C G"),
        ("Chords Am, F, C and G, 90 bpm", "Am F C G"),
        ("with the progression C - G - Am - F", "C G Am F"),
        ("chord progression of Dm7 G7 Cmaj7", "Dm7 G7 Cmaj7"),
        ("pop over C | G/B | Am | F", "C G Am F"),
        ("Bbmaj7 → Eb6 → F#m7b5, slow", "Bbmaj7 Eb6 F#m7b5"),
        ("changes: A minor, D minor, E7", "Am Dm E7"),
        ("chords: Cmin Fmin7 B♭ E♭M7", "Cm Fm7 Bb Ebmaj7"),
        ("ii-V-I in D", "Em A D"),
        ("I V vi IV in C major", "C G Am F"),
        ("i–VI–III–VII in A minor, dark", "Am F C G"),
        ("jazz, ii7 V7 Imaj7, key of G", "Am7 D7 Gmaj7"),
        ("chords: Am F C G, E minor, 96 bpm", "Am F C G"),
        ("chords: C G 7 bars, D major key", "C G"),
        ("i VI VII in A minor pentatonic", "Am F G"),
        ("C and G are notes", ""),
        ("calm piano in A minor", ""),
        ("chords, warm and wide", ""),
        ("a I V vi IV song", ""),
        ("A Day in C", ""),
        ("chords: C", ""),
        ("B-side, A-team", ""),
        ("", ""),
    ],
)
def test_a_progression_is_read_where_a_prompt_names_one(prompt, symbols):
    assert named_chords(prompt, 0) == tuple(symbols.split())


@pytest.mark.parametrize(
    ("prompt", "seconds"),
    [
        ("chords: C F", 2.0),
        ("chords: C F, 60 bpm", 4.0),
        ("chords: C F, two bars each, 120 bpm", 4.0),
        ("chords: C F, half a bar each, 120 bpm", 1.0),
        ("chords: C F, 2 beats each, 120 bpm", 1.0),
        ("waltz, chords: C F, 90 bpm", 2.0),
        ("in 3/4, chords: C F, 60 bpm", 3.0),
    ],
)
def test_a_chord_lasts_a_bar_unless_said_otherwise(prompt, seconds):
    assert chord_s(prompt) == pytest.approx(seconds)


def test_features_are_root_and_tones_and_come_round():
    chords, span = Chords(), Span(torch.tensor([0, 0, 50]), 200, 50)
    value = chords.from_prompt(Request("chords: Am F, one bar each, 240 bpm"))
    assert value == Progression(("Am", "F"), (0.0, 1.0), 2.0)
    found = chords.features([value, None, value], span)
    assert found.shape == (3, 200, chords.width) and not found[1].any()
    root, tones = found[0].split(12, dim=-1)
    assert root.argmax(-1).view(4, 50).unique(dim=1).flatten().tolist() == [9, 5, 9, 5]
    assert tones[0].nonzero().flatten().tolist() == [0, 4, 9]
    assert tones[50].nonzero().flatten().tolist() == [0, 5, 9]
    assert torch.equal(found[2, :150], found[0, 50:])  # blocks go on where others end


def test_a_crop_has_the_chords_of_its_place_in_the_piece():
    crop = Crop(start_s=4.0, chords=((3.5, "Am"), (5.0, NO_CHORD), (6.0, "F")))
    value = Chords().from_crop(crop, None)
    assert value == Progression(("Am", NO_CHORD, "F"), (-0.5, 1.0, 2.0))
    found = Chords().features([value], Span(torch.zeros(1), 150, 50))[0, :, :12]
    assert found[:50].argmax(-1).eq(9).all() and not found[50:100].any()
    assert found[100:].argmax(-1).eq(5).all()
    assert Chords().from_crop(Crop(), "chords: Am F") is None


@pytest.mark.parametrize("backbone", ["simba", "transformer"])
@pytest.mark.parametrize("conditioning", ["prefix", "cross"])
def test_steps_use_the_chords_as_the_forward_pass_does(backbone, conditioning):
    lm = random_lm(lm_config(backbone, conditioning=conditioning, conditions={"chords": {}}))
    values = [Progression(("C", "Am"), (0.0, 0.3), 0.6), None, Progression(("F#m7b5",), (0.0,))]
    assert_steps_use(lm, 60, (1, 30), chords=values)


def test_the_recipe_says_which_chords_were_read(system, tmp_path):
    found = play_beside_plain(system, tmp_path, "chords: Am F C G", {"chords": {"guided": 2.0}})
    read = found["left"].recipe.conditions["chords"].model_dump()
    assert read == {"value": "chords Am F C G", "guided": 2.0, "unguided": 1.0}
