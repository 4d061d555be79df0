import itertools
import random
import re
from collections import Counter
from dataclasses import replace

import pytest

from simba_music.conditioning.beat import named_tempo
from simba_music.conditioning.chord_symbols import (
    NO_CHORD,
    QUALITIES,
    chord_symbol,
    parse_symbol,
    pitch_classes,
)
from simba_music.conditioning.key import NOTES, SCALES, Key, named_key
from simba_music.conditioning.line_up import named_instruments
from simba_music.training.corpus.build import CAPTION_SEEDS, compose_piece
from simba_music.training.corpus.captioning.captions import captions
from simba_music.training.corpus.captioning.progression import HARMONY, numerals, progression
from simba_music.training.corpus.composing.compose import compose
from simba_music.training.corpus.composing.draft import Draft
from simba_music.training.corpus.composing.theory import chord
from simba_music.training.corpus.facts import chord_facts
from simba_music.training.corpus.tables import progressions
from simba_music.training.lm.preset import line_up_names

SEEDS = range(100)
C = Key(0, "major")
_SIGNS = re.compile(r"(?<![\w#])[A-G][#b]?(?:maj7|m?add9|m7b5|dim7?|sus[24]|m?[5679]|m)?(?![\w#])")
_NUMERALS = re.compile(r"((?:b?[iIvV]+[°ø]?-)+b?[iIvV]+[°ø]?) (?:[a-z]+ )*in ")


@pytest.fixture(scope="module")
def pieces():
    """(seed, score, draft, crops) of a hundred composed pieces."""
    composed = {seed: compose(seed) for seed in SEEDS}
    return [(s, score, d, compose_piece(s)["crops"]) for s, (score, _, d) in composed.items()]


@pytest.fixture(scope="module")
def named(pieces):
    """(draft, score, crop, caption without chords, caption with them) where they differ."""
    found = []
    for seed, score, draft, crops in pieces:
        for i, crop in enumerate(crops):
            number = seed * CAPTION_SEEDS + i
            silent = {k: v for k, v in crop.items() if k != "chords"}
            both = zip(captions(silent, number), captions(crop, number), strict=True)
            found += [(draft, score, crop, old, new) for old, new in both if old != new]
    return found


def said_of(old, new):
    """What the caption says of chords beyond what it says without them."""
    bare = old.removesuffix(".")
    return new.removeprefix(bare).lstrip(".") if new.startswith(bare) else new.removesuffix(old)


def spans_of(crop):
    """(start, end, symbol) of the crop's chords, seconds."""
    ends = [start for start, _ in crop["chords"][1:]] + [crop["end_s"]]
    return [(start, end, symbol) for (start, symbol), end in zip(crop["chords"], ends, strict=True)]


def share_inside(score, start_s, end_s, classes, roles=None):
    """(seconds inside, seconds) of pitched notes between two times that are of pitch classes."""
    inside = total = 0.0
    for part in score.instruments:
        if not part.is_drum and (roles is None or part.name.split(":")[0] in roles):
            for note in part.notes:
                span = max(0.0, min(note.end, end_s) - max(note.start, start_s))
                total += span
                inside += span * (note.pitch % 12 in classes)
    return inside, total


def composers_chords():
    texts = [t for book in progressions().values() for ts in book.values() for t in ts]
    symbols = {s for text in texts for s in re.split(r"[ ,]", text)}
    return {chord(s, extended) for s in symbols for extended in (False, True)}


def test_every_chord_of_the_composer_has_a_symbol_that_reads_back_in_every_key():
    assert len({harmony.shape for harmony in composers_chords()}) > 12
    for harmony in composers_chords():
        for tonic in range(12):
            for scale in SCALES:
                root = (harmony.root + tonic) % 12
                symbol = chord_symbol(root, harmony.shape, Key(tonic, scale))
                assert parse_symbol(symbol) == (root, harmony.shape), symbol
                classes = {(c + tonic) % 12 for c in harmony.classes}
                assert set(pitch_classes(symbol)) == classes and pitch_classes(symbol)[0] == root


@pytest.mark.parametrize("quality", QUALITIES)
def test_every_quality_reads_back(quality):
    for root in range(12):
        assert parse_symbol(chord_symbol(root, QUALITIES[quality], C)) == (root, QUALITIES[quality])


