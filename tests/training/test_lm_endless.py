"""Language models on music without end: the same for all, gone on with, grown from a pair."""

import json
import multiprocessing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from endless_pieces import SEED, coded
from test_lm_training import killed_at

from simba_music.errors import RequestError
from simba_music.files import read_json
from simba_music.models.checkpoint import load_language_model
from simba_music.training.corpus import store, tokens
from simba_music.training.corpus.build import compose_piece
from simba_music.training.corpus.endless import train_seeds
from simba_music.training.lm import endless as lm_endless
from simba_music.training.lm import trainer as lm_trainer
from simba_music.training.lm.batches import batches
from simba_music.training.lm.endless import Encoding, EndlessTokens, encoded
from simba_music.training.lm.preset import PRESETS, Architecture

REAL = lm_endless.Compose
TINY = replace(PRESETS["tiny"], steps=6, validate_every=3)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Few pieces, of codes that nobody has to render for."""
    monkeypatch.setattr(lm_endless, "POOL", 5)
    monkeypatch.setattr(lm_endless, "FIRST", 3)
    monkeypatch.setattr(lm_endless, "PIECE_S", 6.0)  # so that one comes a step, nearly
    monkeypatch.setattr(lm_endless, "Compose", lambda *said: coded)
    monkeypatch.setattr(lm_endless, "sources_of", lambda accompaniment: {})


def stream(codec_folder, workers=1, beside=None):
    return EndlessTokens(SEED, TINY, Encoding(codec_folder, workers=workers), beside)


def taken(source, start, count):
    made = batches(source, TINY, start)
    found = [part for _ in range(count) for part in next(made)]
    source.close()
    return found


def test_steps_are_the_same_for_any_workers_and_from_any_step_on(codec_folder):
    one = taken(stream(codec_folder), 0, 6)
    for found, expected in (
        (taken(stream(codec_folder, workers=2), 0, 6), one),
        (taken(stream(codec_folder), 4, 2), one[4:]),
    ):
        for a, b in zip(found, expected, strict=True):
            assert torch.equal(a.codes, b.codes)
            assert torch.equal(a.given.text.states, b.given.text.states)
            assert all(
                torch.equal(a.given.features[n], b.given.features[n]) for n in a.given.features
            )
    assert not multiprocessing.active_children()


def test_the_pool_holds_the_latest_pieces_and_moves_on(codec_folder):
    source, rng = stream(codec_folder), np.random.default_rng(0)
    seeds = [str(seed) for seed, _ in zip(train_seeds(SEED), range(40), strict=False)]
    first = {crop.piece for crop in source.at(0, rng).crops}
    later = {crop.piece for crop in source.at(20, rng).crops}
    assert first == set(seeds[:3]) and source.due(0) == 3
    due = source.due(20)
    assert later == set(seeds[due - 5 : due]) and due > 8
    (record,) = source.describe()
    assert (record["name"], record["pieces"]) == (f"compose:{SEED}", due)
    assert record["hours"]["train"] == source.hours > 0
    source.close()


def test_a_crop_is_what_the_tokens_stage_makes_of_it(tokenised, codec_folder):
    corpus = tokens.TokenCorpus(tokenised, "train")
    row, samples = next(p for p in store.piece_audio(tokenised) if p[0]["split"] == "train")
    piece = encoded((row, samples), Encoding(codec_folder))
    pool = lm_endless.Pool([piece], corpus.codec)
    own = [i for i, crop in enumerate(corpus.crops) if crop.piece == row["id"]]
    assert len(own) == len(pool.crops) > 0
    for number, index in enumerate(own):
        known, found = corpus.crops[index], pool.crops[number]
        assert replace(found, facts={}, captions=()) == replace(known, facts={}, captions=())
        assert found.captions[:-1] == known.captions  # and a musician's
        assert json.loads(json.dumps(found.facts)) == known.facts
        for caption in range(6):
            a, b = pool.example(number, caption), corpus.example(index, caption)
            assert np.array_equal(a.codes, b.codes) and a.caption == b.caption
            np.testing.assert_allclose(a.text, b.text, atol=2e-3)


def test_codes_are_kept_and_a_kept_piece_is_not_rendered(codec_folder, tmp_path, monkeypatch):
    rendered = list[int]()

    def made(seed, sample_rate, accompaniment):
        rendered.append(seed)
        row = compose_piece(seed)
        rng = np.random.default_rng(seed)
        count = round(row["duration_s"] * sample_rate)
        return row, rng.integers(-9000, 9000, count).astype(np.int16)

    monkeypatch.setattr(lm_endless, "compose_and_render", made)
    compose = REAL(Encoding(codec_folder, kept=tmp_path / "codes"))
    seed = min(range(SEED, SEED + 40), key=lambda s: compose_piece(s)["duration_s"])
    (row, codes), (again, same) = compose(seed, 24_000), compose(seed, 24_000)
    assert rendered == [seed] and np.array_equal(codes, same)
    assert row["captions"] == again["captions"] and row["lengths"] == again["lengths"]
    changed = compose_piece(seed) | {"tempo": 1}  # by another version of the composer
    monkeypatch.setattr(lm_endless, "compose_piece", lambda seed, accompaniment: changed)
    assert compose(seed, 24_000)[1].shape == codes.shape and rendered == [seed, seed]
    assert len(list((tmp_path / "codes").iterdir())) == 2


def test_a_quarter_of_the_parts_are_of_a_folder_beside(tokenised, codec_folder):
    beside = tokens.TokenCorpus(tokenised, "train")
    source, rng = stream(codec_folder, beside=beside), np.random.default_rng(0)
    share = np.mean([source.at(0, rng) is beside for _ in range(400)])
    source.close()
    assert share == pytest.approx(0.25, abs=0.06)
    assert [corpus["name"] for corpus in source.describe()] == [f"compose:{SEED}", tokenised.name]


def train(codec_folder, out, corpora, preset=TINY, start=None, backbone="simba"):
    out.mkdir(parents=True, exist_ok=True)
    ref, books = tokens.codec_ref(codec_folder), tokens.codebooks_of(codec_folder)
    lm_trainer.train_lm(
        corpora[0],
        out,
        Architecture(backbone),
        preset,
        ref,
        books,
        start=start,
        also=corpora[1:],
        encoding=Encoding(codec_folder),
    )
    return [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]


def test_a_training_on_it_that_was_killed_ends_as_if_it_had_not_been(
    tokenised, codec_folder, tmp_path, monkeypatch
):
    corpora = [Path(f"compose:{SEED}"), tokenised]
    whole = train(codec_folder, tmp_path / "whole", corpora)
    again = partial(train, codec_folder, tmp_path / "killed", corpora)
    killed_at(4, monkeypatch, again)
    resumed = again()
    assert [row["valid"] for row in resumed] == [row["valid"] for row in whole]
    a, b = (load_language_model(str(tmp_path / n))[0].state_dict() for n in ("whole", "killed"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    record = read_json(tmp_path / "whole" / "training.json")
    assert record["corpora"][0]["name"] == f"compose:{SEED}" and record["tokenised_hours"] > 0


@pytest.mark.parametrize("backbone", ["simba", "transformer"])
def test_a_grown_model_loses_what_it_lost_and_then_learns(
    tokenised, codec_folder, tmp_path, backbone
):
    small = train(codec_folder, tmp_path / "small", [tokenised], backbone=backbone)
    deep = replace(TINY, n_layers=4, steps=9, learning_rate=3e-3, warmup_steps=1)
    small_folder = tmp_path / "small"
    grown = train(codec_folder, tmp_path / "deep", [tokenised], deep, small_folder, backbone)
    at = len(small)
    assert grown[:at] == small and grown[at]["step"] == small[-1]["step"]
    # Weights are kept in float16, so a digit may be lost on the way.
    assert grown[at]["valid"] == pytest.approx(small[-1]["valid"], abs=2e-3)
    assert grown[-1]["step"] == small[-1]["step"] + 9
    lm, _ = load_language_model(str(tmp_path / "deep"))
    copy = lm.state_dict()["backbone.blocks.1.channel_mixer.2.weight"]
    assert lm.config.n_layers == 4 and copy.any()


def test_bundle_8_is_the_bundled_pair_with_twice_the_layers(codec_folder):
    from simba_music.training.lm.preset import ARCHITECTURES, count_parameters, make_config

    ref, counts = tokens.codec_ref(codec_folder), []
    for name in ("simba-mlp-prefix", "transformer-prefix"):
        own, deep = (make_config(ARCHITECTURES[name], PRESETS[p], ref) for p in ("cpu", "bundle-8"))
        differing = {k for k, v in deep.model_dump().items() if v != own.model_dump()[k]}
        assert differing == {"n_layers", "conditions"} and deep.n_layers == 2 * own.n_layers
        assert set(deep.conditions) - set(own.conditions) == {"chords", "density"}
        counts.append(count_parameters(deep))
        assert counts[-1] * 2 < 24e6
    assert abs(counts[0] / counts[1] - 1) < 0.02


@pytest.mark.parametrize("also", [0, 1])
def test_what_cannot_be_held_out_is_refused(tokenised, codec_folder, tmp_path, also):
    from simba_music.training.lm.guards import open_splits

    corpora = [Path("compose:1"), *[Path("compose:2")] * also, *[tokenised] * also]
    with pytest.raises(RequestError, match="holds nothing out"):
        open_splits(corpora, TINY, tokens.codec_ref(codec_folder), Encoding(codec_folder))
