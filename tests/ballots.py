"""Pairs and ballots of the tests."""

import torch

from simba_music.audio import Waveform
from simba_music.listening.pairs import Side

RATE = 24_000


def tone(seconds=8.0, level=0.1, pitch=220.0, rate=RATE):
    t = torch.arange(round(seconds * rate)) / rate
    return Waveform(level * torch.sin(2 * torch.pi * pitch * t)[None], rate)


def battle(test, **changes):
    sides = {
        "left": Side(tone(level=0.02), {"checkpoint": "simba", "score": 0.4}),
        "right": Side(tone(level=0.5, pitch=330), {"checkpoint": "transformer", "score": 0.3}),
    }
    fields = {"prompt": "calm piano", "sides": sides, "origin": "typed", "seed": 1, "sampling": {}}
    return test.add_battle(**(fields | changes))


def ballot(trial, **changes):
    heard = {"A": [[0.0, 5.5]], "B": [[0.0, 3.0], [2.5, 5.5]]}
    return {"ticket": trial["ticket"], "preference": "A", "heard": heard} | changes
