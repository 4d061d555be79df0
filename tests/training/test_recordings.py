"""Bringing own recordings in: what is read, what is refused, that nothing is lost or doubled."""

import errno
import json
import logging
import shutil
import unicodedata

import numpy as np
import pytest
import soundfile
from sounds import encode

from simba_music.__main__ import main
from simba_music.audio import loudness_lufs
from simba_music.errors import RequestError
from simba_music.training.corpus import store
from simba_music.training.corpus.inspect import write_page
from simba_music.training.corpus.own import recordings
from simba_music.training.corpus.own.recordings import crop_spans, import_recordings

RATE = 24_000


def tone(seconds, frequency=440.0, rate=44_100, channels=1):
    t = np.arange(round(seconds * rate)) / rate
    wave = 0.05 * np.sin(2 * np.pi * frequency * t) * (1 + 0.5 * np.sin(2 * np.pi * 3 * t))
    return np.repeat(wave[:, None], channels, axis=1)


@pytest.fixture
def audio_dir(tmp_path):
    folder = tmp_path / "audio"
    folder.mkdir()
    soundfile.write(folder / "a.wav", tone(12.3), 44_100)
    soundfile.write(folder / "b.flac", tone(70, 330.0, channels=2), 44_100)
    soundfile.write(folder / "surround.wav", tone(3, 220.0, 192_000, 6), 192_000, "PCM_24")
    (folder / "broken.wav").write_bytes((folder / "a.wav").read_bytes()[:30])
    (folder / "text.mp3").write_text("not a sound")
    soundfile.write(folder / "empty.wav", np.zeros((0, 1)), 44_100)
    soundfile.write(folder / "silent.wav", np.zeros((44_100 * 3, 1)), 44_100)
    shutil.copy(folder / "a.wav", folder / "copy.wav")
    return folder


def table(path, *lines, header="file,caption,split,licence"):
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def rows_of(out, name=store.MANIFEST):
    return list(store.read_rows(out / name))


def test_recordings_become_a_corpus(audio_dir, tmp_path):
    captions = table(
        tmp_path / "captions.csv",
        'a.wav,"calm tone, slow",test,CC0-1.0',
        "b.flac,a long tone,,CC-BY-4.0",
        "b.flac,two channels,,CC-BY-4.0",
        "surround.wav,six channels,valid,",
    )
    out = tmp_path / "out"
    import_recordings(audio_dir, captions, out, RATE)
    rows = {row["id"]: row for row in rows_of(out)}
    assert set(rows) == {"a.wav", "b.flac", "surround.wav"}
    assert rows["a.wav"]["split"] == "test" and rows["a.wav"]["licence"] == "CC0-1.0"
    assert rows["surround.wav"]["licence"] == "unknown"
    assert rows["a.wav"]["duration_s"] == 12.5 and len(rows["b.flac"]["crops"]) == 3
    texts = {row["id"]: row["captions"] for row in rows_of(out, store.CAPTIONS)}
    assert texts["b.flac"] == [["a long tone", "two channels"]] * 3
    for row, samples in store.piece_audio(out):
        assert len(samples) == row["duration_s"] * RATE
        assert loudness_lufs(store.to_float(samples), RATE) == pytest.approx(-20, abs=1.5)
        crops = list(store.crop_audio(row, samples, RATE))
        assert [len(c) for c in crops] == [(c["end_s"] - c["start_s"]) * RATE for c in row["crops"]]


def test_what_cannot_be_used_is_reported_and_skipped(audio_dir, tmp_path):
    captions = table(
        tmp_path / "captions.csv",
        "a.wav,fine,,",
        "a.wav,fine,,",
        "broken.wav,x,,",
        "text.mp3,x,,",
        "empty.wav,x,,",
        "silent.wav,x,,",
        "copy.wav,x,,",
        "missing.wav,x,,",
        "../captions.csv,x,,",
        "b.flac,x,holdout,",
        ",x,,",
    )
    out = tmp_path / "out"
    import_recordings(audio_dir, captions, out, RATE)
    assert [row["id"] for row in rows_of(out)] == ["a.wav"]
    reasons = [" ".join(row.values()) for row in rows_of(out, recordings.REPORT)]
    for said in (
        "a.wav the same file and caption again line 3",
        "broken.wav",
        "text.mp3",
        "empty.wav it is too short: 0 s",
        "silent.wav it is silent",
        "copy.wav it is the same recording as another: a.wav",
        "missing.wav there is no such file",
        "captions.csv it lies outside",
        "split must be one of train, valid, test, compositional, training, validation",
        "line 11: 'holdout'",
        "no file is named line 12",
    ):
        assert any(said in reason for reason in reasons), (said, reasons)


