import errno
import json
import os
import re

import pytest

from simba_music import audio
from simba_music.__main__ import main
from simba_music.cli import clip_files
from simba_music.generation.recipe import read_recipe


@pytest.fixture
def run(system, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*words):
        sides = ["--left", str(system / "simba"), "--right", str(system / "transformer")]
        scorer = ["--scorer", str(system / "clap"), "--device", "cpu"]
        code = main([*words, *sides, *scorer])
        printed = capfd.readouterr()
        return code, printed.out, printed.err

    return call


def test_generate_writes_two_wavs_and_a_recipe(run, tmp_path):
    code, out, _ = run("generate", "calm piano", "--duration", "2", "--seed", "1", "--out", "o")
    assert code == 0
    assert sorted(os.listdir("o")) == ["recipe.json", "simba.wav", "transformer.wav"]
    for name in ("simba", "transformer"):
        assert audio.read(tmp_path / "o" / f"{name}.wav").duration_s == 2.0
        line = next(text for text in out.splitlines() if f"{name}.wav" in text)
        assert re.search(r"[\d.]+ s of audio per second, \d+ tokens/s", line)
    clips = json.loads((tmp_path / "o" / "recipe.json").read_text())["clips"]
    assert set(clips) == {"simba.wav", "transformer.wav"}
    for clip in clips.values():
        assert clip["codes"] == 100 and clip["tokens_per_s"] > 0 and clip["seconds"] > 0
        assert read_recipe(clip["recipe"]).request.seed == 1


def test_the_same_checkpoint_on_both_sides_gets_a_suffix(run, system):
    code, _, _ = run("generate", "calm", "--duration", "2", "--right", "x", "--takes", "2")
    assert code == 0  # the fixture's --right comes later and wins
    names = sorted(os.listdir("out"))
    assert names == [
        "recipe.json",
        "simba-take1.wav",
        "simba-take2.wav",
        "transformer-take1.wav",
        "transformer-take2.wav",
    ]


def test_model_chooses_one_side(run):
    assert run("generate", "calm", "--duration", "2", "--model", "simba")[0] == 0
    assert sorted(os.listdir("out")) == ["recipe.json", "simba.wav"]


@pytest.mark.fault("P6", "bad input of the command line")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["generate", ""], "prompt is empty"),
        (["generate", "  "], "prompt is empty"),
        (["generate", "word " * 400], "text tokens; at most 256"),
        (["generate", "calm", "--duration", "31"], "duration_s.*got 31"),
        (["generate", "calm", "--duration", "nan"], "got nan"),
        (["generate", "calm", "--seed", "-5"], "seed.*got -5"),
        (["generate", "calm", "--temperature", "inf"], "got inf"),
        (["generate", "calm", "--model", "gpt"], "Unknown model 'gpt'"),
        (["generate", "--prompts", "missing.csv"], "Cannot read missing.csv"),
    ],
)
def test_bad_input_exits_with_2_says_why_and_writes_nothing(run, words, said):
    code, out, err = run(*words)
    assert code == 2 and re.search(said, err)
    assert "Traceback" not in out + err and os.listdir(".") == []


def test_a_missing_checkpoint_exits_with_2(tmp_path, capfd):
    assert main(["generate", "calm", "--left", "nowhere", "--out", str(tmp_path / "o")]) == 2
    assert "'nowhere' not found" in capfd.readouterr().err and os.listdir(tmp_path) == []


def test_a_wrong_variable_exits_with_2(run, monkeypatch):
    monkeypatch.setenv("SIMBA_MUSIC_THREADS", "many")
    code, _, err = run("generate", "calm")
    assert code == 2 and "SIMBA_MUSIC_THREADS must be a whole number from 1; got 'many'" in err


