import hashlib
import random
import re
from pathlib import Path

import numpy as np
import pytest

from simba_music.conditioning.key import SCALES
from simba_music.training.corpus.bench import read_bench
from simba_music.training.corpus.build import CAPTION_SEEDS, compose_piece
from simba_music.training.corpus.captioning.captions import FORMS, captions
from simba_music.training.corpus.captioning.contrast import FAR_MOOD, FAR_TEMPO, KINDS, contrasts
from simba_music.training.corpus.captioning.speaker import words
from simba_music.training.corpus.check import RELATIVES, krumhansl_key
from simba_music.training.corpus.composing.compose import compose
from simba_music.training.corpus.composing.plan import METRES, held_out_pair, split_of
from simba_music.training.corpus.composing.theory import chord, pitches, scale_over, voicing
from simba_music.training.corpus.facts import EARLY_S, LONGEST_S, crop_facts, energy, mood
from simba_music.training.corpus.tables import genres, instruments, patterns, progressions

BENCH = Path(__file__).parents[1] / "data" / "bench_v1"

SEEDS = range(120)


@pytest.fixture(scope="module")
def composed():
    return {seed: compose(seed) for seed in SEEDS}


@pytest.fixture(scope="module")
def rows():
    return {seed: compose_piece(seed) for seed in SEEDS}


def notes(score):
    return [
        (p.name, n.pitch, n.velocity, round(n.start, 6), round(n.end, 6))
        for p in score.instruments
        for n in p.notes
    ]


def sounding(score, start_s, end_s):
    """Notes by track that sound between two times."""
    found = {}
    for part in score.instruments:
        heard = [n for n in part.notes if n.start < end_s and n.end > start_s]
        if heard:
            found[part.name] = heard
    return found


def test_the_tables_agree_with_each_other():
    assert len(genres()) >= 14 and len(instruments()) >= 45
    for name, style in genres().items():
        for role in ("melody", "counter", "chords", "arpeggio", "pad", "bass"):
            assert set(style.players(role)) <= set(instruments()), name
        for mode in style.modes:
            assert mode in SCALES and progressions()[style.harmony][mode], (name, mode)
        assert set(style.metres) <= set(METRES)
        assert set(style.comping) <= set(patterns()["comping"]), name
        assert set(style.bass_lines) <= {*patterns()["bass"], "walking"}, name
        assert set(style.grooves) <= set(patterns()["drums"]) and style.fills in patterns()["fills"]
    for book in progressions().values():
        for texts in book.values():
            for symbol in re.split(r"[ ,]", " ".join(texts)):
                chord(symbol)
    for section in ("comping", "bass"):
        for by_steps in patterns()[section].values():
            assert all(len(t) == int(steps) for steps, texts in by_steps.items() for t in texts)
    for by_steps in patterns()["drums"].values():
        for steps, grooves in by_steps.items():
            assert all(len(t) == int(steps) for groove in grooves for t in groove.values())


def test_patches_exist_for_the_instruments_that_name_one():
    from simba_music.training.corpus.rendering.synthesis import PATCHES

    named = {i.patch for i in instruments().values() if i.patch}
    assert named == set(PATCHES)


@pytest.mark.parametrize(
    ("symbol", "classes"),
    [
        ("I", (0, 4, 7)),
        ("ii7", (2, 5, 9, 0)),
        ("bVII", (10, 2, 5)),
        ("iiø7", (2, 5, 8, 0)),
        ("IVmaj7", (5, 9, 0, 4)),
        ("i5", (0, 7)),
        ("V7", (7, 11, 2, 5)),
    ],
)
def test_roman_numerals_are_chords(symbol, classes):
    assert chord(symbol).classes == classes


def test_an_unknown_chord_is_refused():
    for symbol in ("H7", "Ix", "", "iq"):
        with pytest.raises(ValueError, match="chord symbol|quality"):
            chord(symbol)


def test_the_scale_over_a_dominant_in_minor_has_the_leading_tone():
    assert scale_over(chord("V7"), "minor") == (0, 2, 3, 5, 7, 8, 11)
    assert scale_over(chord("i"), "minor") == SCALES["minor"]
    assert scale_over(chord("bVII"), "major") == (0, 2, 4, 5, 7, 9, 10)
    assert scale_over(chord("VI7"), "major") == (1, 2, 4, 5, 7, 9, 11)


