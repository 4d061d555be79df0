"""Votes of many names of one network, impossible listening, clips that are not known again."""

import base64
import hashlib
import io

import numpy as np
import pytest
import soundfile
from ballots import ballot, battle

from simba_music.audio import loudness_lufs
from simba_music.listening.votes import crowd
from simba_music.listening.votes.ballot import VoteError
from simba_music.listening.votes.crowd import NETWORK_JOINS, NETWORK_NAMES, Crowd, visitor


@pytest.fixture
def far():
    """A visitor from elsewhere, whose address the test may change."""
    before = visitor.set("8.8.8.8")
    yield visitor.set
    visitor.reset(before)


def one_vote(test, clock, pair):
    listener = test.listener_id_of(test.new_listener(local=False))
    trial = test.show(pair, listener)
    clock(15)
    return test.vote(ballot(trial))


@pytest.mark.fault("R4", "40 votes from one address under 40 new names: most wait as pending")
def test_votes_of_many_names_of_one_network_wait(test, clock, far):
    pair = battle(test)
    votes = [one_vote(test, clock, pair) for _ in range(40)]
    statuses = [vote.status for vote in votes]
    assert statuses == ["counted"] * NETWORK_NAMES + ["pending"] * (40 - NETWORK_NAMES)
    assert "names of one network" in votes[-1].reasons[-1]
    assert any("votes of one network" in reason for reason in votes[-1].reasons)
    assert len(test.database.votes()) == 40  # none is lost
    far("9.9.9.9")
    assert one_vote(test, clock, pair).status == "counted"
    far(None)  # at the host's machine
    assert one_vote(test, clock, pair).status == "counted"
    assert test.counts == {"counted": NETWORK_NAMES + 2, "pending": 40 - NETWORK_NAMES}


@pytest.mark.fault("R4", "the same vote sent again counts once")
def test_a_vote_that_is_sent_again_is_noted_once(test, clock, far):
    listener = test.listener_id_of(test.new_listener(local=False))
    trial = test.show(battle(test), listener)
    clock(15)
    for _ in range(40):
        assert test.vote(ballot(trial)).status == "counted"
    assert one_vote(test, clock, battle(test)).status == "counted"


@pytest.mark.fault("R4", "new names of one network are bounded")
def test_a_network_is_given_so_many_names(test, far, monkeypatch):
    for _ in range(NETWORK_JOINS):
        test.new_listener(local=False)
    with pytest.raises(VoteError, match="new listeners have come from your network"):
        test.new_listener(local=False)
    far("1.1.1.1")
    test.new_listener(local=False)
    far("8.8.8.8")
    late = crowd.time.monotonic() + crowd.BUSY_S + 1
    monkeypatch.setattr(crowd.time, "monotonic", lambda: late)
    test.new_listener(local=False)


@pytest.mark.fault("R4", "an address is known by a salted hash of its network, in memory alone")
def test_a_bucket_is_a_network_under_a_salt_of_the_process(test, clock, far):
    own, other = Crowd(), Crowd()
    assert own.bucket("8.8.8.8") == own.bucket("8.8.8.200") != own.bucket("8.8.9.8")
    assert own.bucket("2001:db8:1:2::3") == own.bucket("2001:db8:1:ffff::1")
    assert own.bucket("::ffff:8.8.8.8") == own.bucket("8.8.8.8")
    assert own.bucket("8.8.8.8") != other.bucket("8.8.8.8") and len(own.bucket("rubbish")) == 64
    one_vote(test, clock, battle(test))
    test.database.close()
    folder = test.clips.folder.parent
    stored = b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())
    for secret in ("8.8.8.8", "8.8.8.0", test.crowd.bucket("8.8.8.8")):
        assert secret.encode() not in stored
    assert test.crowd._salt not in stored and b"listeners" in stored


@pytest.mark.fault("R4", "heard is bounded by the clip")
@pytest.mark.parametrize("end", [1e9, 9.5])
def test_nothing_is_heard_beyond_the_clip(test, clock, end):
    listener = test.listener_id_of(test.new_listener(local=False))
    trial = test.show(battle(test), listener)
    clock(100)
    with pytest.raises(VoteError, match=r"cannot have been heard up to .* it has 8 s"):
        test.vote(ballot(trial, heard={"A": [[0, end]], "B": [[0, 8]]}))
    with pytest.raises(VoteError, match="vote's heard"):
        test.vote(ballot(trial, heard={"A": [[0, 1]] * 6000, "B": [[0, 8]]}))
    assert test.database.votes() == [] and test.counts == {"refused": 2}


@pytest.mark.fault("R4", "heard is bounded by the clock: pairs heard side by side are doubted")
def test_two_pairs_are_not_heard_at_a_time(test, clock):
    listener = test.listener_id_of(test.new_listener(local=False))
    trials = [test.show(battle(test), listener) for _ in range(3)]
    clock(15)
    statuses = [test.vote(ballot(trials[0])).status, test.vote(ballot(trials[1])).status]
    clock(12)
    statuses.append(test.vote(ballot(trials[2])).status)
    assert statuses == ["counted", "pending", "counted"]
    assert test.database.votes()[1].reasons == ["heard more than fits since the vote before"]


def shown(test, pair):
    """(bytes, samples) of A and B of a showing, and whether it was flipped."""
    listener = test.listener_id_of(test.new_listener(local=False))
    trial = test.show(pair, listener)
    files = [base64.b64decode(trial[side]) for side in "AB"]
    waves = [soundfile.read(io.BytesIO(data))[0] for data in files]
    ((row, _),) = test.database.trials_of(listener)
    return files, waves, row.flipped


@pytest.mark.fault("R4", "a clip's bytes differ at each showing, and nobody hears it")
def test_a_reveal_does_not_unblind_later_showings(test):
    pair = battle(test)
    kept = {
        side: (test.clips.folder / f"{pair.sides[side]['audio_sha256']}.wav").read_bytes()
        for side in ("left", "right")
    }
    digests, lengths = set[str](), set[int]()
    for _ in range(12):
        files, waves, flipped = shown(test, pair)
        digests |= {hashlib.sha256(data).hexdigest() for data in files}
        lengths.add(len(files[0]))
        assert len(files[0]) == len(files[1])  # the sides are alike in every showing
        levels = [float(loudness_lufs(wave, 24_000)) for wave in waves]
        assert levels[0] == pytest.approx(levels[1], abs=0.05)
        original = soundfile.read(io.BytesIO(kept["right" if flipped else "left"]))[0]
        gain = float(waves[0] @ original / (original @ original))
        assert 10 ** (-0.5 / 20) <= gain <= 1.0001
        rest = waves[0] - gain * original
        assert len(waves[0]) == len(original) and np.abs(rest).max() < 3 / 32768
    originals = {hashlib.sha256(data).hexdigest() for data in kept.values()}
    assert len(digests) == 24 and not digests & originals and len(lengths) > 3
