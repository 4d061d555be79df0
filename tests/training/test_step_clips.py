"""What models wrote as their training went on, kept as tokens."""

from dataclasses import replace

import pytest
from test_lm_training import TINY, train

from simba_music.errors import RequestError
from simba_music.files import read_json, sha256
from simba_music.generation.clip import unpack_codes
from simba_music.hub.places import WEIGHTS
from simba_music.training.experiments.step_clips import write_step_clips
from simba_music.training.lm.preset import Architecture


@pytest.fixture(scope="module")
def runs(tokenised, codec_folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    preset = replace(TINY, steps=6, validate_every=3, snapshots=(2, 4))
    for name in ("simba", "transformer"):
        train(tokenised, codec_folder, root / name, preset, Architecture(name))
    return {name: root / name for name in ("simba", "transformer")}


def test_every_snapshot_writes_every_prompt(runs, tmp_path):
    path = tmp_path / "steps.json"
    write_step_clips(runs, ["calm piano", "fast drums"], 2.0, path)
    found = read_json(path)
    assert found["prompts"] == ["calm piano", "fast drums"] and set(found["models"]) == set(runs)
    for name, stages in found["models"].items():
        assert [stage["step"] for stage in stages] == [2, 4, 6]
        assert stages[-1]["sha256"] == sha256(runs[name] / WEIGHTS)
        clips = [unpack_codes(text)[0] for stage in stages for text in stage["codes_b64"]]
        assert len(clips) == 6 and {len(ids) for ids in clips} == {150}
    write_step_clips(runs, ["calm piano", "fast drums"], 2.0, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_a_run_that_goes_on_keeps_the_stages_before_it(runs, tokenised, codec_folder, tmp_path):
    path, prompts = tmp_path / "steps.json", ["calm piano", "fast drums"]
    write_step_clips(runs, prompts, 2.0, path)
    first = read_json(path)["models"]
    short = replace(TINY, steps=3, validate_every=3, snapshots=())
    longer, longest, last = (
        {name: tmp_path / end / name for name in runs} for end in ("9", "20", "23")
    )
    for name, run in runs.items():
        train(tokenised, codec_folder, longer[name], short, Architecture(name), start=run)
    write_step_clips(longer, prompts, 2.0, path)
    found = read_json(path)["models"]
    for name, stages in found.items():
        assert [stage["step"] for stage in stages] == [2, 4, 6, 9]
        assert stages[:3] == first[name]
        assert stages[3]["sha256"] == sha256(longer[name] / WEIGHTS)
    two_before = path.read_bytes()
    preset = replace(TINY, steps=11, validate_every=5, snapshots=(1,))
    for name, run in longer.items():
        train(tokenised, codec_folder, longest[name], preset, Architecture(name), start=run)
    write_step_clips(longest, prompts, 2.0, path)
    for stages in read_json(path)["models"].values():
        assert [stage["step"] for stage in stages] == [2, 4, 9, 20]
    for name, run in longest.items():
        train(tokenised, codec_folder, last[name], short, Architecture(name), start=run)
    for before in (None, None, two_before):
        if before:
            path.write_bytes(before)
        write_step_clips(last, prompts, 2.0, path)
        for stages in read_json(path)["models"].values():
            assert [stage["step"] for stage in stages] == [2, 4, 9, 23]
    write_step_clips(runs, ["other", "prompts"], 2.0, path)
    write_step_clips(longer, prompts, 2.0, path)
    assert [stage["step"] for stage in read_json(path)["models"]["simba"]] == [9]


def test_runs_of_other_steps_are_not_compared(runs, tokenised, codec_folder, tmp_path):
    preset = replace(TINY, steps=6, validate_every=3, snapshots=(3,))
    train(tokenised, codec_folder, tmp_path / "other", preset)
    with pytest.raises(RequestError, match="other steps"):
        write_step_clips(runs | {"simba": tmp_path / "other"}, ["x"], 2.0, tmp_path / "s.json")
