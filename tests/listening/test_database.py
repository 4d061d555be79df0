"""Votes are kept exactly once, whoever else votes and whatever dies; the same on both databases."""

import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import event, inspect, text
from sqlalchemy.exc import OperationalError

from simba_music.errors import UserError
from simba_music.errors.causes import cause
from simba_music.listening import engine
from simba_music.listening.database import Database, default_url
from simba_music.listening.engine import DatabaseLostError, migrations
from simba_music.listening.tables import Base, Battle, Listener, Trial, Vote, new_id, now
from simba_music.listening.votes.ballot import VoteError

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


@pytest.mark.fault("D3", "an older schema is migrated")
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


@pytest.mark.fault("V1", "200 voters of 4 votes")
@pytest.mark.fault("V2", "each vote is sent twice")
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


def killed_while_voting(url, tmp_path, votes):
    """(confirmed, kept) ids of votes of processes that are killed after so many each."""
    base = Database(url)
    add_battle(base)
    confirmed = list[str]()
    for i, count in enumerate(votes):
        code = textwrap.dedent(VOTER.format(tests=str(Path(__file__).parent), url=url))
        log = tmp_path / f"{i}.log"
        with log.open("w") as out:
            child = subprocess.Popen([sys.executable, "-c", code], stdout=out)
            while log.stat().st_size < 33 * count:
                assert child.poll() is None
                time.sleep(0.01)
            child.send_signal(signal.SIGKILL)
            child.wait()
        confirmed += [line for line in log.read_text().split("\n")[:-1] if len(line) == 32]
    kept = {vote.id for vote in base.votes()}
    base.close()
    return confirmed, kept


@pytest.mark.fault("D5", "kill -9 while voting")
def test_a_kill_loses_no_confirmed_vote(url, tmp_path):
    confirmed, kept = killed_while_voting(url, tmp_path, [5, 12, 19])
    assert len(confirmed) >= 36 and set(confirmed) <= kept


@pytest.mark.slow
@pytest.mark.fault("D5", "100,000 votes and 20 kills")
def test_20_kills_lose_none_of_100_000_votes(url, tmp_path):
    confirmed, kept = killed_while_voting(url, tmp_path, [5000] * 20)
    assert len(confirmed) >= 100_000 and set(confirmed) <= kept


def sqlite_only(url):
    if not url.startswith("sqlite"):
        pytest.skip("of SQLite's files")
    return Path(url.removeprefix("sqlite:///"))


@pytest.mark.fault("D4", "copies of the database and its WAL while votes come in")
def test_a_copy_at_any_moment_opens_and_holds_what_was_confirmed(url, tmp_path):
    file, base, stop = sqlite_only(url), Database(url), threading.Event()
    add_battle(base)
    confirmed = list[str]()

    def voter():
        while not stop.is_set():
            confirmed.append(base.add_vote(vote_on(add_trial(base, add_listener(base)))).id)

    thread = threading.Thread(target=voter)
    thread.start()
    try:
        for i in range(8):
            while len(confirmed) < 3 * (i + 1):
                time.sleep(0.002)
            before = set(confirmed)
            copy = tmp_path / f"copy-{i}.sqlite3"
            # The log first: a page that the file takes over meanwhile stands in both.
            for end in ("-wal", ""):
                if Path(f"{file}{end}").exists():
                    shutil.copyfile(f"{file}{end}", f"{copy}{end}")
            with sqlite3.connect(copy) as opened:
                assert opened.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                kept = {row[0] for row in opened.execute("SELECT id FROM votes")}
            opened.close()
            assert before <= kept
    finally:
        stop.set()
        thread.join()
        base.close()


@pytest.mark.fault(
    "D1", "full disk at the insert of a vote: not acknowledged, and the app recovers"
)
def test_a_vote_that_finds_no_room_is_not_confirmed(url):
    sqlite_only(url)
    base = Database(url)
    add_battle(base)
    trial = add_trial(base, add_listener(base))
    limits = []

    @event.listens_for(base.engine, "begin")
    def limited(connection):
        connection.exec_driver_sql(f"PRAGMA max_page_count = {limits[-1] if limits else 10**9}")

    with base.engine.connect() as connection:
        limits.append(connection.exec_driver_sql("PRAGMA page_count").scalar())
    with pytest.raises(OperationalError) as full:
        base.add_vote(vote_on(trial, remark="x" * 20_000))
    assert "could not be stored. The disk is full" in cause(full.value)
    assert base.votes() == []
    limits.append(10**9)
    kept = base.add_vote(vote_on(trial, remark="x" * 20_000))
    assert [vote.id for vote in base.votes()] == [kept.id]
    base.close()


@pytest.mark.fault("D3", "a database that another program has locked")
def test_a_locked_database_is_waited_for_and_then_said(url, monkeypatch):
    file, base = sqlite_only(url), Database(url)
    add_battle(base)
    trial = add_trial(base, add_listener(base))
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.5, lambda: other.execute("COMMIT"))
    timer.start()
    assert base.add_vote(vote_on(trial)).id  # it waited
    timer.join()
    base.close()
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_MS", 50)
    hasty = Database(url)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(OperationalError) as locked:
        add_listener(hasty)
    assert "busy with another program" in cause(locked.value)
    other.execute("COMMIT")
    assert add_listener(hasty)
    other.close()
    hasty.close()


