"""Measures state a property of a signal that they must find, and one they must not."""

import shutil

import numpy as np
import pretty_midi
import pytest
import torch
from conftest import write_codec

from simba_music.errors import CheckpointError
from simba_music.files import read_json, sha256, write_json
from simba_music.models.codec import Codec
from simba_music.models.config import CodecRef
from simba_music.scoring.loading import load_scorer
from simba_music.training.codec import baselines as codec_baselines
from simba_music.training.corpus import store
from simba_music.training.corpus.tokens import codec_ref
from simba_music.training.evaluation import codec as codec_evaluation
from simba_music.training.evaluation import measures
from simba_music.training.evaluation.codec import (
    Held,
    RoundTrip,
    book_rows,
    compare_codecs,
    listen,
    measure,
    one_voice,
    real_sounds,
)
from simba_music.training.evaluation.distances import (
    frechet_distance,
    frechet_infinity,
    kernel_distance,
    mean_cosine_distance,
    similarity_rows,
    tag_divergence,
)
from simba_music.training.evaluation.figures import books_of, draw_books
from simba_music.training.evaluation.measures import (
    Heard,
    comb_db,
    onset_f1,
    peakiness_db,
    pitch_agreement,
    si_sdr,
)
from simba_music.training.evaluation.report import update_report
from simba_music.training.evaluation.round_trips import (
    PITCH,
    SIMILAR,
    Judges,
    Sound,
    difference_rows,
)
from simba_music.training.judges.tagger import (
    PRESETS,
    Tagger,
    load_tagger,
    macro_auc,
    tagger_config,
    train_tagger,
    window_labels,
)

RATE = measures.SAMPLE_RATE


def tone(frequency, seconds=3.0, level=0.2):
    t = np.arange(round(seconds * RATE)) / RATE
    return (level * np.sin(2 * np.pi * frequency * t)).astype(np.float32)


def noise(seconds=3.0, level=0.05, seed=0):
    wave = np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    return (level * wave).astype(np.float32)


def test_si_sdr_is_the_ratio_that_was_mixed_and_knows_no_scale():
    clean, error = tone(440), noise(level=0.2 / 2**0.5 / 10)
    assert si_sdr(clean, clean + error) == pytest.approx(20, abs=0.3)
    assert si_sdr(clean, 7 * (clean + error)) == pytest.approx(20, abs=0.3)


def test_pitch_is_right_within_a_quarter_tone():
    wanted = Heard(tone(440))
    assert pitch_agreement(wanted, Heard(tone(440 * 2 ** (30 / 1200), level=0.05))) > 0.95
    assert pitch_agreement(wanted, Heard(tone(440 * 2 ** (80 / 1200)))) < 0.05
    assert pitch_agreement(wanted, Heard(noise())) < 0.2


def test_a_comb_at_the_frame_rate_is_found():
    clean = noise(10)
    comb = sum(tone(50 * k, 10, 0.004) for k in range(4, 120))
    assert abs(comb_db(clean, 50)) < 1
    assert comb_db(clean + comb, 50) > 6
    assert abs(comb_db(clean + comb, 75)) < comb_db(clean + comb, 50) - 2


def test_a_click_raises_the_peak_over_the_loudness():
    calm = tone(997, 5, 0.1)
    clicking = calm.copy()
    clicking[24_000:24_003] = 0.8
    assert peakiness_db(calm) == pytest.approx(3.01, abs=0.1)
    assert 20 < peakiness_db(clicking) < 23
    assert np.isnan(peakiness_db(np.zeros(24_000)))


def test_frechet_distance_is_zero_for_the_same_and_the_squared_shift_for_a_shift():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((4000, 6))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(a, a + np.array([3, 0, 0, 0, 0, 0])) == pytest.approx(9, abs=1e-3)
    assert frechet_distance(a, 2 * a) == pytest.approx(6, abs=0.3)


