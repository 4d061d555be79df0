"""What a run shows: cards, names, stops, and the models that a host allows."""

import json
import re
from html import unescape
from pathlib import Path

import pytest

from simba_music.errors import CheckpointError
from simba_music.generation.clip import Clip, Progress
from simba_music.generation.comparison import Comparison, Started
from simba_music.generation.recipe import stem_of
from simba_music.generation.stops import Stops
from simba_music.ui import cards, run_view


def test_names_from_outside_are_escaped(pipeline, system, tmp_path):
    import shutil

    evil = tmp_path / "<img src=x onerror=alert(1)>"
    shutil.copytree(system / "simba", evil)
    shutil.copytree(system / "codec", tmp_path / "codec")
    held = pipeline.with_models(str(evil), str(evil))
    request = held.validate(prompt="<b>calm</b>", duration_s=2.0)
    heading = cards.title(held, "left")
    for event in held.generate(request, ("left",)):
        card = (
            cards.progress_card(heading, event)
            if isinstance(event, Progress)
            else cards.result_card(heading, event)
        )
        assert "<img" not in card and "<b>calm" not in card
    assert isinstance(event, Clip)
    assert stem_of(event.recipe, event.name) == "b-calm-b-img-src-x-onerror-alert-1-left-seed0"


def test_the_alignment_over_time_is_drawn_and_said():
    from xml.etree import ElementTree

    from simba_music.scoring.score import Score
    from simba_music.ui.cards import timeline

    score = Score("clap", "1", 0.4, 90.0, timeline=(0.5, -0.1, 2.0))
    drawn = ElementTree.fromstring(timeline(score).partition("<div")[0])
    heights = [float(bar.get("height")) for bar in drawn.iter("rect")]
    assert heights == [40.0, 8.0, 80.0]  # of the scale from -0.25 to 1; beyond it is cut
    assert drawn.get("aria-label").endswith("every 2.5 s: 0.50, -0.10, 2.00")
    assert timeline(Score("clap", "1", None, None, "silent")) == ""


def test_one_session_stops_only_itself():
    stops = Stops()
    stops.request("a")
    assert stops.wanted("a") and not stops.wanted("b")
    stops.clear("a")
    assert not stops.wanted("a")


def page(pipeline, tmp_path, stops=None, **raw):
    comparison = Comparison(pipeline, stops or Stops())
    own = [pipeline.models[side].origin.id for side in ("left", "right")]
    raw = {"prompt": "calm piano", "duration_s": 2.0, "seed": 5} | raw
    return run_view.run_page(comparison, *own, raw, "session", tmp_path)


def test_a_run_changes_the_page_step_by_step_and_names_each_file_once(
    pipeline, tmp_path, monkeypatch
):
    monkeypatch.setattr("simba_music.generation.pipeline.usable_cores", lambda: 2)
    changes = list(page(pipeline, tmp_path))
    assert changes[0]["seed"] == 5 and changes[0]["left-player"] is None
    assert "Starting" in changes[0]["right-card"]
    paths = {n: v for change in changes for n, v in change.items() if n.endswith("-player") and v}
    files = {n: Path(path).name for n, path in paths.items()}
    assert files["left-player"].startswith("calm-piano-simba-seed5")
    found = re.search(r'data-both="([^"]*)"', changes[-1]["verdict"])
    both = json.loads(unescape(found[1]))
    assert both["files"] == {"A": files["left-player"], "B": files["right-player"]}
    # no sound beside these files: the player of both fetches them from the page
    assert len(changes[-1]["verdict"]) < 10_000


def test_a_side_waits_for_its_turn_where_one_follows_the_other(pipeline, tmp_path, monkeypatch):
    monkeypatch.setenv("SIMBA_MUSIC_AT_ONCE", "0")
    first = next(page(pipeline, tmp_path))
    assert "Starting" in first["left-card"] and "Waiting for its turn" in first["right-card"]


def test_a_run_that_was_stopped_says_what_there_is(pipeline, tmp_path, monkeypatch):
    monkeypatch.setenv("SIMBA_MUSIC_AT_ONCE", "0")
    monkeypatch.setattr("simba_music.ui.run_view.GROUP_S", 0.0)
    stops, texts = Stops(), []
    for change in page(pipeline, tmp_path, stops, duration_s=10.0):
        texts += [value for name, value in change.items() if name.endswith("-card")]
        if "tokens/s, about" in texts[-1]:
            stops.request("session")
    assert any("Stopped early" in text for text in texts)
    assert "Stopped before it began" in texts[-1]


def test_a_stop_keeps_what_was_made_of_both_sides(pipeline, tmp_path, monkeypatch):
    monkeypatch.setattr("simba_music.generation.pipeline.usable_cores", lambda: 2)
    stops, cards = Stops(), {}
    for change in page(pipeline, tmp_path, stops, duration_s=30.0):
        cards |= {name: value for name, value in change.items() if name.endswith("-card")}
        if all("tokens/s, about" in cards[f"{side}-card"] for side in ("left", "right")):
            stops.request("session")
    assert all("Stopped early" in text for text in cards.values())


def test_a_host_that_forbids_other_models_is_obeyed_by_the_handler(pipeline, monkeypatch):
    monkeypatch.setenv("SIMBA_MUSIC_ANY_MODEL", "0")
    monkeypatch.setenv("SIMBA_MUSIC_MODELS", "org/offered")
    comparison = Comparison(pipeline, Stops())
    own = pipeline.models["left"].origin.id
    raw = {"prompt": "calm piano", "duration_s": 2.0}
    with pytest.raises(CheckpointError, match="is not offered here. Choose one of: .*org/of"):
        next(comparison.run(own, "/etc", raw, "session"))
    assert isinstance(next(comparison.run(own, own, raw, "session")), Started)
