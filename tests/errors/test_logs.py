"""The log: an incident is found in it by its id, and it holds no token, address or prompt."""

import io
import json
import logging
import sqlite3

import pytest
from sqlalchemy.exc import OperationalError

from simba_music.errors import RequestError, logs
from simba_music.errors.causes import NO_MEMORY, cause
from simba_music.errors.incidents import user_message

PROMPT = "a lullaby for my daughter Ottilie"


@pytest.fixture
def lines():
    """What the JSON log says, line by line."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs._Json(prompts=False))
    root = logging.getLogger()
    root.addHandler(handler)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.removeHandler(handler)


@pytest.mark.fault("S4", "an incident's id leads from the sentence to the traceback")
def test_the_log_explains_an_incident_by_its_id(lines):
    try:
        raise ValueError("the third wheel")
    except ValueError as error:
        said = user_message(error)
    (line,) = lines()
    assert f"Incident {line['incident']}" in said and "third wheel" not in said
    assert "ValueError: the third wheel" in line["error"] and "test_logs.py" in line["error"]
    assert user_message(RequestError("Shorten it.")) == "Shorten it." and len(lines()) == 1


@pytest.mark.fault(
    "S4", "tokens, passwords, signed addresses and raw addresses stay out of the log"
)
@pytest.mark.parametrize(
    "secret",
    [
        "hf_abcdefGHIJ1234",
        "Authorization: Bearer abc.def-123456",
        "postgresql://user:hunter2secret@host/votes",
        "https://cdn.example.org/file?X-Amz-Signature=abcdef0123",
        "203.0.113.77",
        "2001:db8:85a3:8d3:1319:8a2e:370:7348",
    ],
)
def test_what_is_nobodys_business_is_left_out(lines, secret):
    logging.getLogger("anything").error("so says %s of late", secret)
    said = lines()[0]["message"]
    parts = ("hf_abc", "abc.def", "hunter2", "Signature", "203.0.113", "8a2e")
    assert said.startswith("so says") and said.endswith("of late")
    assert not any(part in said for part in parts)
    assert logs.hidden("took 12.5 s at 127.0.0.1:7860, 10:20:30") == (
        "took 12.5 s at 127.0.0.1:7860, 10:20:30"
    )


@pytest.mark.fault("S4", "a prompt stays out of the log, in an error after it too")
def test_a_prompt_is_logged_only_where_the_host_asked(lines):
    try:
        with logs.private(PROMPT):
            logging.getLogger("anything").info("cannot read %r", PROMPT)
            raise ValueError(PROMPT)
    except ValueError as error:
        user_message(error)
    assert "Ottilie" not in json.dumps(lines()) and "prompt of 33 characters" in str(lines())
    assert logs.hidden(PROMPT, prompts=True) == PROMPT


def test_lines_of_text_are_short_and_the_file_of_incidents_is_whole(tmp_path):
    record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "incident %s", ("ab12",), None)
    record.incident = "ab12"
    try:
        raise ValueError("why")
    except ValueError as error:
        record.exc_info = (ValueError, error, error.__traceback__)
    assert "Traceback" not in logs._Text(prompts=False).format(record)
    kept = logs._Incidents(tmp_path / "new" / logs.INCIDENTS, delay=True)
    kept.setFormatter(logs._Json(prompts=False))
    kept.emit(record)
    kept.emit(logging.LogRecord("x", logging.INFO, "x.py", 1, "nothing", (), None))
    kept.close()
    (line,) = (tmp_path / "new" / logs.INCIDENTS).read_text().splitlines()
    assert json.loads(line)["incident"] == "ab12" and "ValueError: why" in line


@pytest.mark.fault("S4", "where no file can be kept, standard error has the incident")
def test_a_closed_disk_leaves_the_incident_to_standard_error(tmp_path, capsys):
    (tmp_path / "file").touch()
    kept = logs._Incidents(tmp_path / "file" / logs.INCIDENTS, delay=True)
    kept.setFormatter(logs._Json(prompts=False))
    record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "incident", (), None)
    record.incident = "ab12"
    kept.emit(record)
    assert "ab12" in capsys.readouterr().err


def database(words):
    return OperationalError("INSERT INTO votes", {}, sqlite3.OperationalError(words))


@pytest.mark.fault("G3", "out of memory is distinguished from other errors")
@pytest.mark.fault("D1", "three messages of a full disk")
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "not enough memory"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
            "enough memory",
        ),
        (
            OSError(28, "No space left on device", "/data/x.wav"),
            "The disk is full. Nothing is half",
        ),
        (OSError(30, "Read-only file system", "/home/x"), "/home/x cannot be written"),
        (PermissionError(13, "Permission denied", "/home/x"), "/home/x cannot be written"),
        (NotADirectoryError(20, "Not a directory", "/home/x"), "/home/x cannot be used"),
        (database("database or disk is full"), "A vote could not be stored. The disk is full"),
        (database("database is locked"), "busy with another program"),
        (database("file is not a database"), "is damaged"),
        (database("attempt to write a readonly database"), "cannot be opened for writing"),
        (database("connection refused"), "does not answer"),
        (RecursionError(), "nested too deeply"),
        (ValueError("else"), None),
        (RuntimeError("shapes differ"), None),
    ],
)
def test_causes_are_told_in_words(error, said):
    found = cause(error)
    assert (found is None) if said is None else (found is not None and said in found)
    outer = RuntimeError("the work failed")
    outer.__cause__ = error
    assert cause(outer) == found and (said != "not enough memory" or found == NO_MEMORY)
