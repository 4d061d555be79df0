from test_database import add_battle, add_listener, add_trial, vote_on

from simba_music.listening import statistics
from simba_music.listening.tables import Listener, new_id, now
from simba_music.listening.tally import comparisons, tally, verdict


def told(base):
    return tally(base.votes(), base.local_listeners(), fewest=1)


def sides(left, right):
    return {
        "left": {"checkpoint": left, "model": {"sha256": "a" * 64}},
        "right": {"checkpoint": right, "model": {"sha256": "b" * 64}},
    }


def vote(base, preference, flipped=False, listener=None, **changes):
    battle = add_battle(base, new_id(), sides=changes.pop("sides", sides("simba", "transformer")))
    trial = add_trial(base, listener or add_listener(base), battle.id, flipped=flipped)
    base.add_vote(vote_on(trial, preference=preference, **changes))


def test_no_votes_are_said_to_be_none(base):
    assert "No votes yet" in told(base)


def test_sides_are_unblinded_before_they_are_counted(base):
    vote(base, "A")  # simba stood at A
    vote(base, "B", flipped=True)  # simba stood at B
    vote(base, "A", flipped=True, ratings={"A": {"melody": 5}, "B": {"melody": 2}})
    vote(base, "TIE", ratings={})
    vote(base, "BOTH_BAD", ratings={})
    text = told(base)
    assert "preferred simba aaaaaaaa, of decided votes | 67 % (21 to 94, n = 3)" in text
    assert "alike / both bad | 1 / 1" in text
    assert "Not enough votes yet" in text
    # At melody simba got 4 and 2 (as B), the transformer 4 (as A, flipped) and 5.
    assert "| melody | 3.00 (-9.71 to 15.71), n = 2 | 4.50 (-1.85 to 10.85), n = 2 |" in text


def test_votes_that_do_not_count_are_said_and_not_counted(base):
    vote(base, "A", status="pending", reasons=["more than 30 votes in 10 minutes"])
    vote(base, "A", status="excluded", reasons=["practice"])
    text = told(base)
    assert "| 0 | 1 | 1 |" in text and "practice (1)" in text
    assert "preferred" not in text


def test_votes_at_the_hosts_machine_stand_apart(base):
    here = new_id()
    base.add(Listener(id=here, created=now(), local=True, consent=None))
    vote(base, "A", listener=here)
    vote(base, "B")
    visitors, own = told(base).split("### Votes given at this machine")
    assert "0 % (0 to 79, n = 1)" in visitors and "100 % (21 to 100, n = 1)" in own


def test_three_models_get_strengths(base, monkeypatch):
    monkeypatch.setattr(statistics, "BOOTSTRAPS", 20)
    pairs = [("simba", "transformer"), ("transformer", "mamba"), ("simba", "mamba")]
    for left, right in pairs * 4:
        vote(base, "A", sides=sides(left, right))
    text = told(base)
    assert "Bradley-Terry" in text and text.count("against") >= 3


def test_shares_are_drawn_with_their_intervals_and_said_to_screen_readers(base):
    from xml.etree import ElementTree

    from simba_music.listening.tally import pools
    from simba_music.listening.tally import shares as shares_of
    from simba_music.ui.blind.votes import forest

    for _ in range(6):
        vote(base, "A")
    vote(base, "B")
    vote(base, "TIE")
    assert list(pools(base.votes(), set())) == ["Votes of visitors"]
    assert shares_of(base.votes()) == {}  # of so few
    ((title, rows),) = shares_of(base.votes(), fewest=7).items()
    assert title == "simba aaaaaaaa against transformer bbbbbbbb"
    assert [label for label, _ in rows][:2] == [
        "preferred simba aaaaaaaa",
        "order of showing taken out",
    ]
    assert shares_of([]) == {}
    drawn = ElementTree.fromstring(forest("<i>" + title, rows))
    circles = [float(c.get("cx")) for c in drawn.iter("circle")]
    assert len(circles) == len(rows) and circles[0] > 330 + 200  # right of the middle
    assert "preferred simba aaaaaaaa: 86% (49% to 97%, n = 7)" in drawn.get("aria-label")


def test_a_share_is_shown_from_20_decided_votes_on(base):
    for _ in range(16):
        vote(base, "A", ratings={})
    for _ in range(3):
        vote(base, "B", ratings={})
    vote(base, "TIE", ratings={})
    (found,) = comparisons(base.votes())
    assert verdict(found).startswith("19 decided so far; a share is shown from 20 on.")
    text = tally(base.votes(), set())
    assert "too few votes (n = 19)" in text and "sign test" not in text and "%" not in share(text)
    vote(base, "B", flipped=True, ratings={})
    (found,) = comparisons(base.votes())
    assert verdict(found) == (
        "simba aaaaaaaa was preferred in 85 % of 20 decided votes (95 % interval 64 to 95 %): "
        "a clear preference. Alike: 1, both bad: 0."
    )
    assert "85 % (64 to 95, n = 20)" in share(tally(base.votes(), set()))


def share(text):
    (line,) = [row for row in text.splitlines() if "of decided votes" in row]
    return line.split("|")[2]


def test_the_sentence_names_the_model_that_was_preferred(base):
    for choice in ["B"] * 12 + ["A"] * 8:
        vote(base, choice, ratings={})
    (found,) = comparisons(base.votes())
    assert verdict(found).startswith("transformer bbbbbbbb was preferred in 60 % of 20")
    assert "39 to 78 %): too close to call" in verdict(found)
