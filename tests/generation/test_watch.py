"""Steps that stand still, memory that runs out, limits of the host."""

import threading
import time

import pytest
import torch

from simba_music.errors import RequestError
from simba_music.files import room
from simba_music.generation.clip import Clip
from simba_music.generation.comparison import Comparison
from simba_music.generation.stops import Stops
from simba_music.generation.streaming.activity import stuck
from simba_music.generation.streaming.watch import StuckError, watched
from simba_music.serving import health
from simba_music.serving.health import Health, Parts


def settle():
    """Wait for threads that were given up, which end by themselves here."""
    until = time.monotonic() + 5
    while stuck() and time.monotonic() < until:
        time.sleep(0.02)
    assert stuck() == 0


def standing_still(seconds):
    def begin():
        yield 1
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(0.01)
        yield 2

    return begin


@pytest.mark.fault("G4", "a step that hangs: its thread is ended, and it is said")
def test_a_step_that_stands_still_is_ended_and_said():
    items = watched(standing_still(20), 0.2)
    assert next(items) == 1
    started = time.monotonic()
    with pytest.raises(StuckError, match=r"stood still for 0.2 s .*incident [0-9a-f]{8}"):
        next(items)
    assert time.monotonic() - started < 1
    settle()  # long before the twenty seconds are over


@pytest.mark.fault("G4", "health turns bad while a thread hangs, and recovers")
def test_a_thread_that_cannot_be_ended_is_counted_until_it_does(tmp_path, monkeypatch):
    monkeypatch.setattr(health, "KEPT_S", 0.0)
    page = Health(Parts(lambda: True, lambda: None, tmp_path))
    held = threading.Event()

    def begin():
        held.wait(10)  # as native code does: nothing is raised in it
        yield 1

    with pytest.raises(StuckError):
        next(watched(begin, 0.1))
    assert stuck() == 1 and not page.checks()["a step in the last minute"]
    held.set()
    settle()
    assert page.checks()["a step in the last minute"]


def test_a_watched_iterator_is_as_it_was():
    seen = []

    def begin():
        try:
            for i in range(5):
                seen.append(i)
                yield i
        finally:
            seen.append("closed")

    assert list(watched(begin, 5)) == list(range(5)) == list(watched(begin, 0))
    seen.clear()
    items = watched(begin, 5)
    assert next(items) == 0 and seen == [0]  # nothing is made ahead
    items.close()
    assert seen == [0, "closed"]

    def failing():
        yield 1
        raise ValueError("why")

    with pytest.raises(ValueError, match="why"):
        list(watched(failing, 5))


@pytest.mark.fault("G3", "out of memory in the sampler and in the decoder")
@pytest.mark.parametrize("where", ["sampler", "decoder"])
def test_memory_that_runs_out_is_let_go_and_said_and_the_next_request_works(
    pipeline, monkeypatch, where
):
    request = pipeline.validate(prompt="calm piano", duration_s=2, seed=1)
    expected = [e.codes for e in pipeline.generate(request, ("left",)) if isinstance(e, Clip)]

    def fail(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    target = "decoding.draw_noise" if where == "sampler" else "streaming.making.audio.fit"
    with monkeypatch.context() as broken:
        broken.setattr(f"simba_music.generation.{target}", fail)
        with pytest.raises(RequestError, match=r"not enough memory.*Incident"):
            list(pipeline.generate(request, ("left",)))
    again = [e.codes for e in pipeline.generate(request, ("left",)) if isinstance(e, Clip)]
    assert torch.equal(expected[0], again[0])


@pytest.mark.fault("G3", "a ceiling of memory and of disk: nothing new is begun above it")
@pytest.mark.parametrize(
    ("variable", "value"), [("SIMBA_MUSIC_MEMORY_GB", "0.01"), ("SIMBA_MUSIC_FREE_DISK_GB", "1e9")]
)
def test_nothing_is_begun_above_the_hosts_ceilings(pipeline, monkeypatch, variable, value):
    comparison = Comparison(pipeline, Stops())
    own = [pipeline.models[side].origin.id for side in ("left", "right")]
    monkeypatch.setenv(variable, value)
    with pytest.raises(RequestError, match=variable):
        list(comparison.run(*own, {"prompt": "calm piano", "duration_s": 2.0}, "session"))
    monkeypatch.delenv(variable)
    assert next(comparison.run(*own, {"prompt": "calm piano", "duration_s": 2.0}, "session"))


def test_the_memory_of_this_process_is_known():
    assert 1e7 < room.memory_bytes() < 1e12


@pytest.mark.fault("S3", "generation connects to nothing")
def test_nothing_is_connected_to(pipeline, spy):
    request = pipeline.validate(prompt="calm piano", duration_s=2)
    assert list(pipeline.generate(request))
    assert not [at for at in spy if at[0] not in ("127.0.0.1", "::1")]


@pytest.fixture
def spy(monkeypatch):
    """Addresses that sockets are connected to."""
    import socket

    seen = []
    real = socket.socket.connect

    def connect(self, address):
        if isinstance(address, tuple):
            seen.append(address)
        return real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    return seen
