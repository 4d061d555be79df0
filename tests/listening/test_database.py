"""Votes are kept exactly once, whoever else votes and whatever dies; the same on both databases."""

import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import inspect, text

from simba_music.listening.ballot import VoteError
from simba_music.listening.database import Database, default_url, migrations
from simba_music.listening.tables import Base, Battle, Listener, Trial, Vote, new_id, now

PARAMS = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(scope="module")
def server():
    from postgres_server import running

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with running(port) as url:
        yield url


@pytest.fixture(params=PARAMS)
def url(request, tmp_path, in_memory, monkeypatch):
    """An empty database of either kind."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    if request.param == "sqlite":
        return default_url(Path(tempfile.mkdtemp(dir=in_memory)))
    monkeypatch.setenv("DATABASE_URL", request.getfixturevalue("server"))
    address = default_url(tmp_path)
    base = Database(address)
    with base.engine.begin() as connection:
        names = ", ".join(table.name for table in Base.metadata.sorted_tables)
        connection.execute(text(f"TRUNCATE {names} CASCADE"))
    base.close()
    return address


@pytest.fixture
def base(url):
    found = Database(url)
    yield found
    found.close()


def add_battle(base, name="b", **changes):
    fields = dict(
        id=name,
        created=now(),
        app_version="1",
        prompt="calm piano",
        origin="typed",
        study=None,
        gallery=None,
        seed=2**32 - 1,
        duration_s=8.0,
        sampling={"top_k": 250},
        sides={"left": {}, "right": {}},
    )
    row = Battle(**(fields | changes))
    base.add_battle(row)
    return row


def add_trial(base, listener, battle="b", flipped=False):
    row = Trial(
        id=new_id(),
        battle_id=battle,
        listener_id=listener,
        created=now(),
        flipped=flipped,
        first="A",
        kind="normal",
        place=0,
    )
    base.add(row)
    return row


def add_listener(base):
    name = new_id()
    base.add(Listener(id=name, created=now(), local=False, consent=None))
    return name


def vote_on(trial, **changes):
    fields = {
        "id": new_id(),
        "trial_id": trial.id,
        "listener_id": trial.listener_id,
        "created": now(),
        "preference": "A",
        "ratings": {"A": {"melody": 4}},
        "remark": "naïve \U0001f3b5",
        "heard": {"A": [[0, 5]], "B": [[0, 6]]},
        "switches": 2,
        "seconds_to_vote": 12.5,
        "status": "counted",
        "reasons": [],
    }
    return Vote(**(fields | changes))


def test_everything_comes_back_as_it_was(base):
    add_battle(base)
    trial = add_trial(base, add_listener(base))
    base.add_vote(vote_on(trial))
    (vote,) = base.votes()
    assert vote.remark == "naïve \U0001f3b5" and vote.heard == {"A": [[0, 5]], "B": [[0, 6]]}
    assert vote.trial.battle.seed == 2**32 - 1 and vote.created.tzinfo is not None
    assert base.showings(["b", "other"]) == {"b": (1, 0), "other": (0, 0)}
    assert [v.id for _, v in base.trials_of(trial.listener_id) if v] == [vote.id]
    assert base.trials_of(trial.listener_id, study="s") == []
    assert [b.id for b in base.battles("typed")] == ["b"] and base.battles("gallery") == []


def test_one_vote_a_trial(base):
    add_battle(base)
    trial = add_trial(base, add_listener(base))
    first = base.add_vote(vote_on(trial))
    assert base.add_vote(vote_on(trial)).id == first.id
    for changes in ({"preference": "B"}, {"remark": ""}):
        with pytest.raises(VoteError, match="already"):
            base.add_vote(vote_on(trial, **changes))
    assert len(base.votes()) == 1


def test_the_tables_are_what_the_migrations_make(base):
    found = inspect(base.engine)
    for table in Base.metadata.sorted_tables:
        columns = {c["name"]: c["nullable"] for c in found.get_columns(table.name)}
        assert columns == {c.name: c.nullable for c in table.columns}
    unique = [set(c["column_names"]) for c in found.get_unique_constraints("votes")]
    assert {"trial_id", "listener_id"} in unique


def test_a_database_is_opened_again_as_it_is(url):
    first = Database(url)
    add_battle(first)
    first.close()
    second = Database(url)
    assert len(second.battles("typed")) == 1
    second.close()


def test_a_gallerys_name_moves_out_of_the_studys_column_and_back(url):
    old = Database(url)
    own = {"g": ("gallery", "gallery 1"), "s": ("study", "mine"), "t": ("typed", None)}
    for name, (origin, _) in own.items():
        add_battle(old, name, origin=origin)
    with old.engine.begin() as connection:
        command.downgrade(migrations(connection), "0002")
        for name, (_, study) in own.items():
            connection.execute(
                text("UPDATE battles SET study = :study WHERE id = :id"),
                {"id": name, "study": study},
            )
    old.close()
    new = Database(url)
    held = {name: (new.battle(name).study, new.battle(name).gallery) for name in own}
    assert held == {"g": (None, "gallery 1"), "s": ("mine", None), "t": (None, None)}
    assert [battle.id for battle in new.battles("gallery", "gallery 1")] == ["g"]
    with new.engine.begin() as connection:
        command.downgrade(migrations(connection), "0002")
        rows = connection.execute(text("SELECT id, origin, study FROM battles"))
        assert {row.id: (row.origin, row.study) for row in rows} == own
    new.close()
    Database(url).close()


def test_200_voters_of_4_votes_at_once_are_each_kept_once(base):
    """Every confirmed vote is there exactly once; each is sent twice, as by a retry."""
    add_battle(base)
    confirmed, errors = list[str](), list[Exception]()

    def voter():
        try:
            name = add_listener(base)
            for _ in range(4):
                trial = add_trial(base, name)
                vote = base.add_vote(vote_on(trial))
                assert base.add_vote(vote_on(trial)).id == vote.id
                confirmed.append(vote.id)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=voter) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors[:3]
    kept = [vote.id for vote in base.votes()]
    assert len(confirmed) == 800 and sorted(confirmed) == sorted(kept)


VOTER = """
    import sys
    sys.path.insert(0, {tests!r})
    from test_database import add_battle, add_listener, add_trial, vote_on
    from simba_music.listening.database import Database
    base = Database({url!r})
    while True:
        print(base.add_vote(vote_on(add_trial(base, add_listener(base)))).id, flush=True)