def test_a_second_run_writes_nothing_twice(audio_dir, tmp_path):
    out = tmp_path / "out"
    import_recordings(audio_dir, None, out, RATE)
    before = {p: p.stat().st_mtime_ns for p in (out / "audio").iterdir()}
    soundfile.write(audio_dir / "new.wav", tone(4, 550.0), 44_100)
    import_recordings(audio_dir, None, out, RATE)
    after = {p: p.stat().st_mtime_ns for p in (out / "audio").iterdir()}
    assert len(after) == len(before) + 1 and all(after[p] == t for p, t in before.items())
    ids = [row["id"] for row in rows_of(out)]
    assert len(ids) == len(set(ids)) and "new.wav" in ids


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left")])
def test_a_run_that_is_cut_short_keeps_what_it_has_and_goes_on(
    audio_dir, tmp_path, monkeypatch, capsys, fault
):
    out, real, calls = tmp_path / "out", recordings.write_array, []

    def failing(path, array):
        calls.append(path)
        if len(calls) == 2:
            raise fault
        real(path, array)

    monkeypatch.setattr(recordings, "write_array", failing)
    command = ["corpus", "import", str(audio_dir), "--out", str(out)]
    assert main(command) == (130 if isinstance(fault, KeyboardInterrupt) else 2)
    said = capsys.readouterr().err
    assert "run it again" in said or "disk is full" in said
    assert [row["id"] for row in rows_of(out)] == ["a.wav"]
    monkeypatch.setattr(recordings, "write_array", real)
    assert main(command) == 0
    assert {row["id"] for row in rows_of(out)} == {"a.wav", "b.flac", "surround.wav"}
    assert len(list(store.piece_audio(out))) == 3 and not list(out.rglob("*.part"))


def test_long_recordings_are_cut_where_they_are_quiet():
    rng = np.random.default_rng(0)
    samples = rng.standard_normal(95 * 100)
    samples[31 * 100 : 32 * 100] = 0
    spans = crop_spans(samples, 100)
    assert spans[0][0] == 0 and spans[-1][1] == 95
    assert all(10 <= end - start <= 30 for start, end in spans)
    for seconds in (1, 10, 30, 31, 59.7, 61, 300):
        spans = crop_spans(rng.standard_normal(round(seconds * 100)), 100)
        assert all(0 < end - start <= 30 for start, end in spans)
        assert all(a[1] == b[0] for a, b in zip(spans, spans[1:], strict=False))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("name,text\na.wav,x\n", "columns file,caption"),
        ("", "no rows"),
        ("\xff\xfe\x00", "not UTF-16"),
    ],
)
def test_a_table_that_is_none_is_refused(audio_dir, tmp_path, lines, message):
    path = tmp_path / "captions.csv"
    path.write_bytes(lines.encode("latin-1"))
    with pytest.raises(RequestError, match=message):
        import_recordings(audio_dir, path, tmp_path / "out", RATE)
    with pytest.raises(RequestError, match="Cannot read"):
        import_recordings(audio_dir, tmp_path / "none.csv", tmp_path / "out", RATE)


def test_names_of_other_systems_are_found_and_others_are_named(tmp_path, caplog):
    folder = tmp_path / "music"
    (folder / "sub").mkdir(parents=True)
    names = ("sub/m1.wav", unicodedata.normalize("NFD", "café.wav"), "M3.WAV", "left.wav")
    for i, name in enumerate(names):
        soundfile.write(folder / name, tone(2, 300.0 + 50 * i), 44_100)
    captions = table(
        tmp_path / "c.csv",
        "sub\\m1.wav,a path of Windows,train,",
        unicodedata.normalize("NFC", "café.wav") + ",NFC of an NFD name,train,",
        "m3.wav,other capitals,train,",
        "M3.WAV,another name of our split,validation,",
        "./m1.wav,elsewhere,,",
    )
    out = tmp_path / "out"
    with caplog.at_level(logging.INFO):
        import_recordings(folder, captions, out, RATE)
    splits = {row["id"]: row["split"] for row in rows_of(out)}
    assert splits == {"sub/m1.wav": "train", "café.wav": "train", "M3.WAV": "valid"}
    reasons = {row["file"]: row["reason"] for row in rows_of(out, recordings.REPORT)}
    assert reasons == {
        "m3.wav": "there is no such file: M3.WAV differs in capitals; write it so",
        "m1.wav": "there is no such file: is sub/m1.wav meant?",
        "left.wav": "nothing names it",
    }
    assert "skipped: 2 × there is no such file; 1 × nothing names it" in caplog.text


