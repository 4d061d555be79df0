"""200 voters over HTTP at once: every vote is confirmed, and nobody waits long."""

import json
import random
import threading
import time
import urllib.request
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest
from ballots import tone
from conftest import serving

from simba_music.listening.database import Database
from simba_music.listening.pairs import Side
from simba_music.listening.trials import ListeningTest

VOTERS, PAIRS, SECONDS = 200, 20, 3.0
SECRET = "a secret of the tests"


def offer_pairs(test):
    """Short pairs, as those of a gallery."""
    for i in range(PAIRS):
        pitches = {"left": 200.0 + i, "right": 300.0 + i}
        sides = {name: Side(tone(SECONDS, pitch=pitch)) for name, pitch in pitches.items()}
        test.add_battle(f"pair {i}", sides, "gallery", i, {})


def options_of(system):
    """What the app is begun with, to play the tests' models."""
    models = {"left": "simba", "right": "transformer", "scorer": "clap"}
    return [f"--{name}={system / folder}" for name, folder in models.items()]


def blind_part(url):
    """The id of the part of a page that the blind test asks."""
    with urllib.request.urlopen(f"{url}/config", timeout=30) as answer:
        parts = json.load(answer)["components"]
    (blind,) = (part for part in parts if part["props"].get("elem_id") == "blind")
    return blind["id"]


def all_at_once(voters):
    """Let voters vote, all at one time."""
    for voter in voters:
        voter.start()
    for voter in voters:
        voter.join(180)


@pytest.fixture
def page(tmp_path, system):
    """The app on a gallery of short pairs: its address, its blind test, the part that is asked."""
    base = Database(f"sqlite:///{tmp_path / 'votes.sqlite3'}")
    test = ListeningTest(base, tmp_path / "clips", SECRET)
    offer_pairs(test)
    data = {"SIMBA_MUSIC_DATA": str(tmp_path), "SIMBA_MUSIC_SECRET": SECRET}
    with serving(*options_of(system), environment=data) as url:
        yield url, test, blind_part(url)
    base.close()


class Voter(threading.Thread):
    """Says hello, is shown a pair, hears it, votes; notes how long each answer took."""

    def __init__(self, url, component, number):
        super().__init__(daemon=True)
        self.host, self.component = urlsplit(url).netloc, component
        self.address = f"8.{number // 250}.{number % 250}.7"  # of a network of its own
        self.took, self.said = {}, {}

    def ask(self, name, data):
        body = {"data": data, "component_id": self.component, "fn_name": name}
        body["session_hash"] = f"voter{self.address}"
        headers = {"content-type": "application/json", "x-forwarded-for": self.address}
        began = time.monotonic()
        connection = HTTPConnection(self.host, timeout=120)
        connection.request("POST", "/gradio_api/component_server", json.dumps(body), headers)
        with connection.getresponse() as answer:
            self.said[name] = json.loads(answer.read())
        connection.close()
        self.took[name] = time.monotonic() - began
        return self.said[name]

    def run(self):
        time.sleep(random.random())
        listener = self.ask("hello", {"listener": None})["listener"]
        pair = self.ask("next_pair", {"listener": listener})
        time.sleep(2 * SECONDS)
        heard = {side: [[0.0, pair["duration_s"]]] for side in "AB"}
        self.ask("vote", {"ticket": pair["ticket"], "preference": "A", "heard": heard})


@pytest.mark.load
@pytest.mark.fault("V1", "over HTTP, of 200 networks")
@pytest.mark.fault("R14", "200 voters over HTTP: 200 confirmed, 95 % of votes within 2 s")
def test_200_voters_at_once_are_confirmed_soon(page):
    url, test, component = page
    voters = [Voter(url, component, number) for number in range(VOTERS)]
    all_at_once(voters)
    assert [voter.said.get("vote") for voter in voters] == [{"undo_s": 10.0}] * VOTERS
    votes = test.database.votes()
    assert len(votes) == VOTERS and {vote.status for vote in votes} == {"counted"}
    p95 = {
        name: sorted(voter.took[name] for voter in voters)[round(0.95 * VOTERS)]
        for name in ("hello", "next_pair", "vote")
    }
    print({name: round(seconds, 2) for name, seconds in p95.items()})
    assert p95["vote"] < 2, p95
