"""The fast decoder: the sound of EncodecModel for every shape of codec, whole and in chunks."""

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from test_codec import META_24, META_32, random_codec

from simba_music.hub.places import BUNDLED
from simba_music.models.codec import Codec
from simba_music.models.fast_decoder import decoder, frames
from simba_music.models.fast_decoder.decoder import encodec_decode
from simba_music.models.fast_decoder.scratch import Scratch
from simba_music.training.corpus.tokens import codec_ref

SMALL = {"num_filters": 4, "hidden_size": 16, "codebook_dim": 16}
AHEAD = SMALL | {"use_causal_conv": False}
WIDE = {"kernel_size": 31, "last_kernel_size": 127, "residual_kernel_size": 5}
CODECS = {
    "causal": SMALL,
    "causal zeros": SMALL | {"pad_mode": "constant"},
    "ahead": AHEAD | {"num_residual_layers": 2},
    "ahead zeros": AHEAD | {"pad_mode": "constant", "upsampling_ratios": [8, 5, 4, 3]},
    "half trimmed": SMALL | {"trim_right_ratio": 0.5},
    "trimmed left": SMALL | {"trim_right_ratio": 0.0},
    "shortcut": SMALL | {"use_conv_shortcut": True, "num_lstm_layers": 3, "compress": 1},
    "straight": SMALL | {"use_conv_shortcut": False},
    "wide": AHEAD | WIDE | {"num_residual_layers": 3, "dilation_growth_rate": 3},
    "wide causal": SMALL | WIDE | {"num_residual_layers": 3, "dilation_growth_rate": 3},
    "even kernels": AHEAD | {"kernel_size": 6, "last_kernel_size": 4, "residual_kernel_size": 2},
    "one tap": SMALL | {"kernel_size": 1, "last_kernel_size": 1, "residual_kernel_size": 1},
    "odd ratios": AHEAD | {"upsampling_ratios": [8, 3, 1, 7]},
}
GROUP_NORM = AHEAD | {"norm_type": "time_group_norm"}


def random_codes(codec, frames, batch=2, books=1):
    generator = torch.Generator().manual_seed(frames)
    shape = (batch, books, frames)
    return torch.randint(0, codec.ref.codebook_size, shape, generator=generator)


def whole(codec, codes):
    return torch.stack([wave.samples for wave in codec.decode(codes)])


def streamed(codec, codes, chunk):
    state, parts = codec.decode_init(*codes.shape[:2]), []
    for part in codes.split(chunk, dim=2):
        waves, state = codec.decode_step(part, state)
        parts.append(torch.stack([wave.samples for wave in waves]))
    parts.append(torch.stack([wave.samples for wave in codec.decode_flush(state)]))
    return torch.cat(parts, dim=2)


def assert_same_sound(found, wanted):
    assert found.shape == wanted.shape
    assert float((found - wanted).abs().max()) <= 1e-5 * float(wanted.abs().max())


@pytest.mark.parametrize("name", CODECS)
def test_every_codec_sounds_as_by_encodec_model_whole_and_in_chunks(name):
    codec = random_codec(**CODECS[name])
    assert codec.decoder == "fast"
    for length, chunks in ((1, [1]), (2, [1, 2]), (5, [1, 4]), (70, [1, 7, 10, 64, 70])):
        codes = random_codes(codec, length)
        wanted = encodec_decode(codec.model, codes)
        assert_same_sound(whole(codec, codes), wanted)
        for chunk in chunks:
            assert_same_sound(streamed(codec, codes, chunk), wanted)


@pytest.mark.parametrize("fields", [META_24, META_32])
def test_metas_codecs_sound_as_by_encodec_model_with_some_and_all_of_their_books(fields):
    codec = random_codec(**fields)
    assert codec.decoder == "fast"
    for books in (1, 2, codec.n_codebooks):
        codes = random_codes(codec, 20, 1, books)
        wanted = encodec_decode(codec.model, codes)
        assert_same_sound(whole(codec, codes), wanted)
        assert_same_sound(streamed(codec, codes, 10), wanted)


def test_the_bundled_codec_sounds_as_by_encodec_model():
    codec = Codec.load(BUNDLED / "codec", codec_ref(BUNDLED / "codec"))
    assert codec.decoder == "fast"
    codes = random_codes(codec, 150, 3)
    wanted = encodec_decode(codec.model, codes)
    for found in (whole(codec, codes), streamed(codec, codes, 10), streamed(codec, codes, 64)):
        assert float((found - wanted).abs().max()) < 1e-5


