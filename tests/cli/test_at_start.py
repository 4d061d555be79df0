"""What is broken when a command starts: a sentence, exit code 2, and no traceback."""

import json
import logging
import sqlite3

import pytest

from simba_music.__main__ import main
from simba_music.listening.database import Database

REPORT = ("study", "report", "nowhere")  # opens the database before it looks for the study


def run(capsys, *words):
    code = main([str(word) for word in words])
    said = capsys.readouterr().err
    assert "Traceback" not in said and said.count("\n") <= 2, said
    return code, said


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("SIMBA_MUSIC_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.mark.fault("D3", "a file that is no database, and a damaged one")
@pytest.mark.parametrize("damage", ["text", "middle"])
def test_a_damaged_database_is_not_opened(data, capsys, damage):
    file = data / "votes.sqlite3"
    if damage == "text":
        file.write_bytes(b"no database at all" * 100)
    else:
        Database(f"sqlite:///{file}").close()
        whole = bytearray(file.read_bytes())
        whole[100:2000] = bytes(1900)
        file.write_bytes(whole)
    before = file.read_bytes()
    code, said = run(capsys, *REPORT)
    assert code == 2 and "is damaged" in said and "Incident" in said
    assert file.read_bytes() == before


@pytest.mark.fault("D3", "a database of a newer version")
@pytest.mark.fault("R7", "a newer database")
def test_a_newer_database_is_not_opened(data, capsys):
    file = data / "votes.sqlite3"
    Database(f"sqlite:///{file}").close()
    with sqlite3.connect(file) as base:
        base.execute("UPDATE alembic_version SET version_num = 'from_the_future'")
    base.close()
    code, said = run(capsys, *REPORT)
    assert code == 2 and "newer version" in said


@pytest.mark.fault("D6", "PostgreSQL is down at the start")
def test_a_database_that_does_not_answer_is_said(data, capsys, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://someone:hunter2@127.0.0.1:9/votes")
    code, said = run(capsys, *REPORT)
    assert code == 2 and "does not answer" in said and "hunter2" not in said


@pytest.mark.fault("D2", "a data folder that cannot be made")
@pytest.mark.fault("R7", "a read-only home")
def test_a_home_that_takes_nothing_is_said(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SIMBA_MUSIC_DATA", str(tmp_path / "file" / "data"))
    code, said = run(capsys, *REPORT)
    assert code == 2 and str(tmp_path / "file") in said and "SIMBA_MUSIC_DATA" in said


@pytest.mark.fault("D2", "no temporary folder")
def test_no_temporary_folder_is_said(capsys, monkeypatch, data):
    import tempfile

    def none(*_, **__):
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "mkdtemp", none)
    from simba_music.errors.causes import cause
    from simba_music.generation.stops import Stops

    with pytest.raises(FileNotFoundError) as found:
        Stops()
    assert "TMPDIR" in cause(found.value)


@pytest.mark.fault("W6", "a config.json nested 100,000 deep")
@pytest.mark.fault("R7", "a deep config.json")
def test_a_deep_config_is_said(tmp_path, capsys):
    folder = tmp_path / "deep"
    folder.mkdir()
    (folder / "config.json").write_text("[" * 100_000)
    words = ["generate", "calm piano", "--out", tmp_path / "out", "--left", folder]
    code, said = run(capsys, *words)
    assert code == 2 and "nested too deeply" in said


@pytest.mark.fault("S4", "the incident of a command stands in its file, with the traceback")
def test_an_incident_leads_to_the_log(data, capsys, monkeypatch):
    monkeypatch.setattr(logging.root, "handlers", [])  # as in a process of its own
    (data / "votes.sqlite3").write_bytes(b"no database at all" * 100)
    code, said = run(capsys, *REPORT)
    for handler in logging.root.handlers:
        handler.close()
    (line,) = (data / "incidents.jsonl").read_text().splitlines()
    found = json.loads(line)
    assert code == 2 and f"Incident {found['incident']}" in said
    assert "Traceback" in found["error"]