@pytest.mark.fault("D2", "an output folder that cannot be made")
def test_a_folder_that_cannot_be_made_exits_with_2(run, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = run("generate", "calm", "--duration", "2", "--out", "file/below")
    assert code == 2 and "Cannot write to file/below" in err


def test_prompts_from_a_csv_resume(run, tmp_path):
    (tmp_path / "p.csv").write_text(
        'id,prompt,duration_s,seed\na,calm piano,2,1\nb,"loud, fast drums",2.5,2\nc,choir,,\n'
    )
    words = ("generate", "--prompts", "p.csv", "--batch", "2", "--out", "o", "--duration", "3")
    first = run(*words)
    assert first[0] == 0, first
    rows = [json.loads(t) for t in (tmp_path / "o" / "manifest.jsonl").read_text().splitlines()]
    assert {(r["side"], r["id"]) for r in rows} == {
        (s, i) for s in ("left", "right") for i in "abc"
    }
    lengths = {i: audio.read(tmp_path / "o" / "left" / f"{i}.wav").duration_s for i in "abc"}
    assert lengths == {"a": 2.0, "b": 2.5, "c": 3.0}
    (tmp_path / "o" / "right" / "b.wav").unlink()
    kept = (tmp_path / "o" / "left" / "a.wav").stat().st_mtime_ns
    code, out, _ = run(*words)
    assert code == 0 and "right: 1 of 1 clips" in out and "left" not in out
    assert (tmp_path / "o" / "left" / "a.wav").stat().st_mtime_ns == kept


def test_clips_of_other_settings_are_not_kept_silently(run, tmp_path):
    table = tmp_path / "p.csv"
    table.write_text("id,prompt\na,calm piano\n")
    words = ("generate", "--prompts", "p.csv", "--out", "o", "--duration", "2", "--model", "left")
    assert run(*words)[0] == 0
    code, _, err = run(*words, "--seed", "7")
    assert code == 2 and "holds left/a.wav with seed 0, not 7" in err
    table.write_text("id,prompt\na,loud drums\nb,x\n")
    code, _, err = run(*words)
    assert code == 2 and "with prompt 'calm piano', not 'loud drums'" in err
    assert not (tmp_path / "o" / "left" / "b.wav").exists()


def test_a_row_says_that_its_clip_is_whole(run, tmp_path, monkeypatch):
    (tmp_path / "p.csv").write_text("id,prompt\na,calm piano\nb,flute\n")
    words = ("generate", "--prompts", "p.csv", "--out", "o", "--duration", "2", "--model", "left")
    write, made = clip_files.write_clip, []

    def full(path, clip):
        made.append(path.name)
        if len(made) == 2:
            raise OSError(errno.ENOSPC, "No space left")
        write(path, clip)

    monkeypatch.setattr(clip_files, "write_clip", full)
    assert run(*words)[0] == 2
    rows = (tmp_path / "o" / "manifest.jsonl").read_text().splitlines()
    assert [json.loads(row)["id"] for row in rows] == ["a"]
    with (tmp_path / "o" / "manifest.jsonl").open("a") as file:
        file.write('{"id": "b", "side": "le')  # cut short
    monkeypatch.setattr(clip_files, "write_clip", write)
    assert run(*words)[0] == 0 and (tmp_path / "o" / "left" / "b.wav").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,prompt\na,x\na,y\n", "every id only once"),
        ("id,prompt\n../a,x\n", "must be letters"),
        ("prompt\nx\n", "needs the columns id and prompt"),
        ("id,prompt\n", "at least one row"),
        ("id,prompt,seed\na,x,one\n", "seed must be a number"),
        ("id,prompt\na,x\nb,\n", "prompt is empty"),
    ],
)
def test_a_bad_csv_exits_with_2_before_anything_is_written(run, tmp_path, text, said):
    (tmp_path / "p.csv").write_text(text)
    code, _, err = run("generate", "--prompts", "p.csv", "--out", "o")
    assert code == 2 and re.search(said, err) and not (tmp_path / "o").exists()