def test_voices_move_as_little_as_they_can():
    before = voicing(chord("I"), 0, 48, 72, (), 3)
    after = voicing(chord("IV"), 0, 48, 72, before, 3)
    assert {p % 12 for p in after} == {5, 9, 0}
    assert sum(min(abs(a - b) for b in before) for a in after) <= 3
    assert pitches((0, 4), 2, 60, 66) == [62, 66]


def test_the_same_seed_composes_the_same_notes_bit_for_bit(tmp_path):
    (tmp_path / "midi").mkdir()
    hashes = []
    for _ in range(2):
        digest = hashlib.sha256()
        for seed in range(12):
            row = compose_piece(seed, tmp_path)
            digest.update((tmp_path / "midi" / f"{seed}.mid").read_bytes())
            for i, crop in enumerate(row["crops"]):
                digest.update("\n".join(captions(crop, seed * CAPTION_SEEDS + i)).encode())
        hashes.append(digest.hexdigest())
    assert hashes[0] == hashes[1]
    assert notes(compose(1)[0]) != notes(compose(2)[0])


def test_every_note_lies_in_its_instruments_reach(composed):
    for score, plan, _ in composed.values():
        assert 3 < score.get_end_time() < 125
        for part in score.instruments:
            role, name = part.name.split(":")
            assert plan.lineup[role] == name and part.notes
            for note in part.notes:
                assert note.end > note.start >= 0 and 12 <= note.velocity <= 124
                if not part.is_drum:
                    voice = instruments()[name]
                    assert voice.low - 7 <= note.pitch <= voice.high + 7, (part.name, note)


def test_no_note_starts_while_its_pitch_still_sounds_in_the_same_part(composed):
    for score, _, _ in composed.values():
        for part in score.instruments:
            ends = {}
            for note in sorted(part.notes, key=lambda n: n.start):
                assert note.start >= ends.get(note.pitch, 0) - 1e-9
                ends[note.pitch] = note.end


def test_pieces_end_on_the_tonic(composed):
    for score, plan, _ in composed.values():
        for part in score.instruments:
            if part.name.startswith(("bass", "melody")) and "ending" in plan.sections[-1].name:
                last = max(part.notes, key=lambda n: n.start)
                if part.name.split(":")[0] in plan.sections[-1].roles:
                    assert last.pitch % 12 == plan.key


def test_themes_return(composed):
    """A section called A' has the harmony of A; a piece with A twice has its bass line twice."""
    returns = 0
    for _, plan, _ in composed.values():
        named = {}
        for section in plan.sections:
            named.setdefault(section.name[0], []).append(section.bars)
        for same in named.values():
            assert all(bars == same[0] for bars in same)
        returns += len(named.get("A", ())) > 1
    assert returns > len(SEEDS) / 4


def test_the_corpus_is_varied(composed):
    plans = [plan for _, plan, _ in composed.values()]
    more = [compose(seed)[1] for seed in range(1000, 1500)]
    assert {p.genre for p in more} == set(genres())
    assert len({i for p in more for i in p.lineup.values()}) >= 70
    assert {p.metre for p in plans + more} == set(METRES)
    assert {p.mode for p in plans + more} == set(SCALES)
    assert {p.key for p in plans} == set(range(12))
    assert {len(p.lineup) for p in plans} >= {1, 2, 3, 4, 5, 6}


def test_held_out_pairs_sound_in_the_compositional_split_only():
    met = 0
    for seed in range(3000):
        plan = compose(seed)[1] if split_of(seed) == "compositional" or seed < 600 else None
        if plan is None:
            continue
        pairs = [held_out_pair(i, plan.genre) for i in plan.lineup.values() if i != "drum kit"]
        assert any(pairs) == (plan.split == "compositional"), (seed, plan.lineup, plan.genre)
        met += plan.split == "compositional"
    assert met > 30


