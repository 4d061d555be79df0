"""Tunes that people wrote down: read from ABC, given chords and a groove, credited."""

import pretty_midi
import pytest

from simba_music.training.corpus.own import scores, tunes

HEAD = "X:7\nT:A tune\nM:{metre}\nL:1/8\nZ:Transcribed by A. Person\nK:{key}\n"
BARS = "G2B2 d2B2|c2e2 g2e2|A2F2 D2F2|G8"


def tune(body=f"|:{BARS}:|", metre="4/4", key="G"):
    return tunes.read_tune("a-7", HEAD.format(metre=metre, key=key) + body + "\n", "A. Person")


def test_repeats_are_played_and_ties_and_graces_are_one_note():
    found = tune(f"|:{BARS}:|G4-|G8|]")
    assert (found.beats, found.bars, found.scale) == (4, 10, 7)
    assert found.notes[:3] == ((0.0, 1.0, 67), (1.0, 1.0, 71), (2.0, 1.0, 74))
    assert len(found.notes) == 27 and found.notes[-1] == (32.0, 6.0, 67)
    graced = tune(f"|:{BARS.replace('c2e2', '{d}c2e2')}:|")
    assert graced.notes == tune().notes


def test_an_upbeat_ends_a_bar_of_its_own():
    found = tune(f"D2|{BARS}|{BARS}|")
    assert found.notes[0] == (3.0, 1.0, 62) and found.notes[1][0] == 4.0 and found.bars == 9


@pytest.mark.parametrize(
    ("metre", "body", "beats"),
    [("2/4", "G2B2|d2B2|" * 8, 4), ("3/4", "G2B2d2|" * 8, 3), ("6/8", "GABdBG|" * 8, 6)],
)
def test_beats_are_those_of_mma(metre, body, beats):
    found = tune(body, metre)
    assert found.beats == beats and found.bars in (8, 16)
    assert {start % 1 for start, _, _ in found.notes} == {0.0}


@pytest.mark.parametrize(("metre", "body"), [("9/8", "GABdBGGAB|" * 8), ("4/4", "G2B2 d2B2|")])
def test_other_metres_and_fragments_are_left_out(metre, body):
    assert tune(body, metre) is None


def test_chords_hold_the_notes_of_their_bars_and_the_end_is_home():
    assert tunes.harmonised(tune()) == ["G", "C", "D", "G"] * 2
    minor = tune("|:A2c2 e2c2|d2f2 a2f2|e2^g2 b2g2|A8:|", key="Am")
    assert tunes.harmonised(minor) == ["Am", "Dm", "E", "Am"] * 2


def test_only_tunes_that_name_a_transcriber_are_read(tmp_path):
    folder = tmp_path / "ryansMammoth"
    folder.mkdir()
    (folder / "reel.abc").write_text(
        "% a book\nX: 1\nT:One\nZ: \nK:G\nG4|\n\nX:2\nT:Two\nZ:  by B. Person,\nZ:2009\nK:D\nD4|\n"
    )
    ((name, abc, credit),) = tunes.written(tmp_path)
    assert (name, credit) == ("ryansmammoth-reel-2", "by B. Person, 2009")
    assert "Two" in abc and "One" not in abc


def test_a_tune_leads_over_its_accompaniment(monkeypatch):
    scripts = []

    def render(text):
        scripts.append(text)
        made = pretty_midi.PrettyMIDI()
        made.instruments.append(pretty_midi.Instrument(24, name="Chord"))
        made.instruments[0].notes = [pretty_midi.Note(80, 60, 0.0, 20.0)]
        return made

    monkeypatch.setattr(tunes, "render_script", render)
    monkeypatch.setattr(tunes, "groove_names", lambda: frozenset(["folk"]))
    made = tunes.arranged(tune())
    assert scripts[0].splitlines()[2:5] == ["Groove Folk", "1 G", "2 C"]
    tempo = int(scripts[0].splitlines()[1].split()[1])
    melody = made.instruments[-1]
    assert melody.name == tunes.MELODY and len(melody.notes) == 26
    assert melody.notes[13].start == pytest.approx(16 * 60 / tempo, abs=0.02)
    roles = [part.name.split(":")[0] for part in scores.excerpt(made, 0.0, 20.0).instruments]
    assert roles == ["chords", "melody"]


def test_chorales_are_those_of_a_named_transcriber():
    found = list(tunes.read_chorales(2))
    assert [len(music.instruments) >= 4 for _, music, _ in found] == [True, True]
    assert all("public domain; transcribed by " in licence for _, _, licence in found)
    assert all(music.get_end_time() > 10 for _, music, _ in found)


def test_without_music21_there_are_none(monkeypatch):
    monkeypatch.setattr(tunes, "corpus_folder", lambda: None)
    assert not list(tunes.read_tunes(5)) and not list(tunes.read_chorales(5))
