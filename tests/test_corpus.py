import random

import numpy as np
import pytest

from simba_music.training.corpus.build import _piece, split_of
from simba_music.training.corpus.captions import captions
from simba_music.training.corpus.compose import compose
from simba_music.training.corpus.facts import crop_facts, mood
from simba_music.training.corpus.genres import GENRES
from simba_music.training.corpus.instruments import INSTRUMENTS

SEEDS = range(200)


def notes(score):
    return [
        (p.name, n.pitch, n.velocity, round(n.start, 6), round(n.end, 6))
        for p in score.instruments
        for n in p.notes
    ]


def test_the_same_seed_composes_the_same_notes():
    for seed in (1, 2, 3):
        assert notes(compose(seed)[0]) == notes(compose(seed)[0])
    assert notes(compose(1)[0]) != notes(compose(2)[0])


def test_every_note_lies_in_its_instruments_reach():
    for seed in SEEDS:
        score, plan = compose(seed)
        assert 4 < score.get_end_time() < 30
        for part in score.instruments:
            role, name = part.name.split(":")
            for note in part.notes:
                assert 0 <= note.pitch <= 127 and note.end > note.start >= 0
                if role in ("melody", "chords"):
                    assert INSTRUMENTS[name].low - 12 <= note.pitch <= INSTRUMENTS[name].high + 14


def test_pieces_end_on_the_tonic():
    for seed in SEEDS:
        score, plan = compose(seed)
        bass = [p for p in score.instruments if p.name.startswith("bass")]
        if bass:
            assert max(bass[0].notes, key=lambda n: n.start).pitch % 12 == plan.key


def test_genres_and_instruments_are_all_used():
    plans = [compose(seed)[1] for seed in range(600)]
    assert {p.genre for p in plans} == set(GENRES)
    used = {name for p in plans for name in (p.melody, p.chords, p.bass) if name}
    assert len(used) >= 40


def test_facts_name_what_sounds_in_the_crop_and_nothing_else():
    for seed in SEEDS:
        score, row = _piece(seed)
        for crop in row["crops"]:
            start_s, end_s = crop["start_s"], crop["end_s"]
            sounding = {
                p.name.split(":")[0]
                for p in score.instruments
                for n in p.notes
                if n.start < end_s - 0.05 and n.end > start_s + 0.05
            }
            assert set(crop["roles"]) == sounding
            assert crop["drums"] == ("drums" in sounding)
            assert 0 <= start_s < end_s <= row["duration_s"] <= 30


def test_a_silent_crop_is_refused():
    score, plan = compose(1)
    with pytest.raises(ValueError, match="Nothing sounds"):
        crop_facts(score, plan, score.get_end_time() + 1, score.get_end_time() + 2)


def test_captions_name_every_voice_in_some_of_its_words():
    for seed in SEEDS:
        crop = _piece(seed)[1]["crops"][0]
        _, phrase, sentence = captions(crop, seed)
        for text in (phrase, sentence):
            for voice in crop["instruments"]:
                assert any(word in text for word in INSTRUMENTS[voice].names), (voice, text)


def test_captions_are_repeatable_and_varied():
    crop = _piece(3)[1]["crops"][0]
    assert captions(crop, 5) == captions(crop, 5)
    assert len({c for seed in range(50) for c in captions(crop, seed)}) > 75


@pytest.mark.parametrize(
    ("mode", "tempo", "dynamics", "word"),
    [
        ("major", 60, "soft", "calm"),
        ("minor", 60, "soft", "sad"),
        ("major", 150, "loud", "joyful"),
        ("minor", 150, "loud", "tense"),
        ("dorian", 110, "medium", "melancholic"),
    ],
)
def test_mood_follows_mode_and_energy(mode, tempo, dynamics, word):
    assert mood(mode, tempo, dynamics) == word


def test_splits_hold_a_tenth_out():
    splits = [split_of(seed) for seed in range(5000)]
    assert splits.count("train") / 5000 == pytest.approx(0.9, abs=0.02)
    assert splits.count("valid") / 5000 == pytest.approx(0.05, abs=0.02)


def test_composing_leaves_the_global_generators_alone():
    random.seed(1)
    np.random.seed(1)
    expected = (random.Random(1).random(), np.random.RandomState(1).rand())
    compose(5)
    assert (random.random(), np.random.rand()) == expected