def test_crops_cover_the_piece_and_start_at_bars(rows, composed):
    for seed, row in rows.items():
        draft = composed[seed][2]
        bars = [round(draft.seconds(bar.start) - EARLY_S, 2) for bar in draft.bars]
        crops = row["crops"]
        assert crops[0]["start_s"] == 0 and crops[-1]["end_s"] == row["duration_s"]
        for crop, following in zip(crops, [*crops[1:], None], strict=True):
            length = crop["end_s"] - crop["start_s"]
            assert length * 2 == pytest.approx(round(length * 2), abs=1e-6)
            assert length <= LONGEST_S and (length >= 9.5 or len(crops) == 1)
            assert crop["start_s"] == 0 or crop["start_s"] in bars
            if following:
                assert 0 <= following["start_s"] - crop["end_s"] < 0.5


def test_facts_name_what_sounds_in_the_crop_and_nothing_else(rows, composed):
    for seed, row in rows.items():
        score = composed[seed][0]
        for crop in row["crops"]:
            heard = sounding(score, crop["start_s"], crop["end_s"])
            named = {f"{role}:{name}" for role, name in crop["roles"].items()}
            assert named <= set(heard)
            for unnamed in set(heard) - named:  # too little to be named
                span = sum(
                    min(n.end, crop["end_s"]) - max(n.start, crop["start_s"])
                    for n in heard[unnamed]
                )
                assert span < 0.35 or unnamed.startswith("drums")
            families = {
                instruments()[t.split(":")[1]].family for t in heard if not t.startswith("drums")
            }
            assert not families & set(crop["silent"])
            assert crop["drums"] == any(t.startswith("drums") for t in named)
            if any(t.startswith("drums") for t in heard):
                assert "drums" not in crop["silent"]


def test_a_silent_crop_is_refused(composed):
    score, _, draft = composed[1]
    end_s = score.get_end_time()
    with pytest.raises(ValueError, match="Nothing sounds"):
        crop_facts(score, draft, end_s + 1, end_s + 2, end_s + 2)


def test_the_key_of_the_facts_is_heard_in_the_notes(composed):
    right = 0
    for score, plan, _ in composed.values():
        tonic, kind = krumhansl_key(score)
        right += ((tonic - plan.key) % 12, kind) in RELATIVES[plan.mode]
    assert right >= 0.88 * len(SEEDS)


COMMON_WORDS = ("whistle", "strings", "brass", "organ", "guitar")  # also said of no instrument


def test_every_instrument_has_names_enough_and_no_name_twice():
    for voice, i in instruments().items():
        assert 3 <= len(i.every_name) == len(set(i.every_name)), voice


def test_captions_never_name_an_instrument_that_does_not_sound(rows):
    """Whatever name of an instrument stands in a caption belongs to one of the crop's voices."""
    claims = {word for i in instruments().values() for word in i.every_name}
    for seed, row in rows.items():
        for i, crop in enumerate(row["crops"]):
            spoken = {w.lower() for v in crop["instruments"] for w in instruments()[v].every_name}
            spoken |= {w.lower() for w in genres()[crop["genre"]].names}
            for text in captions(crop, seed * CAPTION_SEEDS + i):
                text = re.sub(r"\b(no|without) [\w ]+", "", text.lower())
                for own in sorted(spoken, key=len, reverse=True):
                    text = text.replace(own, "_")
                for word in claims:
                    if len(word) > 4 and word not in COMMON_WORDS:
                        assert not re.search(rf"\b{re.escape(word.lower())}\b", text), (word, text)


def test_nothing_is_denied_that_sounds(rows):
    for seed, row in rows.items():
        for crop in row["crops"]:
            for text in captions(crop, seed):
                if "no drums" in text or "without drums" in text or "drumless" in text:
                    assert not crop["drums"] and "drums" in crop["silent"]
                for family in ("strings", "brass", "choir"):
                    if f"no {family}" in text:
                        assert family in crop["silent"]


def test_captions_know_more_names_than_the_benchmark(rows):
    said = " ".join(text for row in rows.values() for text in captions(row["crops"][0], 0))
    also = [name for i in instruments().values() for name in i.also if f" {name}" in said]
    assert len(also) > 10


