import pytest
import torch
from conftest import lm_config, play_beside_plain, random_lm
from model_checks import added_by, assert_steps_use

from simba_music.conditioning.key import NOTES, Key, KeySignature, named_key
from simba_music.conditioning.request import Crop
from simba_music.conditioning.types import Span
from simba_music.training.corpus.captioning.speaker import words
from simba_music.training.corpus.facts import mood
from simba_music.ui.create.details import details


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
        ("sad piano in a minor", "A minor"),
        ("a minor, 90 bpm", "A minor"),
        ("A minor 90 bpm", "A minor"),
        ("A min", "A minor"),
        ("Cmaj", "C major"),
        ("Cmaj7 chord", None),
        ("Gbmaj synthwave", "F# major"),
        ("122 Am", "A minor"),
        ("138 bpm C#m, dark", "C# minor"),
        ("F, Am, C and G", None),
        ("over Cm | Bb | F | Cm.", None),
        ("Cb major", "B major"),
        ("D# min", "Eb minor"),
        ("not in C minor", None),
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


def features(*keys):
    return KeySignature().features(keys, Span(torch.zeros(len(keys)), 1, 50))[:, 0]


def test_features_are_tonic_and_scale():
    found = features(Key(9, "minor"), Key(0, "major"), None)
    assert found.shape == (3, KeySignature().width)
    assert not found[2].any()
    # relative keys share their pitch classes, and differ in the tonic
    assert torch.equal(found[0, 12:], found[1, 12:])
    assert [NOTES[i] for i in found[0, 12:].nonzero().flatten()] == list("CDEFGAB")
    assert found[:2, :12].argmax(1).tolist() == [9, 0] and found[:2, :12].sum() == 2


def test_a_crop_has_the_key_of_its_piece_if_that_is_known():
    assert KeySignature().from_crop(Crop(key="D", mode="dorian"), None) == Key(2, "dorian")
    assert KeySignature().from_crop(Crop(), "in D dorian") is None


@pytest.mark.parametrize("backbone", ["simba", "transformer"])
@pytest.mark.parametrize("conditioning", ["prefix", "cross"])
def test_steps_use_the_key_as_the_forward_pass_does(backbone, conditioning):
    lm = random_lm(lm_config(backbone, conditioning=conditioning, conditions={"key": {}}))
    assert_steps_use(lm, 30, (1,), key=[Key(2, "minor"), None, Key(5, "major")])


def test_a_key_in_the_prompt_conditions_both_branches_each_at_its_level():
    lm = random_lm(lm_config("simba", conditions={"key": {"guided": 1.5, "unguided": 0.5}}))
    key = features(Key(2, "minor")) @ lm.conditions["key"]
    moved = added_by(lm, "key", "drums, D minor")
    assert moved.abs().amax(1).gt(0.05).all()
    torch.testing.assert_close(moved, torch.cat([1.5 * key, 0.5 * key]))
    assert not added_by(lm, "key", "drums, loud", draw=False).any()
    # a mode alone has the tonic of the seed, so that each take has its own
    moved = added_by(lm, "key", "drums, minor", seed=4, guidance=1)
    torch.testing.assert_close(moved, 1.5 * features(named_key("minor", 4)) @ lm.conditions["key"])


def test_no_level_jumps_where_guidance_begins():
    lm = random_lm(lm_config("simba", conditions={"key": {"guided": 1.5, "unguided": 0.5}}))
    none, little = (added_by(lm, "key", "drums, D minor", guidance=g) for g in (1.0, 1.1))
    assert len(none) == 1 and len(little) == 2
    torch.testing.assert_close(none[0], little[0])


def test_recipe_and_card_say_which_key_was_read(system, tmp_path):
    conditions = {"key": {}, "beat": {}}
    found = play_beside_plain(system, tmp_path, "drums, 96 bpm, C# minor", conditions)
    assert found["left"].recipe.conditions["key"].value == "C# minor"
    assert "key" not in found["right"].recipe.conditions
    assert "Read: 96 beats a minute; C# minor<" in details(found["left"], "")
    assert "Read:" not in details(found["right"], "")
