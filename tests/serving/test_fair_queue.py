"""Jobs of many visitors on a real Gradio server: read or dropped, so many each, in turn."""

import threading
import time

import pytest
from small_page import small_page, until

from simba_music.serving import fair_queue

pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::ResourceWarning",
    "ignore::DeprecationWarning",
)


@pytest.fixture
def small(tmp_path):
    with small_page(tmp_path) as page:
        yield page


@pytest.mark.fault("R5", "24 joins whose streams nobody opens: an honest visitor is served")
def test_jobs_that_nobody_reads_neither_run_nor_keep_others_out(small, monkeypatch):
    monkeypatch.setattr(fair_queue, "SOON_S", 0.2)
    unread = [small.join(f"unread {i}") for i in range(24)]
    assert [status for status, _ in unread].count(200) >= 20
    until(lambda: True)
    status, event = small.join("honest", visitor="8.8.8.8")
    if status != 200:  # the places are free once nobody has read for a moment
        took = until(lambda: small.join("honest", visitor="8.8.8.8")[0] == 200, 2)
        assert took < 2
        status, event = small.join("honest", visitor="8.8.8.8")
    assert status == 200
    reader = small.read(event)
    until(lambda: "honest" in small.ran, 2)
    small.hold.set()
    reader.join(5)
    assert "event: complete" in reader.found[0]
    assert not [name for name in small.ran if name.startswith("unread")]


@pytest.mark.fault("R5", "a job without a reader is dropped in 5 s")
def test_a_job_without_a_reader_is_dropped_in_five_seconds(small):
    assert fair_queue.UNREAD_S == 5.0
    assert small.join("nobody")[0] == 200 and len(small.queue.waiting()) == 1
    took = until(lambda: not small.queue.waiting(), 8)
    assert 4 < took < 6.5 and small.queue.refused["unread"] == 1 and small.ran == []


@pytest.mark.fault("R5", "so many jobs a visitor, whatever their sessions are called")
def test_a_visitor_has_so_many_jobs_and_others_are_not_held_up(small, monkeypatch):
    monkeypatch.setenv("SIMBA_MUSIC_VISITOR_JOBS", "2")
    joined = [small.join(f"one {i}", visitor="1.1.1.1") for i in range(4)]
    assert [status for status, _ in joined] == [200, 200, 503, 503]
    assert "from your address" in joined[-1][1] and small.queue.refused["visitor"] == 2
    assert small.join("two", visitor="9.9.9.9")[0] == 200
    assert small.join("", visitor="1.1.1.1", api="votes")[0] == 200  # another kind of work


@pytest.mark.fault("R5", "each visitor's first job comes before anyone's second")
def test_visitors_take_turns(small):
    readers = []
    jobs = [("a1", "1.1.1.1"), ("a2", "1.1.1.1"), ("a3", "1.1.1.1"), ("b1", "9.9.9.9")]
    for name, visitor in jobs:
        status, event = small.join(name, visitor=visitor)
        assert status == 200
        readers.append(small.read(event))
        if name == "a1":
            until(lambda: small.ran == ["a1"])
    until(lambda: [small.is_read(job) for job in small.queue.waiting()] == [True] * 3)
    small.hold.set()
    for reader in readers:
        reader.join(10)
    assert small.ran == ["a1", "b1", "a2", "a3"]


@pytest.mark.fault("G5", "one more than may wait is refused at once")
@pytest.mark.fault("R5", "Votes are read while generation is full")
def test_votes_have_a_queue_of_their_own(small):
    first = small.read(small.join("runs")[1])
    until(lambda: small.ran == ["runs"])
    waiting = [small.read(small.join(f"waits {i}")[1]) for i in range(fair_queue.LONGEST)]
    until(lambda: len(small.queue.waiting("work")) == fair_queue.LONGEST)
    assert small.join("too many")[0] == 503
    votes = small.read(small.join("", api="votes")[1], api="votes")
    votes.join(5)
    assert "event: complete" in votes.found[0] and "read" in votes.found[0]
    small.hold.set()
    for reader in [first, *waiting]:
        reader.join(10)
    assert len(small.ran) == 1 + fair_queue.LONGEST


@pytest.mark.fault("R5", "nobody passes by the queue")
def test_a_queued_handler_cannot_be_called_past_the_queue(small):
    status, _, _ = small.ask("/gradio_api/run/work", {"data": ["x"]})
    assert status == 404 and small.ran == []


def test_a_session_that_was_quiet_for_long_is_served_again(small, monkeypatch):
    """As gradio_client works: one session, whose reader comes a moment after the next job."""
    monkeypatch.setattr(fair_queue, "UNREAD_S", 1.5)
    small.hold.set()

    def ask(name):
        body = {"fn_index": 0, "data": [name], "session_hash": "quiet"}
        assert small.ask("/gradio_api/queue/join", body)[0] == 200
        time.sleep(0.8)
        path, found = "/gradio_api/queue/data?session_hash=quiet", []
        reader = threading.Thread(target=lambda: found.append(small.ask(path)[1]), daemon=True)
        reader.start()
        reader.join(8)
        return "".join(found)

    assert "process_completed" in ask("first")
    time.sleep(2.0)
    small.hold.clear()
    threading.Timer(1.0, small.hold.set).start()
    answer = ask("second")  # it runs, unread at first
    assert '"success":true' in answer.replace(" ", "") and small.ran == ["first", "second"]