@pytest.mark.parametrize("name", ["causal", "ahead", "ahead zeros"])
def test_a_chunk_holds_all_that_no_later_code_can_change(name):
    codec = random_codec(**CODECS[name])
    codes, other = random_codes(codec, 60), random_codes(codec, 61)[..., :60]
    (wave, _), _ = codec.decode_step(codes[..., :40], codec.decode_init(2))
    until = wave.samples.shape[1]
    changed = whole(codec, torch.cat([codes[..., :40], other[..., 40:]], dim=2))[0, 0]
    kept = whole(codec, codes)[0, 0]
    assert until > 0
    torch.testing.assert_close(kept[:until], changed[:until], rtol=0, atol=1e-7)
    samples = codec.sample_rate // codec.frame_rate
    assert float((kept - changed)[until : until + samples].abs().max()) > 1e-6


def test_a_state_may_go_on_twice():
    codec = random_codec(**CODECS["ahead"])
    codes, other = random_codes(codec, 40), random_codes(codec, 41)[..., :20]
    _, state = codec.decode_step(codes[..., :20], codec.decode_init(2))
    first = codec.decode_step(codes[..., 20:], state)[0]
    codec.decode_step(other, state)
    again = codec.decode_step(codes[..., 20:], state)[0]
    assert first[1].samples.shape[1] > 0
    assert torch.equal(first[1].samples, again[1].samples)


def test_threads_do_not_disturb_each_other():
    codec = random_codec(**CODECS["ahead"])
    jobs = [(random_codes(codec, 60 + i), 5 + i) for i in range(8)]
    alone = [streamed(codec, *job) for job in jobs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda job: streamed(codec, *job), jobs))
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["ahead", "ahead zeros", "shortcut"])
def test_without_tables_and_without_onednn_the_sound_is_the_same(monkeypatch, name):
    monkeypatch.setattr(frames, "_TABLES_BYTES", 0)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    codec = random_codec(**CODECS[name])
    assert codec.decoder == "fast"
    codes = random_codes(codec, 30, books=2)
    assert_same_sound(streamed(codec, codes, 7), encodec_decode(codec.model, codes))
    assert not [key for key, _ in codec.fast.named_buffers() if "table" in key]


def test_sound_may_be_kept_for_a_gradient():
    codec = random_codec(**CODECS["ahead"])
    codes = random_codes(codec, 30)
    weight = torch.ones(1, requires_grad=True)
    for samples in (whole(codec, codes), streamed(codec, codes, 10)):
        (weight * samples).sum().backward()
    assert weight.grad is not None


@pytest.mark.parametrize(
    ("fields", "said"),
    [(GROUP_NORM, "time_group_norm"), (AHEAD | {"pad_mode": "replicate"}, "repl")],
)
def test_what_the_fast_decoder_lacks_is_said_and_decoded_by_encodec_model(caplog, fields, said):
    with caplog.at_level(logging.WARNING):
        codec = random_codec(**fields)
    assert codec.decoder == "transformers" and said in caplog.text
    codes = random_codes(codec, 30)
    wanted = encodec_decode(codec.model, codes)
    assert torch.equal(whole(codec, codes), wanted)
    assert torch.equal(streamed(codec, codes, 7), wanted)


def test_a_fast_decoder_of_another_sound_is_not_used(caplog, monkeypatch):
    right = Scratch.elu
    monkeypatch.setattr(Scratch, "elu", lambda self, x: right(self, x)[:-1])
    with caplog.at_level(logging.WARNING):
        codec = random_codec(**CODECS["ahead"])
    assert codec.decoder == "transformers" and "wrong by" in caplog.text
    codes = random_codes(codec, 20)
    assert torch.equal(whole(codec, codes), encodec_decode(codec.model, codes))


def test_plans_for_every_length_of_chunk_are_not_kept_for_ever(monkeypatch):
    monkeypatch.setattr(decoder, "_KEPT", 8)
    codec = random_codec(**CODECS["causal"])
    codes = random_codes(codec, sum(range(20)), 1)
    state = codec.decode_init(1)
    for chunk in codes.split(list(range(20)), dim=2):
        _, state = codec.decode_step(chunk, state)
    (place,) = codec.fast._idle
    assert 0 < len(place.programs) <= 8