@pytest.mark.parametrize(
    ("root", "key", "symbol"),
    [
        (1, Key(9, "major"), "C#m"),
        (1, Key(5, "minor"), "Dbm"),
        (10, Key(6, "major"), "A#m"),
        (10, Key(5, "major"), "Bbm"),
        (11, Key(3, "minor"), "Bm"),  # not Cb
        (1, Key(1, "minor"), "C#m"),
    ],
)
def test_roots_are_spelled_as_in_the_key(root, key, symbol):
    assert chord_symbol(root, (0, 3, 7), key) == symbol


def test_what_is_no_symbol_is_refused():
    for symbol in ("H", "", "Cmm", "am", NO_CHORD, "C/E"):
        with pytest.raises(ValueError, match="no chord symbol. Write one like"):
            parse_symbol(symbol)
    with pytest.raises(ValueError, match="have no symbol"):
        chord_symbol(0, (0, 1), C)
    assert pitch_classes(NO_CHORD) == ()


def test_chords_fill_the_crop_from_its_beginning_in_order(pieces):
    for _, _, _, crops in pieces:
        for crop in crops:
            starts = [start for start, _ in crop["chords"]]
            assert starts[0] == crop["start_s"] and starts[-1] < crop["end_s"]
            assert all(before + 0.2 < after for before, after in itertools.pairwise(starts))
            assert all(symbol == NO_CHORD or parse_symbol(symbol) for _, symbol in crop["chords"])


def test_notes_belong_to_the_chord_of_their_time_and_less_to_another_of_the_piece(pieces):
    rng, own, other, late = random.Random(0), Counter(), Counter(), Counter()
    for _, score, _, crops in pieces:
        spans = [span for crop in crops for span in spans_of(crop)]
        for start, end, symbol in spans:
            classes = set(pitch_classes(symbol))
            others = sorted({s for _, _, s in spans if set(pitch_classes(s)) != classes})
            if others:
                sets = (classes, set(pitch_classes(rng.choice(others))), classes)
                shifts = (0, 0, (end - start) / 2)
                for found, wanted, by in zip((own, other, late), sets, shifts, strict=True):
                    inside, total = share_inside(score, start + by, end + by, wanted)
                    found.update(inside=inside, total=total)
    shares = [found["inside"] / found["total"] for found in (own, other, late)]
    assert shares[0] > 0.85 and shares[1] < shares[0] - 0.25 and shares[2] < shares[0] - 0.1


def test_chords_start_when_their_notes_do_also_where_a_piece_slows_down(pieces):
    slowed = 0
    for _, score, draft, crops in pieces:
        starts = [start for start, _ in crops[-1]["chords"]]
        held = [p for p in score.instruments if p.name.split(":")[0] in ("chords", "pad", "bass")]
        if draft.plan.ritardando and held and len(crops[-1]["chords"]) > 2:
            last = min(max(n.start for n in part.notes) for part in held)
            assert min(abs(last - start) for start in starts) < 0.12
            slowed += 1
    assert slowed > 10


def test_where_only_drums_play_no_chord_is_named(pieces):
    _, score, draft, _ = pieces[0]
    plan = draft.plan
    quiet = [replace(section, roles=frozenset({"drums"})) for section in plan.sections]
    drums_only = Draft(replace(plan, sections=tuple(quiet)), random.Random(0))
    found = chord_facts(drums_only, 0.0, score.get_end_time())
    assert {symbol for _, symbol in found} == {NO_CHORD}


def test_a_caption_in_six_at_most_names_the_chords(pieces, named):
    crops = [crop for _, _, _, crops in pieces for crop in crops]
    named_crops = [id(crop) for _, _, crop, _, _ in named]
    assert len(named_crops) == len(set(named_crops))
    assert named_crops == [id(crop) for crop in crops if progression(crop)]
    assert 0.4 * len(crops) < len(named) < len(crops)


def bars_of(draft, crop):
    """(start_s, end_s, chord as root and intervals) of every bar that the crop holds, composed."""
    plan, bars = draft.plan, []
    least_s = 0.89 * plan.steps * plan.step_s
    for bar in draft.bars:
        start, end = (draft.seconds(bar.start + step) for step in (0, plan.steps))
        if start > crop["start_s"] - 0.01 and crop["end_s"] - start > least_s:
            ((_, _, harmony),) = bar.chords
            bars.append((start, end, ((harmony.root + plan.key) % 12, harmony.shape)))
    return bars


