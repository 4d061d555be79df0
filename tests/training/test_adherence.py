"""Adherence to held-out facts, and the health of clips: what the measures find in made-up clips."""

import hashlib
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from simba_music.audio import SAMPLE_RATE
from simba_music.errors import RequestError
from simba_music.files import write_json
from simba_music.generation.prompt_files import Prompt
from simba_music.training.corpus.bench import read_bench
from simba_music.training.corpus.captioning.speaker import words
from simba_music.training.corpus.check import heard_tempo, same_tempo
from simba_music.training.corpus.tables import genres, instruments
from simba_music.training.evaluation import distances, health
from simba_music.training.evaluation import prompts as prompts_evaluation
from simba_music.training.evaluation.adherence import (
    FACTS,
    OPPOSITES,
    Listened,
    adherence,
    adherence_rows,
    brightness,
    majorness,
    make_asked,
    unseen,
)

BENCH = Path(__file__).parents[1] / "data" / "bench_v1"
LABELS = (*sorted(instruments()), "drum kit")


@pytest.fixture(scope="module")
def items():
    return list(read_bench(BENCH))


@pytest.fixture(scope="module")
def asked(items):
    return make_asked(items)


def phrases(table):
    """Every string in a nested table."""
    if isinstance(table, str):
        return [table]
    values = table.values() if isinstance(table, dict) else table
    return [text for value in values for text in phrases(value)]


def test_two_hundred_prompts_a_third_of_them_in_words_no_caption_has(items, asked):
    assert len(asked) == 200 and sum(one.unseen for one in asked) >= 66
    assert len({one.prompt.text for one in asked}) == len(asked)
    assert [one.prompt for one in make_asked(items)] == [one.prompt for one in asked]
    spoken = phrases(words()) + [name for i in instruments().values() for name in i.every_name]
    spoken += [name for g in genres().values() for name in g.names]
    known = {text.lower() for text in spoken}
    other = {text.lower() for text in phrases(unseen())}
    assert not other & known
    captions = "; ".join(
        c.lower() for c in [*spoken, *(c for item in items for c in item.captions)]
    )
    for text in other:
        form = re.escape(text).replace(re.escape("{}"), r"\d+")
        assert not re.search(rf"\b{form}(?!\w)", captions), text
    assert set(unseen()["instruments"]) <= set(instruments())


def test_prompts_stay_those_with_which_other_versions_were_measured(asked):
    said = "\n".join(one.prompt.text for one in asked)
    assert hashlib.sha256(said.encode()).hexdigest().startswith("1da2481162ab")


def test_what_is_asked_is_true_of_the_piece(items, asked):
    pieces = {item.id: item for item in items}
    for one in asked:
        item, facts = pieces[one.piece_id], one.facts
        assert set(facts["instruments"]) <= one.piece and facts["tempo"] == item.facts["tempo"]
        for kind in ("mode", "density", "dynamics"):
            assert facts.get(kind, item.facts[kind]) == item.facts[kind]
        assert f"{facts['tempo']}" in one.prompt.text
        if one.unseen:
            said = unseen()["drums"]["there" if facts["drums"] else "absent"]
            assert any(text in one.prompt.text for text in said)


def found_in(asked, right, rng):
    """A system in whose clips each fact is as asked with probability `right`, else as another's."""
    order = np.arange(len(asked))
    wrong = rng.random(len(asked)) > right
    order[wrong] = rng.permutation(order[wrong])
    facts = [asked[i].facts for i in order]
    tags = 0.1 * rng.random((len(asked), len(LABELS)))
    for row, fact in zip(tags, facts, strict=True):
        for name in fact["instruments"]:
            row[LABELS.index(name)] += 0.8
    signs = {
        kind: np.array([{high: 1.0, low: -1.0}.get(fact.get(kind), 0.0) for fact in facts])
        + 0.1 * rng.random(len(asked))
        for kind, (high, low) in OPPOSITES.items()
    }
    return Listened(tags, np.array([fact["tempo"] for fact in facts], dtype=float), signs)


