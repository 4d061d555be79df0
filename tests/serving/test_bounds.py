"""The guard by itself: what goes no further, what every answer carries, and what is counted."""

import asyncio
import tracemalloc

import loops
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from simba_music.listening.votes.crowd import visitor
from simba_music.serving import guard
from simba_music.serving.guard import HEADERS, MOST_BYTES, Guard, is_shut
from simba_music.serving.metrics import Requests


class Asked:
    """One request to a guarded application that reads its body and says how long it was."""

    def __init__(self, path="/gradio_api/queue/join", method="POST", chunks=(), headers=(), **more):
        self.registry = CollectorRegistry()
        self.reached, self.sent, self.who = [], [], None
        self.chunks = iter(chunks)
        self.scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": list(headers),
            "client": ("127.0.0.1", 1),
        } | more
        guarded = Guard(self.app, Requests(self.registry))
        loops.run(guarded(self.scope, self.receive, self.send))
        self.status = self.sent[0]["status"]
        self.headers = {n.decode(): v.decode() for n, v in self.sent[0]["headers"]}

    async def receive(self):
        await asyncio.sleep(0)
        chunk = next(self.chunks, None)
        if chunk is None:
            return {"type": "http.request", "body": b"", "more_body": False}
        if isinstance(chunk, float):
            await asyncio.sleep(chunk)
            chunk = b""
        return {"type": "http.request", "body": chunk, "more_body": True}

    async def send(self, message):
        self.sent.append(message)

    async def app(self, scope, receive, send):
        self.who, more, body = visitor.get(), scope["method"] == "POST", b""
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        self.reached.append(body)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def test_a_body_within_the_cap_arrives_whole():
    asked = Asked(chunks=[b"ab", b"c" * 1000, b"d"])
    assert asked.status == 200 and asked.reached == [b"ab" + b"c" * 1000 + b"d"]


@pytest.mark.fault("S2", "a body beyond the cap is not read")
@pytest.mark.fault("R1", "a body of 20 MB, announced or not: 413, nothing reached, memory flat")
@pytest.mark.parametrize("announced", [True, False])
def test_a_long_body_is_refused_before_it_is_read(announced):
    read = []

    def chunks():
        for _ in range(320):
            read.append(1)
            yield bytes(65536)

    length = [(b"content-length", b"20971520")] if announced else []
    tracemalloc.start()
    asked = Asked(chunks=chunks(), headers=length)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert asked.status == 413 and asked.reached == []
    assert len(read) <= MOST_BYTES // 65536 + 1 and peak < 4 * MOST_BYTES


@pytest.mark.parametrize("said", [b"-1", b"x", b"1e9"])
def test_an_odd_length_is_refused(said):
    assert Asked(headers=[(b"content-length", said)]).status == 413


@pytest.mark.fault("R1", "a body that never ends to come: 408")
def test_a_body_that_takes_too_long_is_refused(monkeypatch):
    monkeypatch.setattr(guard, "BODY_S", 0.05)
    assert Asked(chunks=[b"a", 5.0]).status == 408


@pytest.mark.fault("S2", "an upload, however many files")
@pytest.mark.fault("R6", "uploads, recordings, snapshots and proxies of Gradio are shut")
@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/upload",
        "/gradio_api/upload/",
        "/gradio_api/upload_progress",
        "/gradio_api/process_recording",
        "/gradio_api/deep_link",
        "/gradio_api/proxy=https://example.com",
        "/gradio_api/vibe-edit/",
        "/gradio_api/run-history/connect",
        "/gradio_api/runs",
        "/gradio_api/stream/x",
        "/monitoring/summary",
        "/some/root/gradio_api/upload",
    ],
)
def test_doors_that_the_page_does_not_use_are_shut(path):
    asked = Asked(path)
    assert asked.status == 404 and asked.reached == [] and is_shut(path)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/gradio_api/queue/join",
        "/gradio_api/call/generate",
        "/gradio_api/startup-events",
        "/gradio_api/file=/tmp/gradio/x/upload.wav",
        "/gradio_api/component_server",
        "/monitoringx",
        "/assets/upload.js",
    ],
)
def test_doors_that_it_uses_are_open(path):
    assert not is_shut(path) and Asked(path).status == 200


@pytest.mark.fault("S5", "every answer has them, refusals too")
@pytest.mark.fault("R13", "security headers that still allow a Space's frame")
@pytest.mark.parametrize("path", ["/", "/gradio_api/upload"])
def test_every_answer_has_the_headers_and_a_space_may_frame_it(path):
    found = Asked(path, method="GET").headers
    assert HEADERS.items() <= found.items()
    ancestors = HEADERS["content-security-policy"].partition("frame-ancestors ")[2].partition(";")
    assert {"'self'", "https://huggingface.co", "https://*.hf.space"} <= set(ancestors[0].split())
    assert "x-frame-options" not in found and found["x-content-type-options"] == "nosniff"


@pytest.mark.fault("R4", "the address is known while a question is answered, and no longer")
def test_the_visitor_is_known_to_whoever_answers():
    far = Asked(headers=[(b"x-forwarded-for", b"8.8.8.8")])
    assert far.who == "8.8.8.8" and Asked().who is None and visitor.get() is None


def test_requests_are_counted_by_method_and_status():
    text = generate_latest(Asked(method="BREW").registry).decode()
    assert 'simba_music_requests_total{method="other",status="200"} 1.0' in text
    assert 'simba_music_request_seconds_count{method="other"} 1.0' in text
