"""Packages of Debian: whose licence a file has, what may be learned from it, kits of samples."""

import numpy as np
import pretty_midi
import pytest
import torch

from simba_music import audio
from simba_music.audio import Waveform
from simba_music.errors import RequestError
from simba_music.files.names import Folder
from simba_music.training.corpus.own import debian
from simba_music.training.corpus.own.kits import drum_of, kits_of, play, write_kits
from simba_music.training.corpus.own.recordings import import_recordings
from simba_music.training.corpus.store import MANIFEST, read_rows

NAEV = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Files-Excluded: dll

Files: *
Copyright: the authors
License: GPL-3+

Files: ./dat/snd/music/ambient1.ogg ./dat/snd/music/intro?.ogg
Copyright: someone
License: GPL-3 or CC-BY-3.0
 whose text follows here, with a line
 License: CC0

Files:
 data/audio/music/*
Copyright: another
License: CC-BY-SA-3.0

Files: drumkits/Bright.h2drumkit
License-Grant: as its readme says
License: CC0

Files: sub/secret/*
License: CC-BY-3.0 and GPL-2
"""


@pytest.mark.parametrize(
    ("licence", "free"),
    [
        ("CC0", "CC0"),
        ("CC0-1.0", "CC0-1.0"),
        ("CC-BY-3.0-us", "CC-BY-3.0-us"),
        ("PD", "PD"),
        ("public-domain", "public-domain"),
        ("MIT", "MIT"),
        ("GPL-3 or CC-BY-3.0", "CC-BY-3.0"),
        ("CC-BY-3.0 and PD", "CC-BY-3.0 and PD"),
        ("CC-BY-3.0 and GPL-2", ""),
        ("CC-BY-SA-3.0", ""),
        ("CC-BY-NC-4.0", ""),
        ("CC-BY-ND-4.0", ""),
        ("GPL-2+", ""),
        ("", ""),
    ],
)
def test_only_a_licence_without_conditions_on_what_is_made_from_it_is_free(licence, free):
    assert debian.free_of(licence) == free


@pytest.mark.parametrize(
    ("name", "licence"),
    [
        ("usr/share/naev/dat/snd/music/ambient1.ogg", "GPL-3 or CC-BY-3.0"),
        ("usr/share/naev/dat/snd/music/intro2.ogg", "GPL-3 or CC-BY-3.0"),
        ("usr/share/naev/dat/snd/music/intro.ogg", "GPL-3+"),  # ? is one letter
        ("usr/share/naev/dat/snd/other/ambient1.ogg", "GPL-3+"),
        ("usr/share/games/mars/audio/music/far.ogg", "CC-BY-SA-3.0"),  # without its data/
        ("usr/share/games/mars/music/far.ogg", "GPL-3+"),
        ("usr/share/hydrogen/data/drumkits/Bright/kick.flac", "CC0"),
        ("usr/share/hydrogen/data/drumkits/Brighter/kick.flac", "GPL-3+"),
        ("usr/share/x/secret/music/a.ogg", "CC-BY-3.0 and GPL-2"),
        ("usr/share/x/music/a.ogg", "GPL-3+"),
    ],
)
def test_the_last_paragraph_that_names_a_file_has_its_licence(name, licence):
    assert debian.licence_of(name, debian.read_copyright(NAEV)) == licence


def sound(path, seconds=1.5, pitch=300.0, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    t = torch.arange(round(seconds * 24_000)) / 24_000
    noise = torch.randn(len(t), generator=torch.Generator().manual_seed(seed))
    wave = (0.2 * torch.sin(2 * np.pi * pitch * t) + 0.02 * noise) * torch.exp(-t)
    audio.write(path, Waveform(wave[None], 24_000))


@pytest.fixture
def packages(tmp_path):
    """Two unpacked packages: music of a game, and a kit of samples."""
    for package, text in (("naev-data", NAEV), ("kits", NAEV)):
        folder = tmp_path / "debs" / package / "usr" / "share" / "doc" / package
        folder.mkdir(parents=True)
        (folder / "copyright").write_text(text)
    music = tmp_path / "debs" / "naev-data" / "usr" / "share" / "naev" / "dat" / "snd"
    for seed, name in enumerate(("music/ambient1", "music/lost", "sounds/laser")):
        sound(music / f"{name}.wav", 1.5, 200 + 50 * seed, seed)
    (music / "music" / "ambient1.wav").rename(music / "music" / "ambient1.ogg")
    kit = tmp_path / "debs" / "kits" / "usr" / "share" / "hydrogen" / "data" / "drumkits" / "Bright"
    for seed, name in enumerate(("a", "b", "hat_closed", "snare")):
        sound(kit / f"{name}.wav", 0.3, 100 * (seed + 1), seed)
    (kit / "drumkit.xml").write_text(
        "<drumkit_info xmlns='x'><instrumentList>"
        "<instrument><name>c3 - bass drum 1</name><layer><filename>a.wav</filename></layer>"
        "</instrument></instrumentList></drumkit_info>"
    )
    return tmp_path / "debs"


def test_what_is_not_free_is_a_test_and_noises_are_left_out(packages):
    wanted, problems = debian.debian(Folder(packages))
    found = {entry.file.rpartition("/")[2]: (entry.licence, entry.split) for entry in wanted}
    assert found["ambient1.ogg"] == ("CC-BY-3.0", "") and found["lost.wav"] == ("GPL-3+", "test")
    assert found["snare.wav"] == ("CC0", "") and "laser.wav" not in found
    assert [row["reason"] for row in problems] == ["it is in no folder of music or samples"]


def test_a_folder_without_packages_or_with_two_in_one_says_what_to_do(packages, tmp_path):
    with pytest.raises(RequestError, match="dpkg-deb -x PACKAGE_"):
        debian.debian(Folder(packages / "kits" / "usr" / "share" / "hydrogen"))
    doc = packages / "kits" / "usr" / "share" / "doc"
    (doc / "other").mkdir()
    (doc / "other" / "copyright").write_text(NAEV)
    with pytest.raises(RequestError, match="holds two packages"):
        debian.debian(Folder(packages))


def test_packages_are_imported_with_their_licences(packages, tmp_path):
    import_recordings(packages, None, tmp_path / "corpus", 24_000, "debian")
    rows = {row["id"].rpartition("/")[2]: row for row in read_rows(tmp_path / "corpus" / MANIFEST)}
    assert set(rows) == {"ambient1.ogg", "lost.wav"}  # samples are shorter than a second
    assert rows["lost.wav"]["split"] == "test" and rows["lost.wav"]["licence"] == "GPL-3+"
    assert rows["ambient1.ogg"]["licence"] == "CC-BY-3.0"


@pytest.mark.parametrize(
    ("name", "drum"),
    [
        ("bd_haus", "kick"), ("drum_heavy_kick", "kick"), ("c3 - bass drum 1 beats", "kick"),
        ("sn_dub", "snare"), ("drum_snare_soft", "snare"), ("drum_cymbal_closed", "hat"),
        ("f#3 - hi-hat closed", "hat"), ("104227__minorr__hhat-paiste-open", "open"),
        ("drum_cymbal_pedal", "pedal"), ("d#3 - clap", "clap"), ("d#4 - stick", "rim"),
        ("drum_tom_lo_hard", "tom_low"), ("drum_tom_hi_soft", "tom"), ("b3 - low tom", "tom_low"),
        ("drum_splash_hard", "crash"), ("f4 - ride bell", "ride"), ("bass_thick_c", ""),
        ("vinyl_hiss", ""),
    ],
)  # fmt: skip
def test_a_sample_is_known_by_its_name(name, drum):
    assert drum_of(name) == drum


def test_a_kit_is_a_folder_with_a_kick_a_snare_and_a_hi_hat_that_is_free(packages):
    ((name, (licence, drums)),) = kits_of(packages).items()
    assert name == "Bright-CC0" and licence == "CC0"
    assert {drum: [p.stem for p in files] for drum, files in drums.items()} == {
        "kick": ["a"], "hat": ["hat_closed"], "snare": ["snare"],
    }  # fmt: skip


def test_hits_are_where_the_notes_are_and_missing_drums_are_played_by_others():
    kit = {"kick": np.ones(10, np.float32), "snare": np.full(10, 2, np.float32)}
    kit["hat"] = np.full(10, 3, np.float32)
    part = pretty_midi.Instrument(0, is_drum=True)
    hits = ((36, 0.0, 127), (37, 0.1, 127), (49, 0.2, 127), (41, 0.3, 60), (99, 0.4, 127))
    part.notes = [pretty_midi.Note(speed, pitch, at, at + 0.05) for pitch, at, speed in hits]
    found = play(part, kit, 1000)
    assert [found[i] for i in (0, 100, 200, 400)] == [1, 2, 3, 3]
    assert found[300] == pytest.approx((60 / 127) ** 1.5) and found[50] == 0


def test_kits_become_pieces_that_can_be_imported(packages, tmp_path):
    assert write_kits(packages, tmp_path / "beats", 2, 1) == 1
    waves = sorted((tmp_path / "beats").glob("*.wav"))
    assert len(waves) == 2 and all(audio.read(p).duration_s > 4 for p in waves)
    import_recordings(
        tmp_path / "beats", tmp_path / "beats" / "captions.csv", tmp_path / "corpus", 24_000
    )
    assert {row["licence"] for row in read_rows(tmp_path / "corpus" / MANIFEST)} == {"CC0"}
    with pytest.raises(RequestError, match="no kit with a kick"):
        write_kits(packages / "naev-data", tmp_path / "none", 1, 1)