def test_every_file_of_a_folder_is_imported_or_listed(tmp_path):
    folder = tmp_path / "music"
    (folder / ".cache").mkdir(parents=True)
    sound, names = tone(2)[:, 0].astype("f4"), ("caf", "aifc", "w64", "wv", "m4a")
    for i, ending in enumerate(names):
        encode(folder / f"x.{ending}", sound * (0.5 + 0.1 * i))
    soundfile.write(folder / "anti.wav", np.stack([sound, -sound], 1), 44_100)
    for name in ("notes.txt", "x.mid", "x.zip", ".cache/y.wav", "z"):
        (folder / name).write_text("x")
    (folder / "gone.wav").symlink_to("/nowhere")
    out = tmp_path / "out"
    import_recordings(folder, None, out, RATE)
    rows = {row["id"]: row for row in rows_of(out)}
    assert set(rows) == {"anti.wav", *(f"x.{ending}" for ending in names)}
    assert "channels cancel" in rows["anti.wav"]["note"] and "note" not in rows["x.caf"]
    listed = {row["file"] for row in rows_of(out, recordings.REPORT)}
    assert listed == {"notes.txt", "x.mid", "x.zip", ".cache/y.wav", "z", "gone.wav"}


def test_nothing_imported_is_an_error_and_a_small_import_holds_one_out(audio_dir, tmp_path, capsys):
    captions = table(tmp_path / "c.csv", "none.wav,x,,")
    command = ["corpus", "import", str(audio_dir), "--out", str(tmp_path / "out")]
    assert main([*command, "--captions", str(captions)]) == 2
    assert "Nothing was imported" in capsys.readouterr().err
    assert main(command) == 0
    assert [row["split"] for row in rows_of(tmp_path / "out")].count("valid") >= 1


def test_one_recording_alone_is_not_held_out(tmp_path):
    (tmp_path / "one").mkdir()
    soundfile.write(tmp_path / "one" / "b.wav", tone(2), 44_100)
    import_recordings(tmp_path / "one", None, tmp_path / "out", RATE)
    assert len(rows_of(tmp_path / "out")) == 1


def test_corrected_captions_are_taken_and_sound_is_left_alone(audio_dir, tmp_path, caplog):
    captions, out = tmp_path / "c.csv", tmp_path / "out"
    table(captions, "a.wav,wrong,train,", "b.flac,two,,")
    import_recordings(audio_dir, captions, out, RATE)
    before = {p: p.stat().st_mtime_ns for p in (out / "audio").iterdir()}
    table(captions, "a.wav,right,test,CC0-1.0", "b.flac,two,,")
    with caplog.at_level(logging.INFO):
        import_recordings(audio_dir, captions, out, RATE)
    assert "0 imported, 2 already there, 1 of them corrected" in caplog.text
    (row,) = (row for row in rows_of(out) if row["id"] == "a.wav")
    assert (row["split"], row["licence"]) == ("test", "CC0-1.0")
    texts = {row["id"]: row["captions"] for row in rows_of(out, store.CAPTIONS)}
    assert texts["a.wav"] == [["right"]]
    assert {p: p.stat().st_mtime_ns for p in (out / "audio").iterdir()} == before
    import_recordings(audio_dir, None, out, RATE)  # says nothing of captions
    texts = {row["id"]: row["captions"] for row in rows_of(out, store.CAPTIONS)}
    assert texts["a.wav"] == [["right"]]


def test_an_empty_folder_and_a_composed_corpus_are_refused(audio_dir, tmp_path):
    (tmp_path / "nothing").mkdir()
    with pytest.raises(RequestError, match="no recordings"):
        import_recordings(tmp_path / "nothing", None, tmp_path / "out", RATE)
    store.write_rows(tmp_path / "composed.jsonl", [])
    composed = tmp_path / "composed"
    composed.mkdir()
    (composed / store.MANIFEST).write_text(json.dumps({"id": "1", "seed": 1}) + "\n")
    with pytest.raises(RequestError, match="composed corpus"):
        import_recordings(audio_dir, None, composed, RATE)


def test_the_page_shows_recordings_and_escapes_their_captions(audio_dir, tmp_path):
    captions = table(tmp_path / "c.csv", "a.wav,<b>loud</b> & clear,train,CC0-1.0")
    out = tmp_path / "out"
    import_recordings(audio_dir, captions, out, RATE)
    write_page(out)
    page = (out / "inspect.html").read_text()
    assert "&lt;b&gt;loud&lt;/b&gt; &amp; clear" in page and "<b>loud" not in page
    assert "CC0-1.0" in page and '<audio controls preload="none" src="inspect/a-wav.ogg">' in page
    assert (out / "inspect" / "a-wav.png").exists() and (out / "inspect" / "a-wav.ogg").exists()
