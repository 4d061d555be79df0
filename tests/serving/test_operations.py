"""Health, metrics and sweeps: what a host can ask, and what is thrown away."""

import json
import os
import subprocess
import sys
import time
from datetime import timedelta

import pytest
from ballots import ballot, battle
from small_page import small_page
from sqlalchemy import update

from simba_music.errors import RequestError
from simba_music.generation.service import Progress
from simba_music.generation.stops import MOST_MARKS, Stops
from simba_music.generation.streaming.activity import Activity
from simba_music.listening import pairs
from simba_music.listening.tables import Battle, now
from simba_music.serving import health
from simba_music.serving.health import Health, Parts
from simba_music.serving.sweeps import UNVOTED_DAYS, Sweeper, sweep_files, sweep_pairs

NO_WARNING = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::ResourceWarning",
    "ignore::DeprecationWarning",
)


@NO_WARNING
@pytest.mark.fault("R14", "/healthz and /metrics on the page's own server")
def test_health_and_metrics_are_on_the_pages_own_server(tmp_path, test):
    with small_page(tmp_path, test) as small:
        status, text, headers = small.ask("/healthz")
        said = json.loads(text)
        assert status == 200 and said["healthy"] and len(said["checks"]) == 4
        assert headers["cache-control"] == "no-store"
        assert small.ask("/gradio_api/upload", {})[0] == 404
        found = small.ask("/figures/spectrograms.png")
        assert found[0] == 200 and found[2]["content-type"] == "image/png"
        for other in ("none.png", "design.md", "..%2FREADME.md", "compare-desktop.png"):
            assert small.ask(f"/figures/{other}")[0] == 404, other
        small.hold.set()
        reader = small.read(small.join("x")[1])
        reader.join(5)
        test.counts["counted"] += 2
        status, text, _ = small.ask("/metrics")
        assert status == 200
        assert 'simba_music_votes_total{status="counted"} 2.0' in text
        assert 'simba_music_requests_total{method="POST",status="404"} 1.0' in text
        assert 'simba_music_jobs{state="waiting"} 0.0' in text
        assert "process_resident_memory_bytes" in text and "8.8.8.8" not in text
        test.database.close()
        os.rename(tmp_path / "votes.sqlite3", tmp_path / "moved")
        time.sleep(health.KEPT_S)
        status, text, _ = small.ask("/healthz")
        assert status == 503 and json.loads(text)["checks"]["database writable"] is False


def checks(tmp_path, monkeypatch, test, **changes):
    monkeypatch.setattr(health, "KEPT_S", 0.0)
    fields = {"models": lambda: True, "test": lambda: test, "data": tmp_path} | changes
    found = Health(Parts(**fields)).checks()
    return [name for name, good in found.items() if not good]


@pytest.mark.fault("G4", "a run that makes no step turns health bad, and its end turns it good")
def test_a_stuck_run_is_seen_and_its_end_too(tmp_path, monkeypatch, test):
    monkeypatch.setattr(health, "SILENT_S", 0.05)
    activity = Activity()
    events = activity.watched(iter([Progress("left", "simba", 0, 1, 2, 0.1)] * 2))
    next(events)
    assert checks(tmp_path, monkeypatch, test, activity=activity) == []
    time.sleep(0.1)
    bad = checks(tmp_path, monkeypatch, test, activity=activity)
    assert bad == ["a step in the last minute"]
    events.close()
    assert checks(tmp_path, monkeypatch, test, activity=activity) == []
    assert activity.runs == {"cancelled": 1} and activity.running == 0


def test_missing_models_a_lost_database_and_a_full_disk_are_seen(tmp_path, monkeypatch, test):
    assert checks(tmp_path, monkeypatch, test) == []
    assert checks(tmp_path, monkeypatch, test, models=lambda: False) == ["models loaded"]
    assert checks(tmp_path, monkeypatch, None) == ["database writable"]
    monkeypatch.setattr(health, "LEAST_DISK_GB", 1e9)
    assert checks(tmp_path, monkeypatch, test) == ["disk left"]


def test_a_failed_run_and_a_refusal_are_counted():
    def broken():
        yield Progress("left", "simba", 0, 1, 2, 0.1)
        raise ValueError("broken")

    activity = Activity()
    with pytest.raises(ValueError, match="broken"):
        list(activity.watched(broken()))
    with pytest.raises(RequestError), activity.counting_refusals():
        raise RequestError("no")
    assert activity.runs == {"failed": 1, "refused": 1} and activity.silent_s == 0