def test_the_symbols_that_a_caption_names_are_those_that_sound(named):
    seen, shares = 0, []
    for draft, score, crop, old, new in named:
        signs = _SIGNS.findall(said_of(old, new))
        if _NUMERALS.search(said_of(old, new)):
            continue
        seen += 1
        assert 2 <= len(signs) <= 8 and HARMONY & set(crop["roles"]), new
        bars = bars_of(draft, crop)
        chords = [parse_symbol(sign) for sign in signs]
        composed = [harmony for _, _, harmony in bars]
        slow = [composed[i : i + 2] for i in range(0, 2 * len(chords), 2)]
        assert composed[: len(chords)] == chords or slow == [[c, c] for c in chords], new
        if composed[: len(chords)] == chords:
            for (start, end, _), sign in zip(bars, signs, strict=False):
                classes = set(pitch_classes(sign))
                inside, total = share_inside(score, start, end - 0.1, classes, HARMONY)
                shares.append(inside / total if total else 1.0)
    assert seen > 60 and sum(shares) / len(shares) > 0.97


def test_the_numerals_that_a_caption_names_are_those_of_the_chords_and_key(named):
    seen = 0
    for draft, _, crop, old, new in named:
        match = _NUMERALS.search(said_of(old, new))
        if match is None:
            continue
        seen += 1
        key = named_key(said_of(old, new), 0)
        assert key == Key(NOTES.index(crop["key"]), crop["mode"]), new
        composed = [(root, shape[:3]) for _, _, (root, shape) in bars_of(draft, crop)]
        composed = [triad for triad, _ in itertools.groupby(composed)]
        numbered = [chord(n.replace("ø", "ø7")) for n in match[1].split("-")]
        said = [((harmony.root + key.tonic) % 12, harmony.shape[:3]) for harmony in numbered]
        assert composed[: len(said)] == said, new
    assert seen > 15


def test_what_is_said_of_chords_is_not_taken_for_another_fact(named):
    names = line_up_names()
    for _, _, crop, old, new in named:
        key = named_key(said_of(old, new), 0)
        assert key is None or key == Key(NOTES.index(crop["key"]), crop["mode"]), new
        assert named_instruments(said_of(old, new), names) == []
        assert named_tempo(new) == named_tempo(old)


def test_manifests_without_chords_are_captioned_as_ever(pieces):
    _, _, _, crops = pieces[3]
    old = {k: v for k, v in crops[0].items() if k != "chords"}
    assert progression(old) == () and len(captions(old, 1)) == 6
    assert sum(a != b for a, b in zip(captions(old, 1), captions(crops[0], 1), strict=True)) <= 1


def crop_of(text, **changes):
    bars = text.split()
    facts = {"metre": "4/4", "tempo": 120, "end_s": 2.0 * len(bars), "roles": {"chords": "piano"}}
    return facts | {"chords": [[2.0 * i, bar] for i, bar in enumerate(bars)]} | changes


@pytest.mark.parametrize(
    ("bars", "cycle"),
    [
        ("Am F C G Am F C G Am", "Am F C G"),
        ("Am F C G Am F", "Am F C G"),
        ("C Am F G C", "C Am F G C"),
        ("Am Am F F C C G G Am Am F F C C G G", "Am F C G"),
        ("C C F C C C F C", "C C F C"),
        ("Am Dm Am Dm F E Am F Dm Am Am", ""),
        ("C C C C", ""),
        ("C7 C7 C7 C7 F7 F7 C7 C7 G7 F7 C7 G7", ""),
        ("C N F G", ""),
    ],
)
def test_the_first_cycle_is_found_or_nothing_is_named(bars, cycle):
    assert " ".join(progression(crop_of(bars))) == cycle


def test_chords_that_change_inside_a_bar_or_that_no_part_plays_are_not_named():
    assert progression(crop_of("Am F C G")) == ("Am", "F", "C", "G")
    assert progression(crop_of("Am F C G", tempo=60)) == ()
    assert progression(crop_of("Am F C G", roles={"melody": "flute"})) == ()


@pytest.mark.parametrize(
    ("symbols", "key", "degrees"),
    [
        ("Em7 A7 Dmaj7 Dmaj7", Key(2, "major"), "ii V I"),
        ("C#m7b5 F#7 Bm7", Key(11, "minor"), "iiø V i"),
        ("Am F C G", Key(9, "minor"), "i bVI bIII bVII"),
        ("Bdim C", C, "vii° I"),
        ("C5 G5", C, ""),
        ("C Eb F", C, ""),
        ("Am F C G", Key(2, "minor"), ""),
    ],
)
def test_numerals_name_chords_that_fit_the_key(symbols, key, degrees):
    assert " ".join(numerals(tuple(symbols.split()), key)) == degrees