"""


def test_a_kill_loses_no_confirmed_vote(url, tmp_path):
    base = Database(url)
    add_battle(base)
    confirmed = list[str]()
    for i in range(3):
        code = textwrap.dedent(VOTER.format(tests=str(Path(__file__).parent), url=url))
        log = tmp_path / f"{i}.log"
        with log.open("w") as out:
            child = subprocess.Popen([sys.executable, "-c", code], stdout=out)
            while log.stat().st_size < 33 * (5 + 7 * i):
                assert child.poll() is None
                time.sleep(0.01)
            child.send_signal(signal.SIGKILL)
            child.wait()
        confirmed += [line for line in log.read_text().split("\n")[:-1] if len(line) == 32]
    kept = {vote.id for vote in base.votes()}
    base.close()
    assert len(confirmed) >= 36 and set(confirmed) <= kept


def test_addresses_that_hosts_hand_out_are_understood(monkeypatch, tmp_path):
    for short in ("postgres://", "postgresql://"):
        monkeypatch.setenv("DATABASE_URL", short + "u@h/d")
        assert default_url(tmp_path) == "postgresql+psycopg://u@h/d"
    monkeypatch.delenv("DATABASE_URL")
    assert default_url(tmp_path) == f"sqlite:///{tmp_path / 'votes.sqlite3'}"
