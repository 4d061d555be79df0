"""Takes: the scorer keeps one of several, and a judge that did not rank says what that adds."""

import logging
from pathlib import Path

import numpy as np
import pytest

from simba_music.errors import RequestError
from simba_music.training.corpus.bench import read_bench
from simba_music.training.experiments import takes

BENCH = Path(__file__).parent.parent / "data" / "bench_v1"


def test_what_is_added_is_the_mean_over_prompts_of_the_chosen_take_less_the_first():
    found = {"a": np.array([[0.1, 0.5], [0.4, 0.2], [0.3, 0.9]])}
    rows = takes.take_rows("simba", found, np.array([1, 0, 1]))
    values = {row["metric"]: row["value"] for row in rows}
    assert values == pytest.approx(
        {"a, first take": 0.2667, "a, best of 2": 0.6, "a, added": 0.3333}, abs=1e-4
    )
    assert {row["n"] for row in rows} == {3}


def test_takes_are_made_ranked_and_judged(pipeline, tmp_path, monkeypatch, caplog):
    few = list(read_bench(BENCH))[:12]
    monkeypatch.setattr(takes, "read_bench", lambda _: few)
    monkeypatch.setattr(takes, "DURATION_S", 5.0)
    monkeypatch.setattr(takes, "TAKES", 2)
    written = {}
    monkeypatch.setattr(takes, "update_report", lambda _, tables, weights: written.update(tables))
    with caplog.at_level(logging.INFO):
        takes.evaluate_takes(pipeline, tmp_path / "out", BENCH, tmp_path / "R.json", limit=3)
    assert not written and "instruments (tagger, AUC), added" in caplog.text
    store = takes.ClipStore(tmp_path / "out" / "simba")
    assert len(store.rows) == 6 and len({row["seed"] for row in store.rows.values()}) == 6
    monkeypatch.setattr(takes, "PROMPTS", 3)
    takes.evaluate_takes(pipeline, tmp_path / "out", BENCH, tmp_path / "R.json")
    rows = {(row["metric"], row["model"]): row for row in written["takes"]}
    for model in ("simba", "transformer"):
        first, best, added = (
            rows[f"{takes.ALIGNMENT}, {label}", model]["value"]
            for label in ("first take", "best of 2", "added")
        )
        assert best >= first and added == pytest.approx(best - first, abs=2e-4)
        assert 0 <= rows[f"{takes.INSTRUMENTS}, best of 2", model]["value"] <= 1


def test_takes_need_a_scorer(pipeline, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "scorer", None)
    with pytest.raises(RequestError, match="--scorer"):
        takes.evaluate_takes(pipeline, tmp_path, BENCH, tmp_path / "R.json")
