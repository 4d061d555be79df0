"""A vote is final or can be taken back, never both; nobody learns a side from a vote not final."""

import threading

import pytest
from ballots import ballot, battle

from simba_music.listening.statistics import FEWEST
from simba_music.listening.votes.ballot import UNDO_S, VoteError
from simba_music.listening.votes.standing import so_far, standing
from simba_music.ui.blind.votes import NOTHING, page_of


def someone(test, local=False):
    return test.listener_id_of(test.new_listener(local=local))


def voted(test, clock, listener, preference="A", flipped=False, **changes):
    shown = test.show(battle(test, **changes), listener, flipped=flipped)
    clock(15)
    test.vote(ballot(shown, preference=preference))
    return shown


def test_a_vote_may_be_closed_early_and_then_it_cannot_be_undone(test, clock):
    shown = voted(test, clock, someone(test))
    with pytest.raises(VoteError, match="can be undone for"):
        test.reveal(shown["ticket"])
    told = test.reveal(shown["ticket"], final=True)
    assert told["A"]["checkpoint"] == "simba"
    with pytest.raises(VoteError, match="it stands"):
        test.undo(shown["ticket"])
    assert test.reveal(shown["ticket"]) == told  # and again, without being asked to close it
    with pytest.raises(VoteError, match="voted on this pair already"):
        test.vote(ballot(shown, preference="B"))


def test_what_was_revealed_stands_even_for_a_replica_whose_clock_is_behind(test, clock):
    shown = voted(test, clock, someone(test))
    clock(UNDO_S + 0.5)
    test.reveal(shown["ticket"])
    clock(-2)
    with pytest.raises(VoteError, match="it stands"):
        test.undo(shown["ticket"])


def test_nothing_is_revealed_without_a_vote_or_after_an_undo(test, clock):
    shown = test.show(battle(test), someone(test))
    for final in (False, True):
        with pytest.raises(VoteError, match="Vote first"):
            test.reveal(shown["ticket"], final)
    clock(15)
    test.vote(ballot(shown))
    test.undo(shown["ticket"])
    for ask in (test.finish, lambda ticket: test.reveal(ticket, final=True)):
        with pytest.raises(VoteError, match="Vote first"):
            ask(shown["ticket"])


def test_undo_and_reveal_at_once_never_both_succeed(test, clock):
    listener = someone(test)
    for _ in range(12):
        shown = voted(test, clock, listener)
        done, start = [], threading.Barrier(2)

        def attempt(name, work, shown=shown, done=done, start=start):
            start.wait()
            try:
                work(shown["ticket"])
                done.append(name)
            except VoteError:
                pass

        asked = {"undo": test.undo, "reveal": lambda ticket: test.reveal(ticket, final=True)}
        threads = [threading.Thread(target=attempt, args=item) for item in asked.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(done) == 1
        trial = test._trial(shown["ticket"])
        assert (test.database.vote_of(trial.id) is None) == (done == ["undo"])


def test_no_tally_moves_with_a_vote_that_can_be_taken_back(test, clock):
    """Else a listener in two windows would see which model a vote went to, and vote again."""
    listener = someone(test)
    first = voted(test, clock, listener)
    clock(UNDO_S + 1)
    before = test.reveal(first["ticket"])
    waiting = voted(test, clock, listener, preference="B")
    assert test.reveal(first["ticket"]) == before
    assert len(standing(test.database)) == 1
    assert "1 decided so far" in page_of(test)[0]
    clock(UNDO_S + 1)
    assert len(standing(test.database)) == 2
    assert test.reveal(waiting["ticket"])["own"] == {"A": 1, "B": 1, "TIE": 0, "BOTH_BAD": 0}


def test_ones_own_votes_are_told_by_the_models_of_this_pair(test, clock):
    listener = someone(test)
    for preference, flipped in (("A", False), ("B", True), ("B", False), ("TIE", True)):
        voted(test, clock, listener, preference, flipped)
    voted(test, clock, someone(test))  # is another's
    last = voted(test, clock, listener, "A", flipped=True)  # the transformer stood at A
    clock(UNDO_S + 1)
    assert test.reveal(last["ticket"])["own"] == {"A": 2, "B": 2, "TIE": 1, "BOTH_BAD": 0}


def test_the_crowds_share_is_told_from_20_votes_on_and_leaves_out_who_does_not_count(test, clock):
    for i in range(FEWEST - 1):
        voted(test, clock, someone(test), "A" if i < 12 else "B")
    voted(test, clock, someone(test), "TIE")
    voted(test, clock, someone(test, local=True))
    voted(test, clock, someone(test), origin="study")
    seen = voted(test, clock, someone(test, local=True), flipped=True)
    clock(UNDO_S + 1)
    crowd = test.reveal(seen["ticket"])["crowd"]
    assert crowd == {"votes": FEWEST, "fewest": FEWEST}  # with the tie; 19 are decided
    voted(test, clock, someone(test), "A")
    clock(UNDO_S + 1)
    crowd = test.reveal(seen["ticket"])["crowd"]
    assert crowd["decided"] == FEWEST and crowd["votes"] == FEWEST + 1
    assert crowd["share"] == pytest.approx(7 / 20)  # of the transformer, which stood at A
    assert 0 < crowd["low"] < crowd["share"] < crowd["high"] < 1


def test_a_model_against_itself_has_no_tally(test, clock):
    sides = dict.fromkeys(("left", "right"), battle_side())
    shown = voted(test, clock, someone(test), sides=sides)
    trial = test._trial(shown["ticket"])
    assert so_far(test.database, trial) == {"own": None, "crowd": None}


def battle_side():
    from ballots import tone

    from simba_music.listening.pairs import Side

    return Side(tone(), {"checkpoint": "simba"})


def test_the_votes_page_is_empty_without_votes(test):
    assert page_of(test)[0] == NOTHING