def test_frechet_distance_is_that_of_a_second_implementation():
    """By scipy's matrix square root, as the formula is written (Heusel et al. 2017, eq. 6)."""
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((300, 12)), rng.standard_normal((200, 12)) @ np.diag(range(1, 13))
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    shift = a.mean(0) - b.mean(0)
    root = np.real(sqrtm(first @ second))
    expected = shift @ shift + np.trace(first + second - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


def test_extrapolation_takes_most_of_the_bias_out():
    rng = np.random.default_rng(2)
    few, many = rng.standard_normal((100, 16)), rng.standard_normal((20_000, 16))
    assert abs(frechet_infinity(few, many)) < frechet_distance(few, many) / 3


def test_kernel_distance_is_about_zero_for_the_same_and_grows_with_a_shift():
    rng = np.random.default_rng(3)
    draws = [kernel_distance(rng.standard_normal((60, 8)), rng.standard_normal((60, 8)))
             for _ in range(30)]  # fmt: skip
    assert abs(np.mean(draws)) < 2 * np.std(draws) / 30**0.5 + 1e-9  # unbiased: both signs
    a, b = rng.standard_normal((200, 8)), rng.standard_normal((200, 8))
    assert kernel_distance(a, b) < kernel_distance(a + 0.5, b) < kernel_distance(a + 1, b)


def test_tags_diverge_by_what_is_missing_and_vectors_by_their_angle():
    few = np.array([[0.9, 0.1], [0.8, 0.1]])
    assert tag_divergence(few, few) == pytest.approx(0, abs=1e-9)
    assert tag_divergence(few, few[:, ::-1]) > 1
    assert mean_cosine_distance(np.array([[1.0, 0], [2.0, 0]])) == pytest.approx(0, abs=1e-6)
    assert mean_cosine_distance(np.array([[1.0, 0], [0, 3.0]])) == pytest.approx(1, abs=1e-6)


def test_onsets_match_within_their_tolerance():
    clicks = np.zeros(4 * RATE, dtype=np.float32)
    for beat in range(1, 8):
        clicks[beat * RATE // 2 : beat * RATE // 2 + 400] = noise(1)[:400] * 10
    assert onset_f1(Heard(clicks), Heard(clicks)) == 1
    assert onset_f1(Heard(clicks), Heard(np.roll(clicks, round(0.02 * RATE)))) > 0.9
    assert onset_f1(Heard(clicks), Heard(np.roll(clicks, round(0.2 * RATE)))) < 0.3


def score_of(*spans):
    score = pretty_midi.PrettyMIDI()
    for name, start, end in spans:
        part = pretty_midi.Instrument(0, False, f"melody:{name}")
        part.notes.append(pretty_midi.Note(80, 60, start, end))
        score.instruments.append(part)
    return score


def test_window_labels_say_what_sounds_in_each_window():
    score = score_of(("piano", 1, 4), ("flute", 4.8, 9), ("cello", 12, 12.2))
    labels = ("cello", "flute", "piano")
    found = window_labels(score, labels, 15.0)
    assert found.tolist() == [[False, False, True], [False, True, False], [False, False, False]]


def test_macro_auc_leaves_out_labels_it_cannot_judge():
    labels = np.zeros((40, 3), dtype=bool)
    labels[:20, 0] = labels[0, 1] = labels[:, 2] = True
    scores = np.random.default_rng(0).random((40, 3))
    scores[:, 0] = labels[:, 0]
    assert macro_auc(labels, scores) == 1.0


@pytest.fixture
def small_tagger():
    torch.manual_seed(0)
    preset = PRESETS["cpu"]
    from dataclasses import replace

    return Tagger(tagger_config(replace(preset, channels=(4, 8), width=8), RATE)).eval()


def test_measures_of_the_original_are_perfect(small_tagger):
    sounds = [
        Sound(Heard(tone(300 + 50 * i) + noise(seed=i, level=0.01)), solo=True) for i in range(3)
    ]
    judges = Judges(small_tagger)
    rows = {r["metric"]: r["value"] for r in measure("x", Held(sounds), lambda x: x, judges, 50)}
    assert rows["log-mel distance (nepers)"] == 0 and rows["SI-SDR (dB)"] > 60
    assert rows["chroma cosine"] == pytest.approx(1, abs=1e-4) and rows["onset F1 (50 ms)"] == 1
    assert rows["pitch right (share of voiced frames, solos)"] == 1
    assert rows["comb at the frame rate, beside the original (dB)"] == 0
    assert rows["FAD (our tagger's space)"] == pytest.approx(0, abs=1e-3)
    assert rows[SIMILAR.format("tagger")] == pytest.approx(1, abs=1e-5)
    assert SIMILAR.format("scorer") not in rows  # as there was none


def codec_of(system):
    config = read_json(system / "codec" / "config.json")
    ref = CodecRef(
        id="./codec",
        sha256=sha256(system / "codec" / "model.safetensors"),
        sample_rate=config["sampling_rate"],
        frame_rate=50,
        codebook_size=config["codebook_size"],
    )
    return Codec.load(system / "codec", ref)


def test_a_round_trip_counts_codes_and_seconds(system):
    trip = RoundTrip(codec_of(system))
    out = trip(tone(440))
    assert len(out) == 3 * RATE and len(trip.tokens[0]) == 150
    rows = {r["metric"]: r for r in trip.rows("codec")}
    assert rows["codes in use (share)"]["value"] == pytest.approx(
        len(set(trip.tokens[0])) / 64, abs=1e-4
    )
    assert 0 < rows["code perplexity over codes"]["value"] <= 1
    assert rows["seconds to decode 10 s"]["value"] > 0


def test_evaluation_fills_its_tables_and_says_what_it_could_not_reach(
    system, small_tagger, tmp_path, monkeypatch
):
    """The whole command but for rendering the benchmark, which needs the synthesiser."""
    score = score_of(("piano", 0, 3))
    sounds = [Sound(Heard(tone(220 * (i + 1)) + noise(seed=i)), score) for i in range(6)]
    solo = Sound(Heard(tone(330, 1.0)), score, solo=True)
    monkeypatch.setattr(codec_evaluation, "bench_sounds", lambda folder, count: [*sounds, solo])
    monkeypatch.setattr(codec_evaluation, "load_tagger", lambda: small_tagger)
    monkeypatch.setattr(codec_evaluation, "bench_solos", lambda folder: [solo] * 3)

    def scorer(name):
        if name == codec_evaluation.LAION:
            raise CheckpointError("there is no network")
        return load_scorer(system / "clap")

    monkeypatch.setattr(codec_evaluation, "load_scorer", scorer)
    real = tmp_path / "real"
    store.claim_sample_rate(real, RATE)
    rows = [
        {"id": f"{i}", "shard": i, "split": "test", "duration_s": 3.0,
         "crops": [{"start_s": 0.0, "end_s": 3.0}]} for i in range(3)
    ]  # fmt: skip
    for i in range(3):
        store.write_array(store.shard_path(real, i), store.to_int16(tone(300) + noise(seed=i)))
    store.write_rows(real / store.MANIFEST, rows)
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    codec = checkpoints / "codec"
    shutil.copytree(system / "codec", codec)
    write_json(codec / "training.json", {})
    report = checkpoints / "REPORT.json"
    codec_evaluation.evaluate_codec([codec], tmp_path, real, None, report, 6)
    assert (codec / "spectrograms.png").exists()
    tables = {t["id"]: t for t in read_json(checkpoints / "REPORT.json")["tables"]}
    assert set(tables) == {"codec", "codec-real"}
    for table in tables.values():
        models = {row["model"] for row in table["rows"]}
        assert {"codec", codec_baselines.ORIGINAL} <= models
        unreachable = (codec_baselines.META, codec_evaluation.LAION_NAME)
        assert table["missing"] == dict.fromkeys(unreachable, "not reachable here")
        found = {(r["metric"], r["model"]): r["value"] for r in table["rows"]}
        mel = "log-mel distance (nepers)"
        assert found[mel, codec_baselines.ORIGINAL] == 0 < found[mel, "codec"]
    pitch = [r for r in tables["codec"]["rows"] if r["metric"] == PITCH]
    assert pitch and all(row["n"] == 3 for row in pitch)  # every solo, and none twice


@pytest.fixture
def pair(tmp_path):
    """Two codecs of four books, and what they are to be measured on."""
    for name in ("one", "other"):
        write_codec(tmp_path / name, books=4)
    # Noise of its own for every sound, or there is nothing that a resample could change.
    sounds = [Sound(Heard(tone(300 * (i + 1)) + noise(seed=i)), genre="pop") for i in range(4)]
    return tmp_path / "one", tmp_path / "other", sounds


def test_a_codec_is_measured_by_its_number_of_books(pair, small_tagger, system):
    folder, _, sounds = pair
    codec = Codec.load(folder, codec_ref(folder))
    judges = Judges(small_tagger, {"scorer": load_scorer(system / "clap")})
    rows = list(book_rows("mine", codec, Held(sounds), judges))
    columns = ["mine", "mine, 2 books", "mine, 3 books", "mine, 4 books"]
    assert list(dict.fromkeys(row["model"] for row in rows)) == columns
    found = {(row["metric"], row["model"]): row for row in rows}
    for space in ("scorer", "tagger"):
        row = found[SIMILAR.format(space), "mine"]
        assert -1 <= row["lo"] <= row["value"] <= row["hi"] <= 1 and row["n"] == 4
    trips = [RoundTrip(codec, books)(sounds[0].samples) for books in (1, 3)]
    assert not np.array_equal(*trips)
    assert ("codes in use (share)", "mine, 3 books") in found
    interval = found["FAD (our tagger's space)", "mine"]
    assert interval["lo"] < interval["value"] < interval["hi"]


def test_two_codecs_are_compared_piece_by_piece(pair, small_tagger, monkeypatch):
    one, other, sounds = pair
    monkeypatch.setattr(codec_evaluation, "load_tagger", lambda: small_tagger)
    rows = compare_codecs(one, other, sounds)
    same = [row for row in rows if row["model"] == f"{one} - {other}, books 1"]
    assert len(same) > 5 and all(row["value"] == row["lo"] == row["hi"] == 0 for row in same)
    judges = Judges(small_tagger)
    loud, quiet = (
        listen(Held(sounds), lambda x, s=scale: s * x, judges, 50) for scale in (0.9, 0.5)
    )
    rows = {row["metric"]: row for row in difference_rows("loud - quiet", loud, quiet)}
    gained = rows["log-mel distance (nepers)"]
    assert gained["hi"] < 0 and gained["n"] == 4
    with pytest.raises(ValueError, match="cannot be compared"):
        difference_rows("x", loud, listen(Held(sounds[:3]), lambda x: x, judges, 50))


def test_a_report_keeps_the_tables_that_are_not_made_again(tmp_path):
    report = tmp_path / "REPORT.json"
    row = {"metric": "m", "model": "a", "value": 1.0, "lo": 1.0, "hi": 1.0, "n": 1}
    update_report(report, {"one": [row], "two": [row]}, {"a": "0" * 64})
    first = read_json(report)
    missing = {"b": "not reachable here"}
    update_report(report, {"two": [row | {"value": 2.0}]}, {"a": "1" * 64}, missing)
    second = read_json(report)
    assert first["tables"][0] == second["tables"][0]
    assert second["tables"][1]["rows"][0]["value"] == 2.0
    assert second["tables"][1]["missing"] == {"b": "not reachable here"}
    assert [table["checkpoints"]["a"][0] for table in second["tables"]] == ["0", "1"]


def test_tagger_training_writes_a_tagger_that_loads(tmp_path):
    from dataclasses import replace

    from simba_music.training.corpus.build import compose_piece
    from simba_music.training.corpus.composing.compose import compose

    corpus = tmp_path / "corpus"
    store.claim_sample_rate(corpus, RATE)
    rows = [compose_piece(seed) | {"shard": seed} for seed in range(12)]
    for i, row in enumerate(rows):
        row["split"] = "train" if i < 8 else "test"
        wave = compose(row["seed"])[0].synthesize(fs=RATE)
        wave = np.resize(wave / np.abs(wave).max() * 0.3, round(row["duration_s"] * RATE))
        store.write_array(store.shard_path(corpus, i), store.to_int16(wave))
    store.write_rows(corpus / store.MANIFEST, rows)
    preset = replace(PRESETS["cpu"], steps=2, batch=4, channels=(4, 8), width=8)
    train_tagger(corpus, tmp_path / "tagger", preset)
    record = read_json(tmp_path / "tagger" / "training.json")
    assert 0 <= record["held_out_macro_auc"] <= 1 and record["held_out_windows"] > 4
    vectors, chances = load_tagger(tmp_path / "tagger").listen(tone(440, 11.0))
    assert vectors.shape == (2, 8) and chances.shape[0] == 2 and 0 <= chances.min()


def test_clips_are_compared_with_the_pieces_asked_for():
    pieces = [np.array([1.0, 0.0]), np.array([0.0, 2.0]), np.array([-1.0, 0.0])]
    near = [3 * piece + 0.1 for piece in pieces]
    rows = similarity_rows({"real": pieces, "near": near, "far": pieces[::-1]}, "real", "tagger")
    found = {(row["metric"], row["model"]): row for row in rows}
    own, other = (
        f"semantic similarity to {whose} (tagger's space, cosine)"
        for whose in ("the piece asked for", "the next prompt's piece")
    )
    assert set(found) == {(metric, name) for metric in (own, other) for name in ("near", "far")}
    assert found[own, "near"]["value"] > 0.99 > 0.2 > found[other, "near"]["value"]
    assert found[own, "far"]["value"] == pytest.approx(-1 / 3, abs=1e-4)
    assert found[own, "near"]["n"] == 3


def test_a_solo_is_one_pitched_part_without_chords():
    def score(*notes, drums=False):
        part = pretty_midi.Instrument(0, is_drum=drums)
        part.notes = [pretty_midi.Note(90, pitch, a, b) for pitch, a, b in notes]
        made = pretty_midi.PrettyMIDI()
        made.instruments = [part, pretty_midi.Instrument(5)]  # one that never plays
        return made

    assert one_voice(score((60, 0, 1.05), (62, 1, 2)))
    assert not one_voice(score((60, 0, 1), (64, 0, 1)))
    assert not one_voice(score((60, 0, 2), (62, 1, 2)))
    assert not one_voice(score((36, 0, 1), drums=True))


def test_similarity_by_number_of_books_is_drawn_once_there_are_several(tmp_path):
    def row(model, value):
        metric = SIMILAR.format("scorer")
        return {"metric": metric, "model": model, "value": value, "lo": 0.1, "hi": 0.9, "n": 5}

    rows = [row("codec", 0.5), row("codec, 3 books", 0.7), row("codec-next, 2 books", 0.6)]
    assert {k: r["value"] for k, r in books_of(rows, "codec")["scorer"].items()} == {1: 0.5, 3: 0.7}
    path = tmp_path / "books.png"
    assert not draw_books({"tables": [{"id": "codec", "rows": rows[:1]}]}, path)
    assert not path.exists()
    assert draw_books({"tables": [{"id": "codec", "rows": rows}]}, path) and path.stat().st_size


def test_of_many_recordings_as_many_crops_are_taken_as_of_pieces(tmp_path):
    store.claim_sample_rate(tmp_path, RATE)
    crops = [{"start_s": 0.0, "end_s": 1.0}, {"start_s": 1.0, "end_s": 3.0}]
    rows = [
        {"id": f"{i}", "shard": i, "split": ("test", "train")[i % 2], "duration_s": 3.0}
        | {"crops": crops}
        for i in range(6)
    ]
    for i in range(6):
        level = np.full(3 * RATE, 0.01 * (i + 1), np.float32)
        store.write_array(store.shard_path(tmp_path, i), store.to_int16(level))
    store.write_rows(tmp_path / store.MANIFEST, rows)
    lengths = [len(sound.samples) for sound in real_sounds(tmp_path)]
    assert lengths == [RATE, 2 * RATE] * 3
    levels = [float(sound.samples.max()) for sound in real_sounds(tmp_path, 2)]
    assert levels == pytest.approx([0.01, 0.05], abs=1e-3)
