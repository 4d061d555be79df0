"""The copy of votes on the Hub: what reaches it, what it brings back, and what it never stops."""

import json
import time

import pytest
from ballots import ballot, battle
from hub_server import on

from simba_music.listening import mirror as vote_mirror
from simba_music.listening.database import Database
from simba_music.listening.mirror import VoteMirror, open_mirror
from simba_music.listening.trials import ListeningTest
from simba_music.listening.votes.ballot import UNDO_S

NAME = "tester/votes"


@pytest.fixture
def writable(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_writes")
    return hub


@pytest.fixture
def mirror(writable, test, base, tmp_path):
    test.mirror = VoteMirror(base, NAME, tmp_path / "mirror")
    yield test.mirror
    test.mirror.close()


def vote(test, clock, preference="A"):
    listener = test.listener_id_of(test.new_listener(local=False))
    trial = test.show(battle(test), listener)
    clock(20)
    return trial, test.vote(ballot(trial, preference=preference))


def lines(hub):
    repo = hub.repos[NAME]
    files = repo.commits[repo.refs["main"]]
    return [
        json.loads(line)
        for name, data in files.items()
        if name.endswith(".jsonl")
        for line in data.decode().splitlines()
    ]


def another(tmp_path, name="other"):
    """The database of a restarted Space: empty."""
    return Database(f"sqlite:///{tmp_path / name}.sqlite3")


def test_a_restarted_space_has_every_vote_and_every_undo(mirror, writable, test, clock, tmp_path):
    kept = [vote(test, clock, preference)[1] for preference in ("A", "B", "TIE")]
    trial, taken = vote(test, clock)
    test.undo(trial["ticket"])
    again = test.vote(ballot(trial, preference="BOTH_BAD"))
    mirror._pusher.trigger().result()
    assert mirror.waiting == 0 and "0 votes wait" in mirror.status()
    assert len(lines(writable)) == 6 and sum("undo" in line for line in lines(writable)) == 1
    fresh = another(tmp_path)
    restored = VoteMirror(fresh, NAME, tmp_path / "m2")
    assert restored.restored == 4 and "4 votes were read back" in restored.status()
    found = {v.id: v for v in fresh.votes()}
    assert set(found) == {v.id for v in (*kept, again)} and taken.id not in found
    for old in test.database.votes():
        new = found[old.id]
        for field in ("preference", "heard", "status", "created", "ratings", "listener_id"):
            assert getattr(new, field) == getattr(old, field), field
        assert new.trial.at(new.trial.battle) == old.trial.at(old.trial.battle)
    assert fresh.restore(lines(writable)) == 0  # nothing twice
    restored.close()
    fresh.close()


def test_two_processes_write_two_files(mirror, writable, base, test, clock, tmp_path):
    vote(test, clock)
    second = ListeningTest(base, tmp_path / "clips", "a secret of the tests")
    second.mirror = VoteMirror(base, NAME, tmp_path / "mirror2")
    vote(second, clock)
    for one in (mirror, second.mirror):
        one._pusher.trigger().result()
    repo = writable.repos[NAME]
    names = [n for n in repo.commits[repo.refs["main"]] if n.endswith(".jsonl")]
    assert len(names) == 2 and all(name.startswith("votes/") for name in names)
    second.mirror.close()


def test_a_push_that_fails_is_told_and_goes_out_later(mirror, writable, test, clock):
    vote(test, clock)
    fault = on("/commit/", on_status(503))
    writable.faults.append(fault)
    with pytest.raises(Exception, match="503"):
        mirror._pusher.trigger().result()
    assert mirror.failures == 1 and "**1 failures**" in mirror.status()
    assert "1 votes wait" in mirror.status()
    writable.faults.clear()
    mirror._pusher.trigger().result()
    assert len(lines(writable)) == 1 and mirror.waiting == 0


def on_status(status):
    from hub_server import Fault

    return Fault(status=status)


def test_a_hub_that_is_away_stops_no_vote_and_is_reached_later(
    writable, base, test, clock, tmp_path, monkeypatch
):
    writable.faults.append(on("/api/", on_status(403)))
    test.mirror = VoteMirror(base, NAME, tmp_path / "mirror")
    assert test.mirror.failures == 1 and "never yet" in test.mirror.status()
    _, kept = vote(test, clock)
    assert base.votes()[0].id == kept.id
    writable.faults.clear()
    monkeypatch.setattr(vote_mirror, "RETRY_S", 0.0)
    vote(test, clock)
    deadline = time.monotonic() + 20
    while test.mirror.last_push is None and time.monotonic() < deadline:
        time.sleep(0.1)
    test.mirror.close()
    assert {line["vote"]["id"] for line in lines(writable)} == {v.id for v in base.votes()}


@pytest.mark.fault("D1", "full disk of the mirror stops no vote")
def test_a_full_disk_stops_no_vote(mirror, test, clock, tmp_path):
    mirror.file = tmp_path / "nowhere" / "votes.jsonl"
    _, kept = vote(test, clock)
    assert test.database.votes()[0].id == kept.id
    assert "FileNotFoundError" in mirror.last_failure


def test_a_line_that_was_cut_off_is_left_out(mirror, writable, test, clock, tmp_path, caplog):
    vote(test, clock)
    mirror._pusher.trigger().result()
    repo = writable.repos[NAME]
    files = dict(repo.commits[repo.refs["main"]])
    name = next(n for n in files if n.endswith(".jsonl"))
    files[name] += b'{"vote": {"id": "cut'
    repo.commit(files)
    fresh = another(tmp_path)
    again = VoteMirror(fresh, NAME, tmp_path / "m2")
    assert again.restored == 1 and "is no vote" in caplog.text
    again.close()
    fresh.close()


def test_lines_of_the_former_form_are_read(mirror, writable, test, clock, tmp_path):
    listener = test.listener_id_of(test.new_listener(local=False))
    for own in ({"origin": "gallery", "gallery": "gallery 1"}, {"origin": "study", "study": "s"}):
        trial = test.show(battle(test, **own), listener)
        clock(20)
        test.vote(ballot(trial))
    mirror._pusher.trigger().result()
    repo, formerly = writable.repos[NAME], []
    for line in lines(writable):
        known = line["battle"]
        gallery = known.pop("gallery")
        known["study"] = known["study"] or gallery
        formerly.append(json.dumps(line) + "\n")
    repo.commit({"votes/old.jsonl": "".join(formerly).encode()})
    fresh = another(tmp_path)
    again = VoteMirror(fresh, NAME, tmp_path / "m2")
    assert again.restored == 2 and not again.failures
    found = {v.trial.battle.origin: v.trial.battle for v in fresh.votes()}
    assert (found["gallery"].study, found["gallery"].gallery) == (None, "gallery 1")
    assert (found["study"].study, found["study"].gallery) == ("s", None)
    again.close()
    fresh.close()


def test_votes_are_private_unless_the_host_says_otherwise(writable, base, tmp_path, monkeypatch):
    monkeypatch.delenv("SIMBA_MUSIC_VOTES", raising=False)
    assert open_mirror(base, tmp_path) is None
    made = []
    create = vote_mirror.HfApi.create_repo

    def noted(self, *args, **settings):
        made.append(settings["private"])
        return create(self, *args, **settings)

    monkeypatch.setattr(vote_mirror.HfApi, "create_repo", noted)
    monkeypatch.setenv("SIMBA_MUSIC_VOTES", NAME)
    open_mirror(base, tmp_path).close()
    monkeypatch.setenv("SIMBA_MUSIC_VOTES_PUBLIC", "1")
    open_mirror(base, tmp_path).close()
    assert set(made[:2]) == {True} and set(made[2:]) == {False}


def test_undo_is_bounded_as_ever(mirror, test, clock):
    trial, _ = vote(test, clock)
    clock(UNDO_S + 1)
    with pytest.raises(Exception, match="stands"):
        test.undo(trial["ticket"])
    assert mirror.file.read_text().count("\n") == 1
