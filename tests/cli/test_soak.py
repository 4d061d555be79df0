"""The soak: what its visitors do and count, and a minute of it on the bundled models."""

import json
import os
import signal
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from simba_music.__main__ import main
from simba_music.cli.machine import endurance
from simba_music.cli.machine.endurance import Held, Soak, growth_per_hour, record_of
from simba_music.cli.machine.visits import Page, Visit, Visitor
from simba_music.errors import UserError
from simba_music.files import read_json
from simba_music.generation.streaming.ending import ended_by_sigterm

PARAMETERS = [
    {"parameter_name": "prompt"},
    {"parameter_name": "duration_s", "parameter_default": 10.0},
    {"parameter_name": "seed", "parameter_default": None},
    {"parameter_name": "temperature", "parameter_default": 1.0},
]
CONFIG = {"components": [{"id": 7, "props": {"elem_id": "blind"}}]}


class Fake(BaseHTTPRequestHandler):
    """Enough of a page to be visited; `answers` are what its calls end with."""

    answers: dict

    def log_message(self, *_):
        pass

    def reply(self, data, status=200):
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        if self.path.startswith("/gradio_api/info"):
            found = {"named_endpoints": {"/generate": {"parameters": PARAMETERS}}}
            return self.reply(json.dumps(found).encode())
        if self.path.startswith("/gradio_api/call/generate/"):
            return self.reply(self.answers["stream"])
        return self.reply(json.dumps(CONFIG).encode())

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.answers.get("status"):
            return self.reply(b"{}", self.answers["status"])
        return self.reply(json.dumps({"event_id": "e"} | self.answers.get("said", {})).encode())


@contextmanager
def page(**answers):
    handler = type("Bound", (Fake,), {"answers": answers})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield Page.of(f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("kind", "answers", "outcome"),
    [
        ("generate", {"stream": b"event: complete\ndata: [1]\n\n"}, "done"),
        ("generate", {"stream": b'event: error\ndata: {"error": "Too long."}\n\n'}, "refused"),
        ("generate", {"stream": b'event: error\ndata: {"error": null}\n\n'}, "error"),
        ("generate", {"stream": b""}, "error"),
        ("generate", {"status": 503}, "refused"),
        ("generate", {"status": 500}, "error"),
        ("wrong", {"stream": b'event: error\ndata: {"error": "Too long."}\n\n'}, "done"),
        ("wrong", {"stream": b"event: complete\ndata: [1]\n\n"}, "error"),
        ("cancel", {"stream": b"event: generating\ndata: [1]\n\n" * 5}, "done"),
        ("reload", {}, "done"),
        ("vote", {"said": {"error": "There is none left."}}, "refused"),
    ],
)
def test_a_visit_knows_how_it_ended(kind, answers, outcome):
    with page(**answers) as found:
        visit = Visitor(found, 1, lambda _: None).visit(kind)
    assert (visit.kind, visit.outcome) == (kind, outcome), visit
    assert visit.said or outcome == "done"


def held(rss):
    return [Held(i * 60.0, value, 20, 5) for i, value in enumerate(rss)]


@pytest.mark.fault("G6", "a leak is distinguished from a process that warms up")
def test_growth_is_told_from_warming_up():
    warm = [500 + min(i, 10) * 50 for i in range(40)]
    assert growth_per_hour(held(warm), lambda h: h.rss_mb) == 0
    leak = [1000 + 5 * i for i in range(40)]
    assert growth_per_hour(held(leak), lambda h: h.rss_mb) == pytest.approx(300, rel=0.1)


def test_the_record_and_its_table_count_every_visit(tmp_path):
    soak = Soak(tmp_path, 1)
    soak.visits = [Visit("generate", s, "done") for s in (1.0, 2.0, 3.0)]
    soak.visits += [
        Visit("generate", 0.1, "refused", "full"),
        Visit("vote", 9.0, "error", "HTTP 500"),
    ]
    soak.held = held([100, 100, 100])
    record = record_of(soak, 1.0, 8, 0)
    row = {"done": 3, "refused": 1, "error": 0, "p50_s": 2.0, "p95_s": 3.0, "p99_s": 3.0}
    assert record["visits"]["generate"] == row and record["errors"] == 1
    assert record["first_errors"] == ["vote: HTTP 500"] and record["refusals"] == {"full": 1}
    assert "| vote | 0 | 0 | 1 | – | – | – |" in endurance.table(record)
    docs = tmp_path / "page.md"
    docs.write_text("a\n<!-- soak -->\nold\n<!-- /soak -->\nb\n")
    endurance.fill(docs, record)
    text = docs.read_text()
    assert text.startswith("a\n<!-- soak -->\n1 minutes") and text.endswith("<!-- /soak -->\nb\n")
    assert "old" not in text
    docs.write_text("none")
    with pytest.raises(UserError, match="has no marks"):
        endurance.fill(docs, record)


def test_a_soak_that_is_ended_ends_its_app_too():
    before = signal.getsignal(signal.SIGTERM)
    ended = False
    with pytest.raises(SystemExit), ended_by_sigterm():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        finally:
            ended = True  # as `_serving` ends the app
    assert ended and signal.getsignal(signal.SIGTERM) == before


@pytest.mark.soak
@pytest.mark.fault("G6", "a minute of eight visitors: no error, memory and files bounded")
@pytest.mark.fault("V1", "votes beside requests, cancels and reloads")
def test_a_minute_of_eight_visitors(tmp_path):
    out = tmp_path / "soak.json"
    assert main(["soak", "--minutes", "1", "--clients", "8", "--out", str(out)]) == 0
    record = read_json(out)
    assert record["errors"] == 0 and record["visits"]["generate"]["done"] > 3
    ends = record["held"]
    assert ends["open_files"]["last"] < ends["open_files"]["first"] + 60
    assert ends["rss_mb"]["last"] < ends["rss_mb"]["first"] + 1500
