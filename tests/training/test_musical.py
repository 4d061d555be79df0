"""Musical measures: what is found in sounds that are made for it."""

import numpy as np
import pytest

from simba_music.audio import SAMPLE_RATE
from simba_music.training.evaluation.musical import (
    is_nearly_empty,
    key_clarity,
    musical_rows,
    pulse_clarity,
    repetition,
)

TIME = np.arange(8 * SAMPLE_RATE) / SAMPLE_RATE
NOISE = np.random.default_rng(0).normal(size=len(TIME))


def tone(pitch, start_s, length_s=0.4):
    own = TIME - start_s
    inside = (own >= 0) & (own < length_s)
    return (
        inside
        * np.exp(-4 * own * inside)
        * np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * TIME)
    )


def clicks(times):
    return sum(((TIME >= at) & (TIME < at + 0.02)) * NOISE for at in times)


def test_a_steady_beat_is_clearer_than_an_unsteady_one():
    steady = clicks(np.arange(0.2, 8, 0.5))
    unsteady = clicks(np.sort(np.random.default_rng(1).uniform(0, 8, 16)))
    assert pulse_clarity(steady) > 0.8 > pulse_clarity(unsteady) + 0.3
    assert pulse_clarity(np.zeros(len(TIME))) == 0.0


def test_a_scale_is_clearer_than_all_twelve_notes():
    scale = sum(
        tone(60 + step, 0.5 * i) for i, step in enumerate((0, 4, 7, 0, 5, 9, 7, 11, 0, 4, 7, 2, 0))
    )
    every = sum(tone(60 + step, 0.5 * step) for step in range(12))
    assert key_clarity(scale) > 0.8 > key_clarity(every) + 0.2
    assert key_clarity(np.zeros(len(TIME))) == 0.0


def test_what_comes_again_repeats():
    again = sum(tone(60 + (0, 5, 9, 2)[i % 4], 0.5 * i) for i in range(16))
    drone = np.sin(2 * np.pi * 220 * TIME)
    assert repetition(again) > 0.3 > repetition(drone) + 0.2
    assert repetition(np.zeros(len(TIME))) == 0.0


def test_a_clip_of_which_half_is_silent_is_nearly_empty():
    half = NOISE * (TIME < 3)
    assert is_nearly_empty(half) and is_nearly_empty(np.zeros(100)) and not is_nearly_empty(NOISE)
    rows = {row["metric"]: row for row in musical_rows("x", [half, NOISE, NOISE])}
    assert rows["nearly empty clips"]["value"] == pytest.approx(1 / 3, abs=1e-3)
    assert set(rows) == {"pulse clarity", "key clarity", "repetition", "nearly empty clips"}
