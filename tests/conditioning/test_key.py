import functools

import pytest
import torch
from conftest import lm_config, play_beside_plain, random_lm
from model_checks import added_by, assert_steps_hear

from simba_music.conditioning.key import FEATURES, NOTES, Key, key_features, named_key
from simba_music.generation.decoding import GUIDED_KEY, UNGUIDED_KEY
from simba_music.training.corpus.captioning.speaker import words
from simba_music.training.corpus.facts import mood
from simba_music.ui.cards import result_card


@pytest.mark.parametrize(
    ("prompt", "key"),
    [
        ("slow piano in A minor", "A minor"),
        ("A minor, sad", "A minor"),
        ("c minor", "C minor"),
        ("f# dorian groove", "F# dorian"),
        ("in E flat major", "Eb major"),
        ("a flat major waltz", "Ab major"),
        ("E♭ Major", "Eb major"),
        ("bb minor", "Bb minor"),
        ("C-sharp minor sonata", "C# minor"),
        ("an A harmonic minor run", "A minor"),
        ("G aeolian", "G minor"),
        ("A minor pentatonic", "A minor pentatonic"),
        ("C major pentatonic", "C pentatonic"),
        ("D minor, then F major", "D minor"),
        ("in the key of G", "G major"),
        ("Key: F#m", "F# minor"),
        ("techno in Bbm, 130 bpm", "Bb minor"),
        ("canon in D", "D major"),
        ("key of A.", "A major"),
        ("Am I dreaming", None),
        ("a minor third, minor 7th chords", None),
        ("not minor", None),
        ("from major to minor", None),
        ("in G7 sus, plan b", None),
        ("calm solo piano", None),
        ("happy, then sad", None),
        ("not sad", None),
        ("", None),
    ],
)
def test_a_key_is_read_where_a_prompt_names_one(prompt, key):
    found = named_key(prompt, 0)
    assert (str(found) if found else None) == key


@pytest.mark.parametrize(
    ("prompt", "scale"),
    [
        ("in a minor key", "minor"),
        ("A minor key piece", "minor"),
        ("a minor blues", "minor"),
        ("sad strings, minor", "minor"),
        ("jolly, in a major tonality", "major"),
        ("a folk tune in dorian mode", "dorian"),
        ("sad, in a major key", "major"),
        ("sad solo piano", "minor"),
        ("Happily strummed ukulele", "major"),
        ("dark, with minor seventh chords", "minor"),
        ("not minor, cheerful", "major"),
    ],
)
def test_the_seed_draws_the_tonic_of_a_mode_or_mood_alone(prompt, scale):
    found = [named_key(prompt, seed) for seed in range(200)]
    assert {key.scale for key in found} == {scale}
    assert {key.tonic for key in found} == set(range(12))
    assert found == [named_key(prompt, seed) for seed in range(200)]


def test_no_mood_of_the_corpus_is_read_as_its_opposite():
    for mode in ("major", "minor"):
        own = {word for arousal in range(4) for word in words()["mood"][mood(mode, arousal)]}
        read = {word: named_key(word, 0) for word in own}
        assert {key.scale for key in read.values() if key} == {mode}


def test_features_are_tonic_and_scale():
    found = key_features([Key(9, "minor"), Key(0, "major"), None])
    assert found.shape == (3, FEATURES)
    assert not found[2].any()
    # relative keys share their pitch classes, and differ in the tonic
    assert torch.equal(found[0, 12:], found[1, 12:])
    assert [NOTES[i] for i in found[0, 12:].nonzero().flatten()] == list("CDEFGAB")
    assert found[:2, :12].argmax(1).tolist() == [9, 0] and found[:2, :12].sum() == 2


@pytest.mark.parametrize("backbone", ["simba", "transformer"])
@pytest.mark.parametrize("conditioning", ["prefix", "cross"])
def test_steps_hear_the_key_as_the_forward_pass_does(backbone, conditioning):
    lm = random_lm(lm_config(backbone, conditioning=conditioning, key_signature=True))
    key = key_features([Key(2, "minor"), None, Key(5, "major")])
    assert_steps_hear(lm, 30, (1,), key=key)


def test_a_key_in_the_prompt_is_told_to_both_halves_and_nothing_else_is():
    lm = random_lm(lm_config("simba", key_signature=True))
    told = functools.partial(added_by, lm, lm.key_vectors)
    key = key_features([Key(2, "minor")]) @ lm.key_vectors
    moved = told("drums, D minor")
    assert moved.abs().amax(1).gt(0.05).all()
    torch.testing.assert_close(moved, torch.cat([GUIDED_KEY * key, UNGUIDED_KEY * key]))
    torch.testing.assert_close(told("drums, D minor", guidance=1), key)
    assert not told("drums, loud").any()
    # a mode alone is told with the tonic of the seed, so that each take has its own
    moved = told("drums, minor", seed=4, guidance=1)
    torch.testing.assert_close(moved, key_features([named_key("minor", 4)]) @ lm.key_vectors)


def test_recipe_and_card_say_which_key_a_model_was_told(system, tmp_path):
    told = {"key_signature": True, "beat_clock": True}
    found = play_beside_plain(system, tmp_path, "drums, 96 bpm, C# minor", **told)
    assert [found[side].recipe["key"] for side in ("left", "right")] == ["C# minor", None]
    assert "Played in C# minor, to 96 beats a minute." in result_card("", found["left"])
    assert "Played" not in result_card("", found["right"])
