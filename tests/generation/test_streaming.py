"""Sound while a take is made: soon, whole, decoded once, and near the level of the clip."""

import base64
import itertools
import json
from unittest.mock import patch

import numpy as np
import pytest
import torch

from simba_music import audio
from simba_music.audio import PEAK_DBTP, Waveform
from simba_music.generation.clip import AudioChunk, Clip, Progress
from simba_music.generation.streaming.sound import EXPECTED_LUFS, SoundStream, message, playable

SETTINGS = {"prompt": "calm piano", "duration_s": 2.5, "seed": 7}


def streamed(pipeline, side, should_stop=lambda: False, **changes):
    request = pipeline.validate(**(SETTINGS | changes))
    events = list(pipeline.generate(request, (side,), should_stop, stream=True))
    chunks = [event for event in events if isinstance(event, AudioChunk)]
    (clip,) = [event for event in events if isinstance(event, Clip)]
    return events, chunks, clip


def end_to_end(chunks):
    return torch.cat([chunk.waveform.samples for chunk in chunks], dim=-1)


@pytest.mark.parametrize("side", ["left", "right"])
def test_chunks_end_to_end_are_the_clip_before_its_gain(pipeline, side):
    _, chunks, clip = streamed(pipeline, side)
    assert [chunk.seq for chunk in chunks] == list(range(len(chunks))) and len(chunks) >= 3
    assert [chunk.last for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    starts = [chunk.start_sample for chunk in chunks]
    assert starts == [0, *itertools.accumulate(c.waveform.samples.shape[-1] for c in chunks[:-1])]
    (whole,) = pipeline.models[side].codec.decode(clip.codes[None])
    torch.testing.assert_close(end_to_end(chunks), whole.samples, atol=1e-5, rtol=0)


def test_a_streamed_clip_is_made_of_its_chunks_and_decoded_once(pipeline):
    codec = type(pipeline.models["left"].codec)
    with patch.object(codec, "decode", side_effect=AssertionError("decoded twice")):
        _, chunks, clip = streamed(pipeline, "left")
    sound = Waveform(end_to_end(chunks), 24_000)
    wave, loudness, _ = audio.normalise(audio.fit(sound, 2.5))
    assert torch.equal(clip.waveform.samples, wave.samples)
    assert clip.recipe.loudness_lufs == round(loudness, 2)


def test_streaming_changes_neither_tokens_nor_score(pipeline):
    _, _, clip = streamed(pipeline, "right")
    request = pipeline.validate(**SETTINGS)
    plain = list(pipeline.generate(request, ("right",)))[-1]
    assert torch.equal(clip.codes, plain.codes)
    torch.testing.assert_close(clip.waveform.samples, plain.waveform.samples, atol=1e-4, rtol=0)
    assert clip.score.cosine == pytest.approx(plain.score.cosine, abs=2e-4)


def test_there_is_sound_after_the_first_ten_frames(pipeline):
    events, chunks, _ = streamed(pipeline, "left")
    assert events[0] is chunks[0] and chunks[0].waveform.samples.shape[-1] > 0
    assert isinstance(events[1], Progress) and events[1].frames == 10


def test_a_take_that_is_stopped_has_its_sound_to_the_end(pipeline):
    calls = iter(range(10_000))
    _, chunks, clip = streamed(pipeline, "left", lambda: next(calls) >= 6)
    assert clip.stopped_early and chunks[-1].last
    assert end_to_end(chunks).shape[-1] == clip.waveform.samples.shape[-1] == 60 * 480


def test_codes_that_give_no_sound_yet_wait_for_more(pipeline):
    stream = SoundStream(pipeline.models["left"].codec, "left", 0, 1)
    codes = torch.zeros(1, 1, 3, dtype=torch.long)
    assert list(stream.add(codes)) == []
    (chunk,) = stream.end()
    assert chunk.last and chunk.seq == 0 and chunk.waveform.samples.shape[-1] == 3 * 480


def noise(level, seconds=2.0):
    generator = torch.Generator().manual_seed(0)
    return Waveform(level * torch.randn(1, round(24_000 * seconds), generator=generator), 24_000)


def test_sound_at_the_corpus_level_plays_at_the_clips_level():
    wave = noise(0.05)
    before = audio.loudness_lufs(wave.samples.T.numpy(), 24_000)
    level = 10 ** ((EXPECTED_LUFS - before) / 20)
    found = playable(Waveform(wave.samples * level, 24_000))
    after = audio.loudness_lufs(found.samples.T.numpy(), 24_000)
    assert after == pytest.approx(audio.TARGET_LUFS, abs=0.3)


def test_loud_sound_never_passes_the_ceiling_and_parts_still_meet():
    wave = noise(1.5)
    whole = playable(wave).samples
    assert whole.abs().max() <= 10 ** (PEAK_DBTP / 20)
    parts = [playable(Waveform(part, 24_000)).samples for part in wave.samples.split(777, dim=-1)]
    assert torch.equal(torch.cat(parts, dim=-1), whole)
    loudest = wave.samples.abs().argsort()  # louder in, louder out
    assert (whole.abs().gather(1, loudest).diff() >= -1e-6).all()


def test_the_message_to_the_player_is_json_and_holds_the_samples(pipeline):
    _, chunks, _ = streamed(pipeline, "left")
    sent = [json.loads(json.dumps(message(chunk, "left-0"))) for chunk in chunks]
    assert sent[0].keys() == {"clip", "seq", "start_sample", "sample_rate", "pcm_b64", "last"}
    assert {m["clip"] for m in sent} == {"left-0"} and {m["sample_rate"] for m in sent} == {24_000}
    pcm = b"".join(base64.b64decode(m["pcm_b64"]) for m in sent)
    heard = np.frombuffer(pcm, "<i2").astype(np.float32) / 32767
    wanted = playable(Waveform(end_to_end(chunks), 24_000)).samples[0].numpy()
    np.testing.assert_allclose(heard, wanted, atol=1 / 32767)


def test_a_stereo_codec_plays_in_mono():
    stereo = Waveform(torch.stack([torch.full((100,), 0.2), torch.zeros(100)]), 24_000)
    sent = message(AudioChunk("left", 0, 0, 0, stereo), "left-0")
    assert len(base64.b64decode(sent["pcm_b64"])) == 2 * 100