def write(folder, name, size, age_s):
    path = folder / name
    path.write_bytes(bytes(size))
    os.utime(path, (time.time() - age_s,) * 2)
    return path


@pytest.mark.fault("R6", "clips beyond their room are deleted, the oldest first")
def test_the_oldest_clips_beyond_the_room_are_deleted(tmp_path, monkeypatch):
    made = [write(tmp_path, f"{i}.wav", 1000, age_s=100 - i) for i in range(10)]
    foreign = write(tmp_path, "foreign.wav", 10**6, age_s=1000)
    assert sweep_files([*made, tmp_path / "gone.wav"], 4500) == 6
    assert [path.exists() for path in made] == [False] * 6 + [True] * 4 and foreign.exists()
    monkeypatch.setenv("SIMBA_MUSIC_KEPT_GB", "0.000002")
    Sweeper(Parts(lambda: True, lambda: None, tmp_path), lambda: map(str, made)).sweep()
    assert [path.exists() for path in made] == [False] * 8 + [True] * 2


@pytest.mark.fault("R6", "typed pairs that nobody voted on go after a week, voted ones stay")
def test_old_pairs_without_a_vote_go_and_voted_ones_stay(test, clock):
    from ballots import tone

    from simba_music.listening.pairs import Side

    listener = test.listener_id_of(test.new_listener(local=False))
    voted, unvoted, undone, young = (battle(test, prompt=name) for name in ("v", "u", "n", "y"))
    own = {name: Side(tone(pitch=pitch)) for name, pitch in (("left", 500.0), ("right", 600.0))}
    alone = battle(test, sides=own)
    kept = battle(test, sides=own, origin="gallery", gallery="g")
    for pair in (voted, undone):
        trial = test.show(pair, listener)
        clock(15)
        test.vote(ballot(trial))
    test.undo(trial["ticket"])
    test.show(unvoted, listener)
    old = now() - timedelta(days=UNVOTED_DAYS + 1)
    with test.database.session() as session:
        session.execute(update(Battle).where(Battle.id != young.id).values(created=old))
    assert sweep_pairs(test) == 2  # `unvoted` and `alone`
    left = {battle.id for battle in test.database.battles("typed")}
    assert left == {voted.id, undone.id, young.id}
    files = {path.stem for path in test.clips.folder.iterdir()}
    assert files == {side["audio_sha256"] for pair in (voted, kept) for side in pair.sides.values()}
    assert alone.id not in left and len(test.database.votes()) == 1
    assert sweep_pairs(test) == 0


@pytest.mark.fault("R6", "no typed pair is made where there is no room for it")
def test_a_pair_is_refused_where_there_is_no_room(tmp_path, monkeypatch):
    (tmp_path / "a.wav").write_bytes(bytes(3000))
    pairs.check_room(tmp_path)
    monkeypatch.setenv("SIMBA_MUSIC_KEPT_GB", "0.000002")
    with pytest.raises(RequestError, match="no room for more pairs"):
        pairs.check_room(tmp_path)
    monkeypatch.delenv("SIMBA_MUSIC_KEPT_GB")
    monkeypatch.setattr(pairs, "LEAST_DISK_GB", 1e9)
    with pytest.raises(RequestError, match="no room"):
        pairs.check_room(tmp_path)


@pytest.mark.fault("R6", "stop marks stay few")
def test_stop_marks_stay_few_and_a_new_one_counts():
    stops = Stops()
    for i in range(MOST_MARKS + 5):
        stops.request(f"nobody {i}")
    assert stops.wanted(f"nobody {MOST_MARKS + 4}")
    assert len(list(stops._folder.iterdir())) <= MOST_MARKS


FILES = ("File", "UploadButton", "Image", "ImageEditor", "Video", "Audio", "MultimodalTextbox")
BUILD = """
import sys
from simba_music.ui.app import build
from simba_music.ui.opening import Opening, sides_before_loading

for block in build(Opening(sides_before_loading(*sys.argv[1:]))).blocks.values():
    print(type(block).__name__, getattr(block, "interactive", None))
"""


@pytest.mark.fault("R6", "uploads are shut: no part of the page takes files")
def test_no_part_of_the_page_takes_files(system):
    """Whoever adds one that does opens its door in `serving.guard`, with a quota."""
    names = [str(system / name) for name in ("simba", "transformer", "clap")]
    done = subprocess.run(
        [sys.executable, "-c", BUILD, *names], capture_output=True, text=True, check=True
    )
    parts = [line.split() for line in done.stdout.splitlines()]
    assert ["HTML", "None"] in parts
    assert [name for name, interactive in parts if name in FILES and interactive != "False"] == []
