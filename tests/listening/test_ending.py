"""A process that is asked to end: votes reach the Hub, runs are cancelled, within ten seconds."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from hub_server import Fault, on
from test_mirror import NAME, lines, vote

from simba_music.generation.stops import Stops
from simba_music.generation.streaming import ending as endings
from simba_music.generation.streaming.ending import ASKED, WITHIN_S, Ending, graceful
from simba_music.listening.mirror import VoteMirror

SERVER = """
    import sys, time, threading
    import huggingface_hub.constants as constants
    constants.ENDPOINT = {hub!r}
    files = "/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    constants.HUGGINGFACE_CO_URL_TEMPLATE = constants.ENDPOINT + files
    sys.path[:0] = {path!r}
    from ballots import ballot, battle
    from datetime import timedelta
    from simba_music.generation.streaming.ending import Ending, graceful
    from simba_music.listening import tables, trials
    from simba_music.ui.opening import Opening, open_test

    opening = Opening({{}})
    test = open_test()
    opening.test.set_result(test)
    real = trials.now
    for _ in range(5):
        trial = test.show(battle(test), test.listener_id_of(test.new_listener(local=False)))
        trials.now = lambda: real() + timedelta(seconds=20)
        test.vote(ballot(trial))
        trials.now = real
    ending = Ending()
    ending.add("the page", opening.close)
    with graceful(ending):
        print("ready", flush=True)
        while True:
            time.sleep(0.1)
"""


def start(tmp_path, hub):
    path = [str(Path(__file__).parent.parent), str(Path(__file__).parent)]
    code = textwrap.dedent(SERVER.format(hub=hub.url, path=path))
    data = {"SIMBA_MUSIC_DATA": str(tmp_path / "data"), "SIMBA_MUSIC_VOTES": "tester/votes"}
    data |= {"HF_TOKEN": "hf_writes", "HF_HUB_OFFLINE": "0", "HF_HUB_CACHE": str(tmp_path / "c")}
    child = subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | data, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "ready\n"
    return child


@pytest.mark.fault("V3", "SIGTERM with the mirror on: every confirmed vote is on the Hub")
@pytest.mark.fault("R2", "votes that wait are copied")
def test_a_stop_copies_every_vote_to_the_hub(hub, tmp_path):
    child = start(tmp_path, hub)
    started = time.monotonic()
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=12) == ASKED and time.monotonic() - started < 10
    child.stdout.close()
    assert len([line for line in lines(hub) if "vote" in line]) == 5


@pytest.mark.fault("H2", "the end does not wait for a Hub that hangs, and the votes are kept")
def test_a_stop_does_not_wait_for_a_hub_that_hangs(hub, test, base, clock, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_writes")
    test.mirror = VoteMirror(base, NAME, tmp_path / "mirror")
    vote(test, clock)
    hub.faults.append(on("commit", Fault(delay_s=2.0)))
    ending = Ending(within_s=0.3)
    ending.add("votes", test.mirror.close)
    started = time.monotonic()
    assert not ending.run() and time.monotonic() - started < 1
    assert len(test.mirror.file.read_text().splitlines()) == 1
    assert WITHIN_S + 2 <= 10


@pytest.mark.fault("G1", "the process ends: every run is asked to stop")
def test_every_run_is_asked_to_end():
    stops = Stops()
    stops.request_all()
    assert stops.wanted("anybody") and stops.asked_by("other")()
    stops.clear("anybody")
    assert stops.wanted("anybody")


def test_the_end_waits_for_nothing_longer_than_it_may(caplog):
    done, held = [], threading.Event()
    ending = Ending(within_s=0.3)
    ending.add("quick", lambda: done.append(1))
    ending.add("fails", lambda: 1 / 0)
    ending.add("hangs", held.wait)
    started = time.monotonic()
    assert not ending.run() and time.monotonic() - started < 1
    held.set()
    assert done == [1] and "hangs" in caplog.text and "fails failed" in caplog.text
    assert Ending().run()


def test_whatever_ends_the_block_the_end_is_done_and_signals_are_put_back():
    before, done = signal.getsignal(signal.SIGTERM), []
    ending = Ending()
    ending.add("once", lambda: done.append(1))
    with pytest.raises(ValueError), graceful(ending):
        raise ValueError
    assert done == [1] and signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("times", [1, 2])
def test_a_signal_that_is_lost_comes_again_and_one_that_arrives_does_not(monkeypatch, times):
    monkeypatch.setattr(endings, "AGAIN_S", 0.2)
    lost = arrived = 0
    began = time.monotonic()
    with pytest.raises(SystemExit) as end, endings.ended_by_sigterm() as known:
        while True:
            try:
                if not lost:
                    os.kill(os.getpid(), signal.SIGTERM)
                    os.kill(os.getpid(), signal.SIGTERM)  # at once: the same question
                time.sleep(5)
            except SystemExit:
                if lost < times:  # as where exceptions are ignored
                    lost += 1
                    continue
                known.set()
                time.sleep(0.5)  # what is done at the end
                arrived += 1
                raise
    assert (lost, arrived, end.value.code) == (times, 1, ASKED)
    assert time.monotonic() - began < 3
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
