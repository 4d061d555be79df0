"""Captions as musicians write them say what is there, in many ways, and the same each time."""

import re

from simba_music.training.corpus.build import captions_of, compose_piece
from simba_music.training.corpus.captioning.musician import musician
from simba_music.training.corpus.tables import instruments

ROWS = [compose_piece(seed) for seed in range(700, 730)]
CROPS = [(crop, 64 * row["seed"] + i) for row in ROWS for i, crop in enumerate(row["crops"])]


def test_every_form_is_used_and_ends_its_sentences():
    said = [musician(crop, seed) for crop, seed in CROPS]
    assert all(text[0].isupper() and text.endswith(".") for text in said)
    joined = "\n".join(said)
    for words in ("recording features", "is an instrumental", "someone playing", "music piece",
                  "rhythmic background", "could be used", "The mood of this"):  # fmt: skip
        assert words.lower() in joined.lower(), words
    assert len(set(said)) == len(said) and not re.search(r"  |\.\.|None|\{|\}", joined)


def test_it_names_who_plays_and_nobody_else():
    for crop, seed in CROPS:
        text = musician(crop, seed).lower()
        named = [n for v in crop["instruments"] for n in instruments()[v].every_name]
        assert not crop["instruments"] or any(name.lower() in text for name in named)
        if not crop["drums"]:
            assert "rhythmic background" not in text
        if "no other instruments" in text:
            assert crop["texture"] == "solo"
        if "quality" in text:
            assert crop["quality"] != "clean"


def test_the_same_seed_says_the_same_and_the_six_stay_as_they_were():
    for row in ROWS[:5]:
        six, seven = captions_of(row), captions_of(row, musicians=True)
        assert [texts[:6] for texts in seven] == six and {len(texts) for texts in seven} == {7}
    crop, seed = CROPS[0]
    assert musician(crop, seed) == musician(crop, seed)
    several = {musician(crop, other) for other in range(20)}
    assert len(several) > 15
