import pytest
import torch
from conftest import lm_config, play_beside_plain, random_lm
from model_checks import assert_steps_hear

from simba_music.conditioning.beat import CYCLES, FEATURES, BeatClock, named_tempo
from simba_music.generation.decoding import END_LEAD_S, UNGUIDED_BEAT, generate, prefill
from simba_music.generation.request import GenerationRequest
from simba_music.models.text_encoder import TextEncoder
from simba_music.ui.cards import result_card


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
    ],
)
def test_a_tempo_is_read_where_a_prompt_names_one(prompt, bpm):
    assert named_tempo(prompt) == bpm


def test_features_repeat_with_the_beat_and_are_nothing_without_a_tempo():
    clock = BeatClock.of(torch.tensor([120.0, 60.0, 0.0]), torch.tensor([0.0, 1.0, 0.0]))
    frames = torch.arange(400).expand(3, -1)
    found = clock.features(frames, 50)
    assert found.shape == (3, 400, FEATURES)
    assert not found[2].any()
    torch.testing.assert_close(
        clock._replace(level=clock.level / 4).features(frames, 50), found / 4
    )
    every_beat = [CYCLES.index(1.0), len(CYCLES) + CYCLES.index(1.0)]
    fast = found[0, :, every_beat]
    torch.testing.assert_close(fast[25:], fast[:-25], atol=1e-4, rtol=0)
    assert not torch.allclose(fast[12:], fast[:-12], atol=0.5)
    # the second row is half as fast, and one beat ahead
    torch.testing.assert_close(found[1, ::2, :-2], found[0, 25:225, :-2], atol=1e-4, rtol=0)


@pytest.mark.parametrize("backbone", ["simba", "transformer"])
@pytest.mark.parametrize("conditioning", ["prefix", "cross"])
def test_steps_keep_to_the_clock_as_the_forward_pass_does(backbone, conditioning):
    lm = random_lm(lm_config(backbone, conditioning=conditioning, beat_clock=True))
    clock = BeatClock.of(torch.tensor([120.0, 0.0, 93.0]), torch.tensor([0.0, 0.0, 2.5]))
    assert_steps_hear(lm, 60, (1, 30), clock=clock)


def test_a_tempo_in_the_prompt_sets_the_clock_and_nothing_else_does():
    lm = random_lm(lm_config("simba", beat_clock=True))
    encoder = TextEncoder.load(lm.config.text_encoder)

    def written(prompt, **settings):
        request = GenerationRequest(prompt, duration_s=4, **settings)
        return torch.stack(list(generate(lm, encoder, [request]))).flatten()

    for negative, beats in (("", [120, 120]), ("piano", [120, 120]), ("piano, 60 bpm", [120, 60])):
        request = GenerationRequest("drums, 120 bpm", negative=negative)
        clock = prefill(lm, encoder, [request]).clock
        assert clock.tempo.tolist() == beats
        assert torch.equal(clock.level, torch.tensor([1, UNGUIDED_BEAT]))
    with_clock = {p: written(p) for p in ("drums, 120 bpm", "drums, loud")}
    unsaid = written("drums, 120 bpm", negative="piano, 60 bpm")
    lm.clock_vectors.zero_()
    assert not torch.equal(written("drums, 120 bpm"), with_clock["drums, 120 bpm"])
    assert torch.equal(written("drums, loud"), with_clock["drums, loud"])
    assert not torch.equal(unsaid, written("drums, 120 bpm", negative="piano, 60 bpm"))


def test_recipe_and_card_say_which_tempo_a_model_was_told(system, tmp_path):
    found = play_beside_plain(system, tmp_path, "drums, 96 bpm", beat_clock=True)
    assert [found[side].recipe["tempo"] for side in ("left", "right")] == [96, None]
    assert "96 beats a minute" in result_card("", found["left"])
    assert "beats a minute" not in result_card("", found["right"])


def test_models_with_an_end_clock_are_told_an_end_and_the_unguided_half_a_later_one():
    lm = random_lm(lm_config("simba", end_clock=True, tail_s=1.5))
    encoder = TextEncoder.load(lm.config.text_encoder)
    requests = [GenerationRequest("drums", duration_s=s, seed=0) for s in (4, 6)]
    told = prefill(lm, encoder, requests).end_s.tolist()
    assert told == [5.5, 7.5, 5.5 + END_LEAD_S, 7.5 + END_LEAD_S]
    logits = []
    for seconds in (4, 6, 1e6):
        state = prefill(lm, encoder, requests)._replace(end_s=torch.full((4,), float(seconds)))
        previous = torch.zeros(4, 1, 50, dtype=torch.long)
        logits.append(lm.step(previous, state)[0])
    assert not torch.equal(logits[0], logits[1])  # the last four seconds begin at once
    torch.testing.assert_close(logits[1], logits[2])
