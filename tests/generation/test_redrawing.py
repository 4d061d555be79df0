"""A clip that is nearly empty is drawn again, before it is heard, at most three times."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from simba_music.audio import Waveform
from simba_music.audio.emptiness import active_share, is_silent
from simba_music.errors import RequestError
from simba_music.generation.clip import AudioChunk, Clip, Progress
from simba_music.generation.recipe import read_recipe
from simba_music.generation.request import MOST_REDRAWS
from simba_music.generation.sampling import generator_of
from simba_music.generation.streaming import making
from simba_music.generation.streaming.redrawing import draws, why_empty

SETTINGS = {"prompt": "calm piano", "duration_s": 5.0, "seed": 7}
RATE = 24_000


def events_of(pipeline, stream=False, **changes):
    request = pipeline.validate(("left",), **(SETTINGS | changes))
    return list(pipeline.generate(request, ("left",), stream=stream))


def test_a_silent_clip_is_drawn_again_and_its_recipe_gives_the_same_clip(pipeline, silence):
    begun = silence(2)
    clip = events_of(pipeline)[-1]
    assert begun == [0, 1, 2] and clip.recipe.request.subseed == 2
    assert clip.recipe.request.seed == 7 and not is_silent(clip.waveform)
    recipe = read_recipe(json.loads(json.dumps(clip.recipe.as_json())))
    again = list(pipeline.generate(recipe.request, ("left",)))[-1]
    assert begun == [0, 1, 2, 2] and torch.equal(again.codes, clip.codes)
    assert torch.equal(again.waveform.samples, clip.waveform.samples)


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_plays_silence_is_given_up_after_three_more_draws(pipeline, silence, stream):
    begun = silence(99)
    clips = [e for e in events_of(pipeline, stream) if isinstance(e, Clip)]
    assert begun == [0, 1, 2, 3] and len(clips) == 1
    assert clips[0].recipe.request.subseed == MOST_REDRAWS == 3
    assert is_silent(clips[0].waveform)


def test_a_recipe_of_before_is_made_with_the_first_draw_however_silent(pipeline, silence):
    begun = silence(99)
    made = events_of(pipeline, subseed=0)[-1]
    old = made.recipe.as_json()
    del old["request"]["subseed"]
    assert read_recipe(old).request == made.recipe.request
    again = list(pipeline.generate(read_recipe(old).request, ("left",)))[-1]
    assert begun == [0, 0] and torch.equal(again.codes, made.codes)


def test_while_streaming_a_side_silent_for_3_s_starts_again_unheard(pipeline, silence):
    begun = silence(1)
    events = events_of(pipeline, stream=True)
    chunks = [event for event in events if isinstance(event, AudioChunk)]
    first = next(event for event in events if isinstance(event, Progress) and event.subseed)
    assert begun == [0, 1] and events[-1].recipe.request.subseed == 1
    before = events[: events.index(first)]
    heard = [e for e in before if isinstance(e, AudioChunk) and not is_silent(e.waveform)]
    seconds = max(e.frames for e in before if isinstance(e, Progress)) / 50
    assert all(e in chunks for e in heard) and 2.5 < seconds < 3.6 and first.frames == 10
    assert [chunk.seq for chunk in chunks] == list(range(len(chunks))) and chunks[-1].last
    whole = torch.cat([chunk.waveform.samples for chunk in chunks], dim=-1)
    assert whole.shape[-1] == round(5.0 * RATE)


def test_while_streaming_silence_after_3_s_stays(pipeline, silence, monkeypatch):
    begun = silence(0)
    monkeypatch.setattr(making, "why_empty", lambda *a: "mostly silent")
    clip = events_of(pipeline, stream=True)[-1]
    assert begun == [0] and clip.recipe.request.subseed == 0


def test_a_silent_beginning_is_heard_in_full_once_there_is_sound(pipeline):
    from simba_music.generation.streaming.sound import SoundStream

    model = pipeline.models["left"]
    sound, codes = SoundStream(model.codec, "left", 0, 1, held_s=3.0), torch.zeros(1, 1, 60).long()
    step, quiet = model.codec.decode_step, [0.0]

    def stepped(codes, state):
        waves, state = step(codes, state)
        return [Waveform(wave.samples * quiet[0], wave.sample_rate) for wave in waves], state

    sound.codec = type("Quiet", (), {"decode_step": staticmethod(stepped), "sample_rate": RATE})()
    assert list(sound.add(codes)) == list(sound.add(codes)) == [] and not sound.silent
    quiet[0] = 1.0
    given = list(sound.add(codes))
    assert [chunk.seq for chunk in given] == [0, 1, 2] and given[0].start_sample == 0
    quiet[0] = 0.0  # a rest later is no beginning
    assert len(list(sound.add(torch.zeros(1, 1, 400).long()))) == 1 and not sound.silent


def test_in_a_batch_only_the_empty_ones_are_drawn_again(pipeline, monkeypatch):
    requests = [pipeline.validate(**(SETTINGS | {"seed": s, "duration_s": 2.0})) for s in (1, 2, 3)]
    plain = pipeline.generate_batch([replace(r, subseed=0) for r in requests], "left")

    def why(wave, gain_db, codes, rate):
        return "mostly silent" if torch.equal(codes, plain[1].codes) else ""

    monkeypatch.setattr(making, "why_empty", why)
    found = pipeline.generate_batch(requests, "left")
    assert [clip.recipe.request.subseed for clip in found] == [0, 1, 0]
    assert [torch.equal(a.codes, b.codes) for a, b in zip(plain, found, strict=True)] == [
        True,
        False,
        True,
    ]


def test_draws_of_a_seed_differ_and_the_first_is_what_the_seed_always_gave(pipeline):
    request = pipeline.validate(**SETTINGS)
    tried = list(draws(request))
    assert [(own.subseed, again) for own, again in tried] == [
        (0, True),
        (1, True),
        (2, True),
        (3, False),
    ]
    noise = [torch.rand(4, generator=generator_of(own)).tolist() for own, _ in tried]
    assert noise[0] == torch.rand(4, generator=torch.Generator().manual_seed(7)).tolist()
    assert len({tuple(one) for one in noise}) == 4
    others = [replace(request, temperature=0.0), replace(request, subseed=2)]
    assert [[own.subseed for own, _ in draws(one)] for one in others] == [[0], [2]]


@pytest.mark.parametrize("bad", [-1, 4, 1.5, "1", True])
def test_a_draw_that_there_is_not_is_refused(pipeline, bad):
    with pytest.raises(RequestError, match="subseed must be a whole number from 0 to 3"):
        pipeline.validate(**SETTINGS, subseed=bad)


def test_what_is_nearly_empty():
    def wave(*parts):
        return Waveform(torch.from_numpy(np.concatenate(parts).astype("float32"))[None], RATE)

    tone, rest = 0.3 * np.sin(np.arange(RATE)), 0.001 * np.sin(np.arange(RATE))
    free = torch.arange(750)[None]
    assert active_share(wave(tone, rest, rest)) == pytest.approx(1 / 3, abs=0.02)
    assert why_empty(wave(tone, tone, rest, rest), 6.0, free, 75) == ""
    assert why_empty(wave(tone, *[rest] * 9), 6.0, free, 75) == "mostly silent"
    assert why_empty(wave(0 * tone), 0.0, free, 75) == "mostly silent"
    assert why_empty(wave(tone), 24.5, free, 75) == "very faint"
    stuck = torch.cat([free[:, :300], torch.full((1, 391), 5)], dim=1)
    assert why_empty(wave(tone), 6.0, stuck, 75) == "stuck on one code"
    assert why_empty(wave(tone), 6.0, stuck[:, :-2], 75) == ""
