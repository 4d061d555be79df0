"""Evaluation of clips: captions of the benchmark found again, speed, a picture and samples."""

from pathlib import Path

import pytest

from simba_music.files import read_json
from simba_music.training.evaluation import clips as evaluation

BENCH = Path(__file__).parents[1] / "data" / "bench_v1"


@pytest.mark.fluidsynth
def test_clips_of_the_benchmark_fill_two_tables_and_leave_something_to_hear(
    pipeline, tmp_path, monkeypatch
):
    held_out = evaluation.held_out
    monkeypatch.setattr(evaluation, "held_out", lambda bench: held_out(bench, 4))
    monkeypatch.setattr(evaluation, "CANDIDATES", 4)
    (tmp_path / "docs").mkdir()
    report = tmp_path / "checkpoints" / "REPORT.json"
    report.parent.mkdir()
    evaluation.evaluate_clips(pipeline, BENCH, report, tmp_path / "work")
    rows = {table["id"]: table["rows"] for table in read_json(report)["tables"]}
    found = {r["model"]: r for r in rows["clips"] if r["metric"].startswith("right prompt")}
    assert {"simba", "transformer", "real piece"} < set(found) and len(found) == 4
    assert all(row["n"] == 4 for row in found.values())
    assert {row["model"] for row in rows["speed"]} == {"simba", "transformer"}
    assert len(list((tmp_path / "docs" / "samples").glob("*.ogg"))) == 12
    assert (tmp_path / "docs" / "spectrograms.png").stat().st_size > 10_000
    assert all(8 <= item.duration_s <= 16 for item in held_out(BENCH, 2))
