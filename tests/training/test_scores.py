"""Human scores: read out of WADs, cut into excerpts whose captions say what sounds in them."""

import csv
import io
import struct

import numpy as np
import pretty_midi
import pytest

from simba_music.errors import RequestError
from simba_music.training.corpus.own import scores
from simba_music.training.corpus.tables import instruments


def midi(seed, seconds=60.0, tempo=100.0):
    """A guitar all along, drums all along, a flute in the first half."""
    made = pretty_midi.PrettyMIDI(initial_tempo=tempo)
    rng = np.random.default_rng(seed)
    for program, drum, until in ((30, False, seconds), (0, True, seconds), (73, False, 20.0)):
        part = pretty_midi.Instrument(program, drum)
        part.notes = [
            pretty_midi.Note(90, int(rng.integers(40, 60)), t, t + 0.5)
            for t in np.arange(0, until - 0.5, 0.6)
        ]
        made.instruments.append(part)
    file = io.BytesIO()
    made.write(file)
    return file.getvalue()


def wad(*lumps):
    at, body, directory = 12, b"", b""
    for name, content in lumps:
        directory += struct.pack("<ii8s", at + len(body), len(content), name.encode())
        body += content
    return struct.pack("<4sii", b"IWAD", len(lumps), at + len(body)) + body + directory


@pytest.fixture
def packages(tmp_path):
    folder = tmp_path / "packages" / "freedoom" / "usr" / "share" / "games" / "doom"
    folder.mkdir(parents=True)
    first = [(f"D_E1M{i}", midi(i)) for i in range(9)]
    (folder / "freedoom1.wad").write_bytes(wad(("PLAYPAL", b"\0" * 30), *first))
    twice = ("D_RUNNIN", first[0][1])
    (folder / "freedoom2.wad").write_bytes(wad(twice, ("D_STALKS", midi(99, 9.0))))
    return tmp_path / "packages"


def test_every_piece_is_read_once_and_some_are_kept_for_tests(packages):
    found = scores.read_scores(packages)
    assert len(found) == 10 and len({score.name for score in found}) == 10
    assert {score.split for score in found} == {"", "test"}
    many = [scores.split_of(bytes([i, j])) for i in range(40) for j in range(40)]
    assert many.count("test") / len(many) == pytest.approx(1 / 3, abs=0.04)


def test_excerpts_begin_on_beats_and_say_who_sounds_in_them(packages):
    (score,) = (s for s in scores.read_scores(packages) if s.name == "freedoom1-e1m3")
    spans = scores.excerpts(score.midi)
    assert len(spans) == 2 and all(end - start <= scores.EXCERPT_S for start, end in spans)
    assert all(start % 0.6 == pytest.approx(0, abs=1e-3) for start, _ in spans)
    early, late = (scores.excerpt(score.midi, *span) for span in spans)
    said = [scores.caption_of(part, 100.0) for part in (early, late)]
    assert "a flute" in said[0] and "flute" not in said[1]
    guitar = instruments()["distortion guitar"].names[0]
    assert all(guitar in s and "drums, 100 bpm" in s for s in said)
    assert max(n.end for part in late.instruments for n in part.notes) <= scores.EXCERPT_S
    assert min(n.start for part in late.instruments for n in part.notes) >= 0


def test_programs_have_our_names_of_their_family():
    assert [scores.named(p) for p in (0, 30, 34, 49, 119)][:2] == ["piano", "distortion guitar"]
    for program in range(128):
        name = scores.named(program)
        assert not name or instruments()[name].program // 8 == program // 8
    assert (scores.named(34), scores.named(49)) == ("electric bass", "strings")
    assert [scores.named(p) for p in (104, 119, 127)] == ["sitar", "", ""]


def test_what_holds_no_scores_is_said(tmp_path):
    with pytest.raises(RequestError, match="apt-get download freedoom"):
        scores.read_scores(tmp_path)
    for bad in (b"", b"PK\3\4" + b"\0" * 20, wad(("D_X", b"abc"))[:-4]):
        with pytest.raises(ValueError):
            list(scores.lumps(bad))


def test_a_folder_is_written_that_corpus_import_reads(packages, tmp_path, monkeypatch):
    from simba_music.training.corpus.rendering import render

    class Silent:
        def __init__(self, sample_rate):
            self.sample_rate = sample_rate

        def render(self, score, production, duration_s):
            assert all(":" in part.name for part in score.instruments)
            return np.full(round(duration_s * self.sample_rate), 0.1, np.float32)

    monkeypatch.setattr(render, "Renderer", Silent)
    counts = scores.write_scores(packages, tmp_path / "out", 8000)
    with (tmp_path / "out" / "captions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(counts.values()) == 19 and counts["test"] > 0
    assert {row["licence"] for row in rows} == {"BSD-3-Clause"}
    assert all((tmp_path / "out" / row["file"]).exists() and row["caption"] for row in rows)


def test_scores_under_the_gpl_are_tests(packages, tmp_path):
    for folder in ("openttd/baseset/openmsx", "planetblupi/music"):
        (packages / folder).mkdir(parents=True)
        (packages / folder / "A_Song.mid").write_bytes(midi(len(folder)))
    found = {s.name: s for s in scores.read_scores(packages)}
    assert len(found) == 12
    for name, licence in (("openmsx", "GPL-2.0-only"), ("planetblupi", "GPL-3.0-or-later")):
        own = found[f"{name}-a_song"]
        assert (own.split, own.licence) == ("test", licence)