def test_what_is_asked_is_found_where_it_is_and_only_there(asked):
    rng = np.random.default_rng(0)
    perfect, half, none = (found_in(asked, p, rng) for p in (1.0, 0.5, 0.0))
    found = adherence(asked, perfect, LABELS)
    assert set(found) == set(FACTS)
    for fact, values in found.items():
        assert np.nanmean(values) > 0.99, fact
    by_chance = adherence(asked, none, LABELS)
    for fact in ("instruments", *OPPOSITES):
        assert 0.35 < np.nanmean(by_chance[fact]) < 0.62, fact
    rows = adherence_rows(asked, {"model": half, "best": perfect}, "best", LABELS)
    value = {(r["metric"], r["model"]): r for r in rows}
    for fact in FACTS:
        way = value[f"{fact}, way to the ceiling", "model"]
        assert 0.3 < way["value"] < 0.8 and way["lo"] < way["value"] < way["hi"], way
        assert (f"{fact}, way to the ceiling", "best") not in value
        assert value[f"{fact}, mismatched prompts", "best"]["value"] < 0.62
    assert value["instruments, unseen words", "model"]["n"] == sum(one.unseen for one in asked)


def tone(*frequencies, seconds=4.0):
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return sum(0.1 * np.sin(2 * np.pi * f * time) for f in frequencies).astype(np.float32)


