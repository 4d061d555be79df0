"""The Results tab shows the report as it is, and says where it is of something else."""

from simba_music.files import read_json, sha256, write_json
from simba_music.hub.places import BUNDLED
from simba_music.models.report import (
    LIMITS,
    SUMMARY_ROWS,
    ahead,
    report_tables,
    stale,
    table,
    unmeasured,
)

LOADED = {n: sha256(BUNDLED / n / "model.safetensors") for n in ("simba", "transformer")}


def test_every_table_of_the_report_is_shown_with_its_figures():
    tables = read_json(BUNDLED / "REPORT.json")["tables"]
    shown = report_tables()
    assert {made["id"] for _, _, made in shown} == {made["id"] for made in tables}
    assert shown[0][2]["id"] == "clips"
    for heading, _, made in shown:
        assert heading and f"{made['rows'][0]['value']:.4g}" in table(made["rows"])
    assert "cannot be compared with LAION CLAP" in LIMITS.replace("\n", " ")


def test_a_model_is_ahead_only_where_intervals_are_apart():
    def row(metric, model, lo, hi):
        value = (lo + hi) / 2
        return {"metric": metric, "model": model, "value": value, "lo": lo, "hi": hi, "n": 9}

    kad = "KAD (our tagger's space)"
    asked = [row("drums", "simba", 0.6, 0.7), row("drums", "transformer", 0.71, 0.8)]
    asked += [row("mode", "simba", 0.6, 0.7), row("mode", "transformer", 0.69, 0.8)]
    asked += [row("tempo", "simba", 0.9, 1.0)]  # of one model only
    health = [row(kad, "simba", 1, 2), row(kad, "transformer", 3, 4)]
    tables = [{"id": "prompts", "rows": asked}, {"id": "health", "rows": health}]
    names = {metric: name for _, metric, name in SUMMARY_ROWS}
    assert ahead(tables) == {
        "simba": [names[kad]],
        "transformer": [names["drums"]],
        "": [names["mode"]],
    }
    assert ahead([]) == {"simba": [], "transformer": [], "": []}


def test_the_bundled_report_is_of_the_bundled_weights():
    for _, _, made in report_tables():
        assert stale(made, LOADED) == [], made["id"]
    assert unmeasured(LOADED) == []


def test_other_weights_are_told_from_those_measured(tmp_path):
    (made,) = [made for _, _, made in report_tables() if made["id"] == "clips"]
    assert stale(made, LOADED | {"simba": "0" * 64}) == ["simba"]
    assert unmeasured({"mine": "0" * 64}) == ["mine"]
    assert report_tables(tmp_path / "REPORT.json") == []
    new = {"id": "mine", "rows": [], "checkpoints": {}, "machine": "x", "commit": "y"}
    write_json(tmp_path / "REPORT.json", {"schema": 2, "tables": [new]})
    assert report_tables(tmp_path / "REPORT.json") == [("mine", "", new)]
