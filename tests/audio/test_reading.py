"""Reading sound that people bring: whole, at its own level, or refused with its reason."""

import math
import struct
import tempfile
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import ENCODERS, RATE, encode, tone

from simba_music import audio
from simba_music.audio import SUFFIXES, Waveform
from simba_music.errors import RequestError

DATA = Path(__file__).parents[1] / "data"
NO_ENCODER = {".ape": "ape", ".spx": "speex"}  # read alone


@pytest.mark.parametrize("ending", sorted(ENCODERS) + [".ogg", ".oga"])
def test_every_format_is_read_whole(tmp_path, ending):
    rate = 48_000 if ending in (".opus", ".webm") else RATE
    wave = audio.read_recording(encode(tmp_path / f"x{ending}", tone(3, rate=rate), rate))
    assert wave.sample_rate == rate and wave.duration_s == pytest.approx(3, abs=0.05)
    assert float(wave.samples.abs().max()) == pytest.approx(0.3, rel=0.1)


def test_the_endings_are_those_that_are_tried_here():
    assert set(SUFFIXES) == {*ENCODERS, ".ogg", ".oga", *NO_ENCODER}
    for decoder in NO_ENCODER.values():
        assert av.codec.Codec(decoder, "r")


def test_an_mp3_whose_length_is_a_guess_is_read_to_its_end():
    assert audio.read(DATA / "vbr-no-xing.mp3").duration_s == pytest.approx(6.03, abs=0.05)


def test_the_content_says_what_a_file_is(tmp_path):
    encode(tmp_path / "x.m4a", tone(2))
    (tmp_path / "x.m4a").rename(tmp_path / "x.wav")
    assert audio.read(tmp_path / "x.wav").duration_s == pytest.approx(2, abs=0.1)


def test_float_above_full_scale_is_turned_down_and_not_clipped(tmp_path):
    sound = np.sin(2 * np.pi * 300 * np.arange(RATE) / RATE)
    soundfile.write(tmp_path / "loud.wav", 1.6 * sound, RATE, subtype="FLOAT")
    samples = audio.read(tmp_path / "loud.wav").samples[0].numpy()
    assert np.abs(samples).max() == pytest.approx(10 ** (-1 / 20), abs=1e-3)
    np.testing.assert_allclose(samples, sound * np.abs(samples).max(), atol=1e-3)
    written = audio.wav_bytes(audio.read(tmp_path / "loud.wav"))
    (tmp_path / "out.wav").write_bytes(written)
    kept, _ = soundfile.read(tmp_path / "out.wav")
    assert (np.abs(kept) > 0.999).mean() == 0


def test_antiphase_is_not_taken_for_silence():
    sound = torch.from_numpy(tone(1))
    mixed = audio.mono(Waveform(torch.stack([0.5 * sound, -0.5 * sound]), RATE))
    torch.testing.assert_close(mixed.samples[0], 0.5 * sound)
    wide = Waveform(torch.stack([sound, torch.from_numpy(tone(1, 550.0))]), RATE)
    assert not audio.cancels(wide)
    torch.testing.assert_close(audio.mono(wide).samples[0], wide.samples.mean(0))


def test_an_offset_is_taken_out(tmp_path):
    soundfile.write(tmp_path / "dc.wav", tone(1) + 0.4, RATE)
    assert abs(float(audio.read_recording(tmp_path / "dc.wav").samples.mean())) < 1e-4
    soundfile.write(tmp_path / "only.wav", np.full(RATE, 0.4), RATE)
    with pytest.raises(RequestError, match=r"only\.wav: it is silent"):
        audio.read_recording(tmp_path / "only.wav")


def odd(path, kind):
    sound = tone(1)
    if kind == "NaN":
        sound[100:200] = np.nan
    elif kind == "infinite":
        sound[100] = np.inf
    elif kind == "silent":
        sound *= 0
    elif kind == "too short":
        sound = sound[:0]
    if kind == "cannot read":
        path.write_text("not a sound")
    elif kind == "no file":
        path.symlink_to("/nowhere/x.wav")
    else:
        soundfile.write(path, sound, RATE, subtype="FLOAT")


@pytest.mark.parametrize(
    "kind", ["NaN", "infinite", "silent", "too short", "cannot read", "no file"]
)
def test_what_is_no_recording_is_refused_by_name(tmp_path, kind):
    odd(tmp_path / "x.wav", kind)
    with pytest.raises(RequestError, match=rf"x\.wav.*{kind}"):
        audio.read_recording(tmp_path / "x.wav")


def headers():
    """Sound files cut, with bytes changed, or with lengths, rates and channels that are lies."""
    found = list[bytes]()
    with tempfile.TemporaryDirectory() as place:
        for ending in (".wav", ".flac", ".aiff", ".caf", ".ogg", ".mp3", ".m4a", ".w64", ".wv"):
            found.append(encode(Path(place) / f"x{ending}", tone(0.2)).read_bytes())
    for rate, channels, bits, length in (
        (0, 1, 16, 100), (1, 1, 16, 100), (2**31, 2, 32, 8), (44_100, 0, 16, 4),
        (44_100, 65_535, 16, 2**32 - 1), (44_100, 2, 0, 100), (8_000, 1, 16, 2**32 - 1),
    ):  # fmt: skip
        form = struct.pack("<HHIIHH", 1, channels, rate, 0, 2, bits)
        data = b"data" + struct.pack("<I", length) + bytes(200)
        body = b"WAVEfmt " + struct.pack("<I", 16) + form + data
        found.append(b"RIFF" + struct.pack("<I", len(body)) + body)
    return found


HEADERS = headers()


@settings(max_examples=300, derandomize=True, deadline=None)
@given(
    st.sampled_from(HEADERS),
    st.lists(
        st.tuples(st.floats(0, 1, allow_subnormal=False), st.binary(min_size=1, max_size=4)),
        max_size=6,
    ),
    st.floats(0.02, 1, allow_subnormal=False),
)
def test_no_header_ends_in_a_traceback(data, changes, kept):
    found = bytearray(data[: math.ceil(kept * len(data))])
    for place, junk in changes:  # more of them at the beginning, where the header is
        at = int(place**3 * len(found))
        found[at : at + len(junk)] = junk
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.wav"
        path.write_bytes(found)
        try:
            wave = audio.read_recording(path)
        except RequestError as error:
            assert "x.wav" in str(error)
        else:
            assert wave.samples.numel() and bool(torch.isfinite(wave.samples).all())
