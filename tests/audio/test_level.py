import numpy as np
import pytest
import torch

from simba_music import audio
from simba_music.audio import Waveform

RATE = 24_000


def tone(seconds=3.0, amplitude=0.1, hertz=997.0):
    time = torch.arange(round(seconds * RATE)) / RATE
    return Waveform((amplitude * torch.sin(2 * torch.pi * hertz * time))[None], RATE)


def test_loudness_of_a_full_scale_997_hz_tone_is_minus_3_lufs():
    samples = tone(amplitude=1.0).samples[0].numpy()
    assert audio.loudness_lufs(samples, RATE) == pytest.approx(-3.01, abs=0.1)


def test_normalise_reaches_the_target():
    _, loudness, gain = audio.normalise(tone(amplitude=0.01))
    assert loudness == pytest.approx(-16, abs=0.05) and gain > 20


def clicking(amplitude):
    """A tone of -20 LUFS with a click of three samples every half second."""
    wave = tone(amplitude=0.14)
    for i in range(3):
        wave.samples[0, 6000 + i :: RATE // 2] = amplitude
    return wave


@pytest.mark.parametrize("amplitude", [0.5, 0.9])
def test_normalise_never_passes_minus_1_dbtp(amplitude):
    louder, _, _ = audio.normalise(clicking(amplitude))
    assert -1.5 < audio.true_peak_dbtp(louder.samples[0].numpy(), RATE) <= -0.99


def test_clicks_do_not_keep_a_clip_quiet():
    wave = clicking(0.9)
    quiet = audio.loudness_lufs(wave.samples[0].numpy(), RATE)
    louder, loudness, gain = audio.normalise(wave)
    assert quiet == pytest.approx(-20, abs=0.5)
    assert loudness == pytest.approx(-16, abs=0.1)  # -1 dBTP would allow one decibel only
    assert gain == pytest.approx(-16 - quiet, abs=0.5)


def test_the_limiter_touches_only_what_is_near_a_peak():
    wave = clicking(0.9)
    louder, _, gain = audio.normalise(wave)
    at = np.arange(wave.samples.shape[1])
    far = np.abs((at - 6001 + RATE // 4) % (RATE // 2) - RATE // 4) > 0.006 * RATE
    np.testing.assert_allclose(
        louder.samples[0, far], wave.samples[0, far] * 10 ** (gain / 20), rtol=1e-6
    )
    assert louder.samples[0, 6001] < 0.6 * 0.9 * 10 ** (gain / 20)


def test_the_limiter_takes_12_db_and_no_more():
    wave = tone(amplitude=0.001)
    wave.samples[0, ::RATE] = 0.9
    peak = audio.true_peak_dbtp(wave.samples[0].numpy(), RATE)
    _, loudness, gain = audio.normalise(wave)
    assert peak + gain == pytest.approx(-1 + 12, abs=0.01) and loudness < -24


def test_what_peaks_lower_is_not_limited():
    wave = tone(amplitude=0.01)
    louder, _, gain = audio.normalise(wave)
    torch.testing.assert_close(louder.samples, wave.samples * 10 ** (gain / 20))


def test_true_peak_sees_between_samples():
    time = np.arange(RATE)
    samples = np.sin(2 * np.pi * time / 4 + np.pi / 4)  # peaks fall between the samples
    assert np.abs(samples).max() < 0.71
    assert audio.true_peak_dbtp(samples, RATE) == pytest.approx(0, abs=0.2)


def test_silence_stays_silence():
    wave, loudness, gain = audio.normalise(Waveform(torch.zeros(1, RATE), RATE))
    assert gain == 0 and loudness == float("-inf") and wave.samples.abs().max() == 0


@pytest.mark.parametrize("duration_s", [2.0, 3.0, 4.5])
def test_fit_is_exact_and_ends_at_zero(duration_s):
    wave = audio.fit(tone(3.0), duration_s)
    assert wave.samples.shape == (1, round(duration_s * RATE)) and wave.samples[0, -1] == 0


def test_wav_round_trip_and_same_bytes(tmp_path):
    wave = tone()
    audio.write(tmp_path / "a.wav", wave)
    back = audio.read(tmp_path / "a.wav")
    assert back.sample_rate == RATE
    torch.testing.assert_close(back.samples, wave.samples, atol=2e-4, rtol=0)
    assert (tmp_path / "a.wav").read_bytes() == audio.wav_bytes(wave)
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]


def test_resample_keeps_the_pitch():
    wave = audio.resample(tone(), 48_000)
    spectrum = wave.samples[0].numpy() * np.hanning(wave.samples.shape[1])
    peak = np.abs(np.fft.rfft(spectrum)).argmax() / wave.duration_s
    assert peak == pytest.approx(997, abs=1)


def test_mel_bank_has_no_empty_band():
    bank = audio.mel_bank(RATE, 512, 80)
    torch.testing.assert_close(bank.sum(1), torch.ones(80))