def test_there_are_six_captions_of_six_kinds(rows):
    crop = rows[3]["crops"][0]
    assert captions(crop, 5) == captions(crop, 5) and len(captions(crop, 5)) == len(FORMS) == 6
    assert len({c for seed in range(50) for c in captions(crop, seed)}) > 200
    lengths = np.mean(
        [[len(c.split()) for c in captions(row["crops"][0], s)] for s, row in rows.items()], axis=0
    )
    assert lengths[1] < lengths[2] < lengths[4] and lengths[1] < 6 and lengths[4] > 35


def test_what_genre_and_instruments_do_not_tell_is_said(rows):
    """Or a model meets it too rarely to learn what it means."""
    crops = [(seed, crop) for seed, row in rows.items() for crop in row["crops"]]
    for kind, fact in (("density", "busy"), ("dynamics", "loud"), ("family", "drums")):
        silent = kind == "family"
        own = [
            text
            for seed, crop in crops
            if (fact in crop["silent"] if silent else crop[kind] == fact)
            for text in captions(crop, seed)
        ]
        said = [any(word in text for word in words()[kind][fact]) for text in own]
        assert len(own) > 100 and sum(said) / len(said) > 0.12, (kind, fact)


def test_captions_read_well(rows):
    for seed, row in rows.items():
        for i, crop in enumerate(row["crops"]):
            for text in captions(crop, seed * CAPTION_SEEDS + i):
                assert text == text.strip() and "  " not in text and ", ," not in text
                spoken = re.sub(r"\ba (?=[iv]+[°ø]?-)", "", text)  # a ii-V-I, said "a two"
                assert not re.search(r"\ba [aeio]\w", spoken), text
                assert not re.search(r"\b(\w{4,}) \1\b", text), text
                assert "None" not in text and "{" not in text


def test_every_fact_has_words(rows):
    for row in rows.values():
        for crop in row["crops"]:
            assert set(crop["percussion"]) <= set(words()["percussion"])
            assert set(crop["features"]) <= set(words()["feature"])
            for kind in ("mood", "dynamics", "density", "register", "texture", "quality"):
                assert words()[kind][crop[kind]], (kind, crop[kind])


@pytest.mark.parametrize(
    ("mode", "tempo", "dynamics", "drums", "word"),
    [
        ("major", 60, "soft", False, "calm"),
        ("minor", 60, "soft", False, "sad"),
        ("major", 150, "loud", True, "joyful"),
        ("minor", 150, "loud", True, "tense"),
        ("dorian", 110, "medium", False, "melancholic"),
    ],
)
def test_mood_follows_mode_and_energy(mode, tempo, dynamics, drums, word):
    assert mood(mode, energy(tempo, dynamics, "moderate", drums)) == word


def test_splits_hold_out_valid_test_and_compositional():
    splits = [split_of(seed) for seed in range(5000)]
    for name, share in (("train", 0.88), ("valid", 0.05), ("test", 0.05), ("compositional", 0.02)):
        assert splits.count(name) / 5000 == pytest.approx(share, abs=0.015)


def test_composing_leaves_the_global_generators_alone():
    random.seed(1)
    np.random.seed(1)
    expected = (random.Random(1).random(), np.random.RandomState(1).rand())
    compose(5)
    assert (random.random(), np.random.rand()) == expected


def test_contrasts_differ_in_one_fact_and_the_facts_say_which():
    kinds = set()
    for item in read_bench(BENCH):
        facts = item.facts
        for found in contrasts(facts, random.Random(7)):
            kinds.add(found.kind)
            assert found.true != found.false
            if found.kind == "drums":
                denied = found.true if not facts["drums"] else found.false
                assert denied.endswith(("no drums", "without drums", "drumless"))
            if found.kind == "instrument":
                named = found.false.split(" with ")[-1]
                own = {n for i in facts["instruments"] for n in instruments()[i].names}
                assert not any(named.endswith(f" {name}") for name in own), found
            if found.kind == "tempo":
                assert FAR_TEMPO[facts["tempo_word"]]
            if found.kind == "mood":
                assert FAR_MOOD[facts["mood"]]
    assert kinds == set(KINDS)
