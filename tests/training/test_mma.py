"""Accompaniment by mma: over our chords, for our players, in time; nothing of it is needed."""

import shutil
import subprocess

import numpy as np
import pytest

from simba_music.errors import RequestError
from simba_music.training.corpus import build, store
from simba_music.training.corpus.composing import mma
from simba_music.training.corpus.composing.compose import compose, compose_again
from simba_music.training.corpus.composing.draft import Draft
from simba_music.training.corpus.composing.plan import plan_piece
from simba_music.training.corpus.endless import accompaniment_of, compose_seed
from simba_music.training.corpus.facts import DRUM_WORDS, piece_facts
from simba_music.training.corpus.tables import genres, instruments, mma_grooves

INSTALLED = shutil.which("mma") is not None
needs_mma = pytest.mark.skipif(not INSTALLED, reason="Debian's mma is not installed")
SEEDS = [s for s in range(5000, 5040) if mma.groove_of(plan_piece(s)[0])]


def notes(score, role):
    return [
        (round(n.start, 4), round(n.end, 4), n.pitch)
        for part in score.instruments
        if part.name.startswith(f"{role}:")
        for n in part.notes
    ]


@pytest.fixture(scope="module")
def pieces():
    """(seed, plan as it was, score, draft) of pieces with mma's accompaniment."""
    return [(seed, plan_piece(seed)[0], *compose(seed, "mma")[::2]) for seed in SEEDS[:6]]


@needs_mma
def test_players_and_facts_stay_those_of_the_plan(pieces):
    for _, plan, score, draft in pieces:
        assert draft.plan.lineup == plan.lineup and draft.plan.accompaniment.startswith("mma ")
        row, own = piece_facts(score, draft), piece_facts(*compose(plan.seed)[::2])
        same = ("genre", "tempo", "key", "mode", "metre", "lineup", "form", "split")
        assert all(row[name] == own[name] for name in same)
        assert [c["chords"] for c in row["crops"]] == [c["chords"] for c in own["crops"]] or (
            row["duration_s"] != own["duration_s"]
        )
        assert (row["accompaniment"], row["licence"]) == (draft.plan.accompaniment, "Apache-2.0")
        assert "accompaniment" not in own
        for crop in row["crops"]:
            assert set(crop["percussion"]) <= set(DRUM_WORDS.values())


@needs_mma
def test_it_plays_our_chords_in_our_bars(pieces):
    right = total = 0
    for _, _, _, draft in pieces:
        for start, length, pitch in draft.played("chords"):
            bar = draft.bars[min(len(draft.bars) - 1, int((start + 0.3) // draft.plan.steps))]
            harmony = bar.chord_at(start + 0.3 - bar.start)
            tones = {(c + draft.plan.key) % 12 for c in harmony.classes}
            right += length * (pitch % 12 in tones)
            total += length
    assert total and right / total > 0.9


@needs_mma
def test_melody_and_ending_stay_ours_and_what_rests_rests(pieces):
    for seed, plan, score, draft in pieces:
        own_score, _, own = compose(seed)
        assert {p for _, _, p in own.played("melody")} == {p for _, _, p in draft.played("melody")}
        ending = draft.bars[-1].start
        for role in ("bass", "chords", "drums"):
            last = [note for note in draft.played(role) if note[0] >= ending]
            assert last == [note for note in own.played(role) if note[0] >= ending]
            for start, _, _ in draft.played(role):
                bar = draft.bars[int((start + 0.3) // plan.steps)]
                assert role in bar.section.roles
        for part in score.instruments:
            name = part.name.split(":")[1]
            if not part.is_drum and not part.name.startswith(("melody", "counter")):
                voice = instruments()[name]
                assert all(voice.low <= n.pitch <= voice.high for n in part.notes)
        assert any(notes(score, r) != notes(own_score, r) for r in ("bass", "chords", "drums"))


@needs_mma
def test_a_piece_is_made_again_from_its_row(pieces):
    _, _, score, draft = pieces[0]
    row = piece_facts(score, draft)
    again, own = compose_again(row)[0], compose_again({"seed": row["seed"]})[0]
    for role in ("melody", "bass", "chords", "drums"):
        assert notes(again, role) == notes(score, role)
    assert any(notes(own, role) != notes(score, role) for role in ("bass", "chords", "drums"))


@needs_mma
def test_every_groove_of_the_table_is_one_and_plays():
    named = {(g, m) for by in mma_grooves().values() for m, gs in by.items() for g in gs}
    assert {name.lower() for name, _ in named} <= mma.groove_names()
    seeds = {}
    for seed in range(400):
        plan = plan_piece(seed)[0]
        seeds.setdefault(plan.metre, plan)
    for name, metre in sorted(named)[::9]:  # all of them take half a minute
        plan = seeds[metre]
        score = mma.render_script(mma.script(plan, Draft(plan, None).bars[:-1], name))
        assert any(part.notes for part in score.instruments), name


@needs_mma
def test_a_corpus_of_it_says_so_and_counts_its_licence(tmp_path):
    build.compose_corpus(0.05, SEEDS[0], tmp_path, 1, "mma")
    rows = list(store.read_rows(tmp_path / store.MANIFEST))
    assert rows[0]["accompaniment"].startswith("mma ") and rows[0]["licence"] == "Apache-2.0"
    assert (tmp_path / "midi" / f"{rows[0]['id']}.mid").exists()


def test_the_table_names_genres_that_there_are():
    metres = {(genre, metre) for genre, by in mma_grooves().items() for metre in by}
    assert all(metre in genres()[genre].metres and metre in mma._BEATS for genre, metre in metres)
    assert len(metres) > 15


@pytest.mark.parametrize("seed", [3, 8, 30, 77])
def test_straightened_steps_come_out_of_the_swing_where_they_went_in(seed):
    draft = compose(seed)[2]
    early = (draft.plan.n_bars - 3) * draft.plan.steps
    for step in np.linspace(0, max(1, early), 37):
        assert draft.seconds(draft.straightened(step)) == pytest.approx(step * draft.plan.step_s)


def test_without_it_nothing_changes_and_whoever_wants_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert compose(SEEDS[0])[1].accompaniment == "own"
    with pytest.raises(RequestError, match="Install Debian's package mma"):
        compose(SEEDS[0], "mma")
    with pytest.raises(RequestError, match="Install Debian's package mma"):
        build.compose_corpus(0.01, 1, tmp_path, 1, "mma")


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (subprocess.CompletedProcess([], 1, "Error: no such chord", ""), "no such chord"),
        (subprocess.TimeoutExpired("mma", 30), "longer than 30 s"),
    ],
)
def test_a_failure_of_it_is_said(made, said, monkeypatch):
    def run(*args, **kwargs):
        if isinstance(made, Exception):
            raise made
        return made

    monkeypatch.setattr(mma, "find_mma", lambda: "mma")
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(RequestError, match=said):
        mma.render_script("1 C\n")


def test_an_endless_corpus_of_it_has_a_name_of_its_own():
    assert (compose_seed("mma:7"), compose_seed("compose:7"), compose_seed("runs/x")) == (
        7,
        7,
        None,
    )
    assert [accompaniment_of(n) for n in ("mma:7", "compose:7")] == ["mma", "own"]
    with pytest.raises(RequestError, match="mma:SEED"):
        compose_seed("mma:x")
