"""Two pages in front of one PostgreSQL and one S3: what one was told the other knows."""

import socket
import time
from itertools import count
from urllib.parse import urlsplit

import pytest
from conftest import serving
from test_load import (
    SECONDS,
    SECRET,
    VOTERS,
    Voter,
    all_at_once,
    blind_part,
    offer_pairs,
    options_of,
)

from simba_music.listening.clip_store import ObjectStore
from simba_music.listening.database import Database
from simba_music.listening.trials import ListeningTest

pytestmark = [
    pytest.mark.objects,
    # Of the server that stands for S3, and of what it imports.
    pytest.mark.filterwarnings("ignore"),
]
CLIPS = "s3://clips/of/pairs"


@pytest.fixture(scope="module")
def storage():
    """An S3 on loopback with a bucket; the variables that its clients read."""
    import s3fs
    from moto import server

    threaded = server.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    threaded.start()
    host, port = threaded.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("AWS_ACCESS_KEY_ID", "tests"),
            ("AWS_SECRET_ACCESS_KEY", "tests"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL_S3", f"http://{host}:{port}"),
        ):
            patch.setenv(name, value)
        s3fs.S3FileSystem(skip_instance_cache=True).mkdir("clips")
        yield
    threaded.stop()


@pytest.fixture
def replicas(storage, system, tmp_path):
    """Two pages on the tiny system, the id of their blind test, and the part that they share."""
    from postgres_server import running

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with running(port) as url:
        base = Database(url.replace("postgresql://", "postgresql+psycopg://"))
        test = ListeningTest(base, ObjectStore(CLIPS), SECRET)
        offer_pairs(test)
        options = options_of(system)
        shared = {"DATABASE_URL": url, "SIMBA_MUSIC_CLIPS": CLIPS, "SIMBA_MUSIC_SECRET": SECRET}
        with serving(*options, environment=shared) as first:
            with serving(*options, environment=shared) as second:
                yield (first, second), blind_part(first), test
        base.close()


class Roaming(Voter):
    """A voter whose every question goes to another page than the one before."""

    def __init__(self, pages, component, number):
        super().__init__(pages[0], component, number)
        self.hosts = [urlsplit(url).netloc for url in pages]
        self.asked = count(number)

    def ask(self, name, data):
        self.host = self.hosts[next(self.asked) % len(self.hosts)]
        return super().ask(name, data)


def test_two_pages_share_votes_and_clips(replicas):
    pages, blind, test = replicas
    voter = Roaming(pages, blind, 0)
    listener = voter.ask("hello", {"listener": None})["listener"]
    pair = voter.ask("next_pair", {"listener": listener})
    again = voter.ask("hello", {"listener": listener})
    assert again["listener"] == listener
    first, second = (Roaming(pages, blind, i) for i in (0, 1))
    shown = [one.ask("next_pair", {"listener": listener}) for one in (first, second)]
    assert all(one["prompt"] and one["A"] and one["B"] for one in (pair, *shown))
    time.sleep(2 * SECONDS)
    heard = {side: [[0.0, pair["duration_s"]]] for side in "AB"}
    ballot = {"ticket": pair["ticket"], "preference": "B", "heard": heard}
    assert "error" not in first.ask("vote", ballot) and "error" not in first.ask("vote", ballot)
    (vote,) = test.database.votes()  # sent to both pages, it is one
    assert vote.preference == "B"


@pytest.mark.load
def test_200_voters_on_two_pages_are_confirmed(replicas):
    pages, blind, test = replicas
    voters = [Roaming(pages, blind, number) for number in range(VOTERS)]
    all_at_once(voters)
    assert [voter.said.get("vote") for voter in voters] == [{"undo_s": 10.0}] * VOTERS
    assert len(test.database.votes()) == VOTERS
