import pytest
import torch
from conftest import lm_config, play_beside_plain, random_lm
from model_checks import assert_steps_use

from simba_music.conditioning.beat import CYCLES, Beat, Pulse, named_tempo
from simba_music.conditioning.request import Crop, Request
from simba_music.conditioning.types import Span
from simba_music.generation.decoding import generate, read_requests
from simba_music.generation.engines.reference import ReferenceEngine
from simba_music.models.text_encoder import TextEncoder
from simba_music.ui.create.details import details


@pytest.mark.parametrize(
    ("prompt", "bpm"),
    [
        ("calm solo piano, 72 bpm, sad", 72),
        ("techno at 128BPM", 128),
        ("around 92.5 beats per minute", 92.5),
        ("a waltz of 90 beats a minute", 90),
        ("house, 124 beats/min", 124),
        ("tempo: 60, strings", 60),
        ("Tempo of about 144", 144),
        ("metronome at 100", 100),
        ("M.M. = 63", 63),
        ("♩ = 84, crotchet rest", 84),
        ("crotchet = 70", 70),
        ("quarter note = 110 and 140 bpm later", 110),
        ("90-bpm groove", 90),
        ("slow and sad", 62),
        ("slow, 140 bpm", 140),
        ("Adagio for strings", 68),
        ("fast-paced chase", 155),
        ("mid-tempo soul, moderate tempo", 90),
        ("a brisk and lively reel", 122),
        ("slow verse, fast chorus", 0),
        ("upbeat and fast punk", 122),
        ("not too fast", 0),
        ("not slow", 0),
        ("a pad with a slow attack, slowly rising", 0),
        ("breakfast", 0),
        ("a song of the 80s, 808 bass", 0),
        ("symphony no. 40, tempo rubato", 0),
        ("999 bpm", 0),
        ("12 bpm", 0),
        ("999 bpm, no: 100 bpm", 100),
        ("tempo 1200", 0),
        ("1128 bpm", 0),
        ("", 0),
        ("Tempo (BPM): 140", 140),
        ("140 b.p.m.", 140),
        ("120-130 bpm", 125),
        ("between 96 and 104 bpm", 100),
        ("dotted quarter = 60 in 6/8", 60),
        ("half note = 60", 120),
        ("eighth = 180", 90),
        ("ninety-six beats per minute", 96),
        ("one hundred and twelve bpm", 112),
        ("no fast drums", 0),
        ("not 120 bpm, 90 bpm", 90),
    ],
)
def test_a_tempo_is_read_where_a_prompt_names_one(prompt, bpm):
    assert named_tempo(prompt) == bpm


def test_features_repeat_with_the_beat_and_are_nothing_without_a_tempo():
    beat, span = Beat(), Span(torch.zeros(3, dtype=torch.long), 400, 50)
    found = beat.features([Pulse(120.0), Pulse(60.0, 1.0), None], span)
    assert found.shape == (3, 400, beat.width)
    assert not found[2].any()
    every_beat = [CYCLES.index(1.0), len(CYCLES) + CYCLES.index(1.0)]
    fast = found[0, :, every_beat]
    torch.testing.assert_close(fast[25:], fast[:-25], atol=1e-4, rtol=0)
    assert not torch.allclose(fast[12:], fast[:-12], atol=0.5)
    # the second row is half as fast, and one beat ahead
    torch.testing.assert_close(found[1, ::2, :-2], found[0, 25:225, :-2], atol=1e-4, rtol=0)


def test_beats_of_a_crop_are_counted_from_the_beginning_of_its_piece():
    assert Beat().from_crop(Crop(start_s=1.5, tempo=120.0), None) == Pulse(120.0, 3.0)
    assert Beat().from_crop(Crop(start_s=1.5), "120 bpm") is None


@pytest.mark.parametrize("backbone", ["simba", "transformer"])
@pytest.mark.parametrize("conditioning", ["prefix", "cross"])
def test_steps_use_the_beat_as_the_forward_pass_does(backbone, conditioning):
    lm = random_lm(lm_config(backbone, conditioning=conditioning, conditions={"beat": {}}))
    assert_steps_use(lm, 60, (1, 30), beat=[Pulse(120.0), None, Pulse(93.0, 2.5)])


def test_a_tempo_in_the_prompt_sets_the_beat_and_nothing_else_does():
    lm = random_lm(lm_config("simba", conditions={"beat": {"unguided": 0.85}}))
    encoder = TextEncoder.load(lm.config.text_encoder)

    def generated(prompt, **settings):
        request = Request(prompt, duration_s=4, draw=False, **settings)
        blocks = generate(ReferenceEngine(lm), lm.config, encoder, [request])
        return torch.cat(list(blocks), -1).flatten()

    for negative, beats in (("", [120, 120]), ("piano", [120, 120]), ("piano, 60 bpm", [120, 60])):
        request = Request("drums, 120 bpm", negative=negative)
        found = read_requests(lm.config, encoder, [request])
        assert [pulse.tempo for pulse in found.values["beat"]] == beats
        torch.testing.assert_close(found.levels["beat"], torch.tensor([1, 0.85]))
    with_beat = {p: generated(p) for p in ("drums, 120 bpm", "drums, loud")}
    other = generated("drums, 120 bpm", negative="piano, 60 bpm")
    lm.conditions["beat"].zero_()
    assert not torch.equal(generated("drums, 120 bpm"), with_beat["drums, 120 bpm"])
    assert torch.equal(generated("drums, loud"), with_beat["drums, loud"])
    assert not torch.equal(other, generated("drums, 120 bpm", negative="piano, 60 bpm"))


def test_recipe_and_card_say_which_tempo_was_read(system, tmp_path):
    found = play_beside_plain(system, tmp_path, "drums, 96 bpm", {"beat": {"unguided": 0.5}})
    (read,) = found["left"].recipe.conditions.values()
    assert read.model_dump() == {"value": "96 beats a minute", "guided": 1.0, "unguided": 0.5}
    assert found["right"].recipe.conditions == {}
    assert "96 beats a minute" in details(found["left"], "")
    assert "beats a minute" not in details(found["right"], "")