def test_major_bright_and_fast_are_heard():
    assert majorness(tone(261.6, 329.6, 392.0, 523.2)) > 0.1
    assert majorness(tone(261.6, 311.1, 392.0, 523.2)) < -0.1
    assert majorness(np.zeros(SAMPLE_RATE * 2, np.float32)) == 0
    assert brightness(tone(2000)) > brightness(tone(200))
    clicks = np.zeros(10 * SAMPLE_RATE, np.float32)
    clicks[:: SAMPLE_RATE // 2] = 0.9
    assert same_tempo(heard_tempo(clicks), 120) and not same_tempo(heard_tempo(clicks), 90)


def test_silence_endings_and_runs_are_measured():
    music = tone(440)
    gap = np.concatenate([music, np.zeros(int(3.5 * SAMPLE_RATE), np.float32), music])
    assert health.longest_silence_s(music) == 0
    assert health.longest_silence_s(gap) == pytest.approx(3.5, abs=0.1)
    assert health.longest_silence_s(np.zeros(SAMPLE_RATE, np.float32)) == 1
    assert abs(health.ending_db(music)) < 0.5
    faded = music * np.linspace(1, 0, len(music), dtype=np.float32) ** 2
    assert health.ending_db(faded) < -15 and health.ending_db(np.zeros(9_000)) == -60
    steady = np.arange(200)
    stuck = np.concatenate([steady, np.full(300, 7)])
    limit = health.run_limit([np.repeat(np.arange(50), 4)] * 20)
    assert limit == pytest.approx(6)
    row = health.degenerate_row("m", [music, gap, music], [steady, steady, stuck], limit)
    assert row["value"] == pytest.approx(2 / 3, abs=1e-4) and row["n"] == 3


def test_clips_without_noise_are_as_far_from_noisy_pieces_as_noise_is_from_tones():
    noise = np.random.default_rng(0).standard_normal(SAMPLE_RATE).astype(np.float32)
    music = tone(440)
    low, high = health.flatness(music), health.flatness(noise)
    same, thin, noisy = (
        health.flatness_rows("m", flat, [low, high], [False, True])
        for flat in ([low, high], [low, low], [high, high])
    )
    assert [row["n"] for row in same] == [1, 1, 2]
    assert [row["value"] for row in same] == pytest.approx([high, low, 0], abs=1e-4)
    assert [row["value"] for row in thin[:2]] == pytest.approx([low, low], abs=1e-4)
    assert len(health.flatness_rows("m", [low], [low], [False])) == 2
    assert thin[2]["value"] == noisy[2]["value"] > 0.2


def test_token_statistics_know_the_same_source_from_another():
    rng = np.random.default_rng(0)
    step = rng.permutation(64)

    def walk(follow):
        found = [0]
        for _ in range(400):
            found.append(step[found[-1]] if rng.random() < follow else int(rng.integers(64)))
        return np.array(found)

    held, same, loose = ([walk(p) for _ in range(20)] for p in (0.8, 0.8, 0.0))
    few = [t % 8 for t in loose]
    assert health.unigram_kl(same, held, 64) < 0.05 < health.unigram_kl(few, held, 64)
    assert health.bigram_kl(same, held, 64) < 0.5 < health.bigram_kl(loose, held, 64)
    rows = {row["metric"]: row["value"] for row in health.token_rows("m", same, held, 64)}
    assert rows["share of different tokens"] == pytest.approx(64 / 401, abs=0.01)


def test_the_clips_of_another_run_must_answer_the_same_prompts(tmp_path):
    settings = {"prompts": ["a"], "duration_s": 10.0, "models": {}}
    asked = [Prompt("0000-1", "a")]
    with pytest.raises(RequestError, match="make them first"):
        prompts_evaluation._beside(tmp_path, asked)
    (tmp_path / "simba").mkdir()
    write_json(tmp_path / "settings.json", settings | {"prompts": ["b"]})
    with pytest.raises(RequestError, match="same prompts"):
        prompts_evaluation._beside(tmp_path, asked)
    write_json(tmp_path / "settings.json", settings | {"models": {"simba": "other"}})
    found = prompts_evaluation._beside(tmp_path, asked)
    assert list(found) == [f"simba, {tmp_path.name}"]


def test_without_a_synthesiser_the_benchmark_says_so(pipeline, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(RequestError, match="FluidSynth is not installed"):
        prompts_evaluation.evaluate_prompts(pipeline, tmp_path, BENCH, tmp_path / "R.json")


@pytest.mark.fluidsynth
def test_a_run_on_the_benchmark_measures_models_ceiling_and_truth(pipeline, tmp_path, monkeypatch):
    monkeypatch.setattr(prompts_evaluation, "DURATION_S", 5.0)
    monkeypatch.setattr(distances, "FEWEST_WINDOWS", 5)
    written = {}
    monkeypatch.setattr(
        prompts_evaluation, "update_report", lambda _, tables, weights: written.update(tables)
    )
    few = [item for item in read_bench(BENCH)][:12]
    monkeypatch.setattr(prompts_evaluation, "read_bench", lambda _: few)
    out = tmp_path / "out"
    prompts_evaluation.evaluate_prompts(pipeline, out, BENCH, tmp_path / "REPORT.json")
    prompts_evaluation.evaluate_prompts(
        pipeline, out, BENCH, tmp_path / "REPORT.json", beside=[out]
    )
    models = {row["model"] for row in written["prompts"]}
    trip, real = prompts_evaluation.TRIP, prompts_evaluation.REAL
    assert models == {"simba", "transformer", "simba, out", "transformer, out", trip, real}
    value = {(r["metric"], r["model"]): r["value"] for t in written.values() for r in t}
    assert value["tempo", "simba"] == value["tempo", "simba, out"]
    # Neither the codec nor the model is trained here, so which is nearer to the pieces is chance.
    fad = {model: value["FAD at infinite size", model] for model in models - {real}}
    assert fad["simba"] == fad["simba, out"] != fad[trip] and min(fad.values()) > 0
    flat = {key[1]: v for key, v in value.items() if key[0].startswith("spectral flatness, dist")}
    assert set(flat) == models and flat["simba"] == flat["simba, out"] > flat[real] == 0
    # This codec's round trips all sound alike.
    assert value["alignment (cosine)", real] != value["alignment with the next clip's prompt", real]