@pytest.mark.postgres
@pytest.mark.fault("D6", "PostgreSQL drops every connection and is back")
def test_postgresql_may_go_and_come_back(server, monkeypatch, tmp_path):
    monkeypatch.setenv("DATABASE_URL", server)
    base, other = Database(default_url(tmp_path)), Database(default_url(tmp_path))
    add_battle(base, new_id())
    with other.engine.begin() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )
        )
    assert add_listener(base)  # the pool notices, and connects anew
    base.close()
    other.close()


def test_addresses_that_hosts_hand_out_are_understood(monkeypatch, tmp_path):
    for short in ("postgres://", "postgresql://"):
        monkeypatch.setenv("DATABASE_URL", short + "u@h/d")
        assert default_url(tmp_path) == "postgresql+psycopg://u@h/d"
    monkeypatch.delenv("DATABASE_URL")
    assert default_url(tmp_path) == f"sqlite:///{tmp_path / 'votes.sqlite3'}"


@pytest.fixture
def lite(tmp_path):
    """A SQLite database and its file."""
    base = Database(f"sqlite:///{tmp_path / 'votes.sqlite3'}")
    yield base, tmp_path / "votes.sqlite3"
    base.close()


@pytest.mark.fault("D3", "the database is deleted or replaced while it is open")
@pytest.mark.fault("R9", "the database is deleted or replaced while it is open")
@pytest.mark.parametrize("replaced", [False, True])
def test_a_vote_into_a_file_that_is_gone_is_refused(lite, replaced, tmp_path):
    base, path = lite
    add_battle(base)
    trial = add_trial(base, add_listener(base))
    if replaced:
        other = Database(f"sqlite:///{tmp_path / 'other.sqlite3'}")
        other.close()
        (tmp_path / "other.sqlite3").rename(path)
    else:
        path.unlink()
    for ask in (lambda: base.add_vote(vote_on(trial)), base.votes, base.check_writable):
        with pytest.raises(DatabaseLostError, match="deleted or replaced.*started again"):
            ask()
    assert issubclass(DatabaseLostError, VoteError) and base.watch.lost


@pytest.mark.fault("R9", "the database is deleted while a vote is being written")
def test_a_vote_whose_file_goes_meanwhile_is_not_confirmed(lite):
    base, path = lite
    add_battle(base)
    trial = add_trial(base, add_listener(base))
    with pytest.raises(DatabaseLostError), base.session() as session:
        session.add(vote_on(trial))
        session.flush()
        path.unlink()


@pytest.mark.fault("D3", "an older one is copied before it is migrated")
@pytest.mark.fault("R9", "a backup is made before the tables change")
def test_an_older_database_is_copied_before_it_is_migrated(lite, tmp_path):
    base, path = lite
    add_battle(base, origin="gallery")
    with base.engine.begin() as connection:
        command.downgrade(migrations(connection), "0002")
    base.close()
    assert not list(tmp_path.glob("*.before-*"))
    Database(f"sqlite:///{path}").close()
    (copy,) = tmp_path.glob("votes.sqlite3.before-0002-*")
    with closing(sqlite3.connect(copy)) as held:
        assert held.execute("SELECT version_num FROM alembic_version").fetchone() == ("0002",)
        assert held.execute("SELECT count(*) FROM battles").fetchone() == (1,)
    assert not list(tmp_path.glob(".*.part"))
    Database(f"sqlite:///{path}").close()  # and only then
    assert len(list(tmp_path.glob("*.before-*"))) == 1


@pytest.mark.fault("R9", "where no backup can be made nothing is migrated")
def test_without_a_copy_nothing_is_migrated(lite, monkeypatch):
    base, path = lite
    with base.engine.begin() as connection:
        command.downgrade(migrations(connection), "0002")
    base.close()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("simba_music.listening.engine.os.fsync", full)
    with pytest.raises(UserError, match="must be copied before.*No space left"):
        Database(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as held:
        assert held.execute("SELECT version_num FROM alembic_version").fetchone() == ("0002",)
    assert not list(path.parent.glob("*before*")) and not list(path.parent.glob(".*"))


@pytest.mark.fault("R14", "reads wait for no writer")
def test_what_only_reads_waits_for_nobody_who_writes(lite):
    base, path = lite
    add_battle(base)
    name = add_listener(base)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        assert base.find_listener(name) is not None and base.votes() == []
        assert len(base.unvoted(name, "typed", None)) == 1 and base.trials_of(name) == []
        assert time.monotonic() - began < 2
        other.execute("ROLLBACK")


def test_pairs_that_were_voted_on_are_not_offered_again(base):
    name = add_listener(base)
    for pair in "abc":
        add_battle(base, pair)
    base.add_vote(vote_on(add_trial(base, name, "a")))
    add_trial(base, name, "b")
    found = dict(base.unvoted(name, "typed", None))
    assert found == {"b": 1, "c": 0}
    assert base.last_vote(name) == base.votes()[0].created and base.last_vote("nobody") is None
