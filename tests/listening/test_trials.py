"""The blind test below the page: what a browser gets, and what it may send."""

import base64
import io
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
import torch
from ballots import RATE, ballot, battle, tone

from simba_music.audio import Waveform, loudness_lufs, match_pair
from simba_music.errors import UserError
from simba_music.files import load_secret
from simba_music.listening import trials as listening_test
from simba_music.listening.trials import ListeningTest
from simba_music.listening.votes.ballot import VoteError, merge, seconds
from simba_music.listening.votes.crowd import BUSY_VOTES


def shown(test, **kwargs):
    listener = test.listener_id_of(test.new_listener(local=False))
    return test.show(battle(test), listener, **kwargs)


def test_a_pair_is_matched_in_everything_but_sound():
    quiet, loud = match_pair(tone(8, 0.01), tone(8.02, 0.9, rate=32_000))
    assert quiet.sample_rate == loud.sample_rate == 32_000
    assert quiet.samples.shape == loud.samples.shape
    levels = [loudness_lufs(w.samples.T.numpy(), w.sample_rate) for w in (quiet, loud)]
    assert levels[0] == pytest.approx(levels[1], abs=0.05)


def test_the_louder_clip_comes_down_where_the_other_cannot_come_up():
    clicks = torch.zeros(1, 8 * RATE)
    clicks[:, :: RATE // 2] = 0.9  # high peaks, low loudness
    pair = match_pair(tone(8, 0.3), Waveform(clicks, RATE))
    levels = [loudness_lufs(w.samples.T.numpy(), w.sample_rate) for w in pair]
    assert levels[0] == pytest.approx(levels[1], abs=0.1) and levels[0] < -20
    assert max(float(w.samples.abs().max()) for w in pair) <= 10 ** (-1 / 20) + 1e-4


@pytest.mark.fault("V6", "a reload finds the same pair")
def test_a_reload_finds_the_pair_that_was_there_until_it_is_voted_on(test, clock):
    listener = test.listener_id_of(test.new_listener(local=False))
    assert test.left_open(listener) is None
    trial = test.show(battle(test), listener)
    again = test.left_open(listener)
    assert {k: v for k, v in again.items() if k != "ticket"} == {
        k: v for k, v in trial.items() if k != "ticket"
    }
    clock(20)
    test.vote(ballot(again))
    assert test.left_open(listener) is None
    test.show(battle(test), listener)
    clock(listening_test.TICKET_LIFE_S + 1)
    assert test.left_open(listener) is None


def test_what_a_browser_gets_names_no_model(test):
    payload = shown(test)
    assert set(payload) == {"ticket", "prompt", "duration_s", "first", "heard_s", "A", "B"}
    said = str({key: value for key, value in payload.items() if key not in "AB"})
    assert "simba" not in said and "transformer" not in said
    files = [base64.b64decode(payload[side]) for side in "AB"]
    assert len(files[0]) == len(files[1]) and files[0][:44] == files[1][:44]
    waves = [soundfile.read(io.BytesIO(data))[0] for data in files]
    assert len(waves[0]) == len(waves[1])


def test_sides_are_drawn_for_every_showing(test):
    pair, listener = battle(test), test.listener_id_of(test.new_listener(local=False))
    for _ in range(40):
        test.show(pair, listener)
    flipped = [trial.flipped for trial, _ in test.database.trials_of(listener)]
    assert 5 < flipped.count(True) < 35


def test_a_vote_is_kept_and_revealed_once_it_stands(test, clock):
    trial = shown(test, flipped=True)
    clock(15)
    vote = test.vote(ballot(trial, ratings={"A": {"melody": 4}}, remark=" good "))
    (kept,) = test.database.votes()
    assert (kept.id, kept.preference, kept.status) == (vote.id, "A", "counted")
    assert kept.ratings == {"A": {"melody": 4}} and kept.remark == "good"
    assert kept.heard["B"] == [[0.0, 5.5]]
    with pytest.raises(VoteError, match="can be undone for"):
        test.reveal(trial["ticket"])
    clock(listening_test.UNDO_S + 1)
    told = test.reveal(trial["ticket"])
    assert told["A"]["checkpoint"] == "transformer" and told["B"]["checkpoint"] == "simba"
    with pytest.raises(VoteError, match="this one stands"):
        test.undo(trial["ticket"])


def test_a_vote_can_be_taken_back_and_given_anew(test, clock):
    trial = shown(test)
    clock(15)
    test.vote(ballot(trial))
    test.undo(trial["ticket"])
    assert test.database.votes() == []
    with pytest.raises(VoteError, match="no vote of yours"):
        test.undo(trial["ticket"])
    with pytest.raises(VoteError, match="Vote first"):
        test.reveal(trial["ticket"])
    test.vote(ballot(trial, preference="BOTH_BAD"))
    assert [v.preference for v in test.database.votes()] == ["BOTH_BAD"]


@pytest.mark.fault("V2", "the same vote again, and another")
def test_the_same_vote_again_is_answered_alike_and_another_is_refused(test, clock):
    trial = shown(test)
    clock(15)
    first = test.vote(ballot(trial))
    assert test.vote(ballot(trial)).id == first.id
    with pytest.raises(VoteError, match="voted on this pair already"):
        test.vote(ballot(trial, preference="B"))
    assert len(test.database.votes()) == 1


@pytest.mark.fault("V5", "a vote without listening")
def test_votes_without_listening_are_refused(test, clock):
    trial = shown(test)
    with pytest.raises(VoteError, match="do not fit in the"):
        test.vote(ballot(trial))
    clock(60)
    again = [[0.0, 2.0]] * 20
    for heard in ({}, {"A": [[0, 8]]}, {"A": [[0, 8]], "B": again}, {"A": [[3, 7.9]], "B": []}):
        with pytest.raises(VoteError, match="Listen to at least 5 s of each"):
            test.vote(ballot(trial, heard=heard))
    with pytest.raises(VoteError, match="no stretch of time"):
        test.vote(ballot(trial, heard={"A": [[6, 1]], "B": [[0, 8]]}))
    with pytest.raises(VoteError, match="heard"):
        test.vote(ballot(trial, heard={"A": [[0, float("inf")]], "B": [[0, 8]]}))
    assert test.database.votes() == []


@pytest.mark.fault("V4", "forged, altered and old tickets")
@pytest.mark.fault("V3", "an old ticket")
def test_forged_altered_and_old_tickets_are_refused(test, clock):
    trial, other = shown(test), shown(test)
    clock(20)
    own = trial["ticket"]
    forger = ListeningTest(test.database, test.clips.folder, "another secret")
    name, listener, binding = test._tickets.loads(own)
    forged = forger._tickets.dumps([name, listener, binding])
    mixed = test._tickets.dumps([name, test._tickets.loads(other["ticket"])[1], binding])
    turned = test._tickets.dumps([name, listener, test._binding(name, True)[::-1]])
    for ticket in (forged, mixed, turned, own[:-2], own + "x", "", "é", "a.b.c"):
        with pytest.raises(VoteError, match="ticket"):
            test.vote(ballot(trial, ticket=ticket))
    later = test._tickets.loads
    test._tickets.loads = lambda text, max_age: later(text, max_age=-1)
    with pytest.raises(VoteError, match="no longer be voted on"):
        test.vote(ballot(trial))
    assert test.database.votes() == []


@pytest.mark.fault("V4", "malformed ballots")
@pytest.mark.parametrize(
    "changes",
    [
        {"preference": "simba"},
        {"ratings": {"A": {"melody": 6}}},
        {"ratings": {"A": {"mood": 3}}},
        {"ratings": {"C": {"melody": 3}}},
        {"remark": "x" * 3000},
        {"switches": -1},
        {"status": "counted"},
        {"heard": "all of it"},
    ],
)
def test_malformed_ballots_are_refused_readably(test, clock, changes):
    trial = shown(test)
    clock(20)
    with pytest.raises(VoteError, match="vote's|rating"):
        test.vote(ballot(trial, **changes))
    assert test.database.votes() == []


@pytest.mark.fault("V7", "too many votes of one voter wait")
def test_hurried_votes_wait_to_be_looked_at(test, clock):
    pair, listener = battle(test), test.listener_id_of(test.new_listener(local=False))
    for _ in range(BUSY_VOTES + 2):
        trial = test.show(pair, listener)
        clock(12)
        test.vote(ballot(trial))
    statuses = [vote.status for vote in test.database.votes()]
    assert statuses.count("pending") == 2 and len(statuses) == BUSY_VOTES + 2
    assert "votes in 10 minutes" in test.database.votes()[-1].reasons[0]


def test_practice_and_catch_trials_are_kept_apart(test, clock):
    for kind in ("practice", "catch", "repeat"):
        trial = shown(test, kind=kind)
        clock(20)
        assert test.vote(ballot(trial)).status == "excluded"


def test_a_listener_is_known_by_a_signed_name_only(test):
    signed = test.new_listener(local=True)
    assert test.database.find_listener(test.listener_id_of(signed)).local
    for name in (signed[:-1], "", "' OR 1=1", ListeningTest(test.database, test.clips.folder, "b")
                 .new_listener(False)):  # fmt: skip
        with pytest.raises(VoteError, match="not known here"):
            test.listener_id_of(name)


def test_the_secret_is_made_once_and_is_private(tmp_path, monkeypatch):
    first = load_secret(tmp_path / "data")
    assert load_secret(tmp_path / "data") == first and len(first) == 64
    assert (tmp_path / "data" / "secret").stat().st_mode & 0o077 == 0
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["secret"]
    monkeypatch.setenv("SIMBA_MUSIC_SECRET", "shared by replicas")
    assert load_secret(tmp_path / "data") == "shared by replicas"


@pytest.mark.fault("R8", "an empty secret file is replaced, a short one refused")
def test_a_key_that_could_be_guessed_is_not_used(tmp_path, monkeypatch, caplog):
    path = tmp_path / "secret"
    for empty in ("", " \n"):
        path.write_text(empty)
        assert len(load_secret(tmp_path)) == 64 and "a new key is made" in caplog.text
        assert [p.name for p in tmp_path.iterdir()] == ["secret"]
        caplog.clear()
    path.write_text("hush")
    with pytest.raises(UserError, match="has 4 characters; 16 are needed"):
        load_secret(tmp_path)
    assert path.read_text() == "hush"
    monkeypatch.setenv("SIMBA_MUSIC_SECRET", "short")
    with pytest.raises(UserError, match="SIMBA_MUSIC_SECRET has 5 characters"):
        load_secret(tmp_path)


@pytest.mark.fault("R8", "the key is on disk before it has its name")
def test_the_key_is_on_disk_before_it_has_its_name(tmp_path, monkeypatch):
    done = []
    sync, link = os.fsync, os.link
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append("fsync"), sync(fd)))
    monkeypatch.setattr(os, "link", lambda a, b: (done.append("link"), link(a, b)))
    load_secret(tmp_path)
    assert done == ["fsync", "link", "fsync"]  # the file, its name, the folder


@pytest.mark.fault("R8", "of several that find an empty key at once all end with one")
def test_several_that_replace_an_empty_key_have_one(tmp_path):
    for _ in range(10):
        (tmp_path / "secret").write_text("")
        with ThreadPoolExecutor(8) as pool:
            found = set(pool.map(lambda _: load_secret(tmp_path), range(8)))
        assert len(found) == 1 and len(found.pop()) == 64


def test_merged_stretches_are_unique_and_within_the_clip():
    assert merge([(3, 4), (0, 1), (0.5, 2), (3.5, 99)], 8.0) == [(0, 2), (3, 8)]
    rng = np.random.default_rng(0)
    for _ in range(50):
        pieces = [tuple(sorted(rng.uniform(0, 12, 2))) for _ in range(6)]
        grid = np.linspace(0, 8, 801)
        covered = np.zeros(801, dtype=bool)
        for start, end in pieces:
            covered |= (grid >= start) & (grid <= end)
        found = seconds(merge(pieces, 8.0))
        assert found == pytest.approx(covered.mean() * 8, abs=0.1)
