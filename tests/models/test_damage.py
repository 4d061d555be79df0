"""Damage of a checkpoint in a folder that loads all the same unless it is looked for."""

import shutil

import pytest

from simba_music.errors import CheckpointError
from simba_music.files import read_json, sha256, write_json
from simba_music.generation.loaded_models import LoadedModel
from simba_music.hub.weights import check_recorded
from simba_music.models.codec import Codec
from simba_music.models.config import CodecRef
from simba_music.scoring.bundled import BundledScorer
from simba_music.training.record import began_with, write_training_record

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def copy(system, tmp_path, name):
    shutil.copytree(system / "codec", tmp_path / "codec")
    if name != "codec":
        shutil.copytree(system / name, tmp_path / name)
    return tmp_path / name


def flip(path):
    """The lowest bit of the last weight's mantissa: still a number, hardly another one."""
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)


def load(folder, name):
    if name == "clap":
        return BundledScorer.load(folder)
    if name == "codec":
        ref = CodecRef(id="x", sample_rate=24000, frame_rate=50, codebook_size=64)
        return Codec.load(folder, ref)
    return LoadedModel.load(str(folder))


@pytest.mark.fault("W2", "one flipped bit in a folder whose training.json has the digest")
@pytest.mark.parametrize("name", ["simba", "codec", "clap"])
@pytest.mark.fault("R12", "a flipped bit")
def test_a_flipped_bit_is_noticed_where_the_digest_was_written_down(system, tmp_path, name):
    folder = copy(system, tmp_path, name)
    record = {"stage": "test", "sha256": sha256(folder / WEIGHTS)}
    write_json(folder / "training.json", record)
    load(folder, name)
    flip(folder / WEIGHTS)
    with pytest.raises(CheckpointError, match="training.json beside it says"):
        load(folder, name)
    del record["sha256"]
    write_json(folder / "training.json", record)
    load(folder, name)  # nobody has said what it should be


def test_a_training_writes_down_the_digest_and_what_began_before_is_known(tmp_path):
    (tmp_path / WEIGHTS).write_bytes(b"weights")
    fields = {"stage": "lm", "steps": 1, "seconds": 1.0, "device": "cpu", "corpora": []}
    write_training_record(tmp_path, **fields, preset={})
    found = read_json(tmp_path / "training.json")
    assert found["sha256"] == sha256(tmp_path / WEIGHTS)
    check_recorded(tmp_path)
    earlier = {key: value for key, value in found.items() if key != "sha256"}
    assert began_with({"started_from": earlier}, found)
    assert not began_with({"started_from": earlier | {"steps": 2}}, found)


@pytest.mark.fault(
    "W6", "a text encoder that is said to read more tokens than it has positions for"
)
@pytest.mark.fault("R12", "a text encoder with too many tokens")
def test_more_text_tokens_than_positions_are_refused(system, tmp_path):
    folder = copy(system, tmp_path, "simba")
    config = read_json(folder / CONFIG)
    config["text_encoder"]["max_tokens"] = 4096
    write_json(folder / CONFIG, config)
    with pytest.raises(CheckpointError, match=r"reads up to 512 tokens.*max_tokens 4096"):
        LoadedModel.load(str(folder))


@pytest.mark.fault("W6", "a scorer's files that hold {} or something else")
@pytest.mark.parametrize("file", ["null_prompts.json", CONFIG])
@pytest.mark.parametrize("text", ["{}", "[]", "[1]", "null", '"x"'])
def test_a_scorers_file_of_another_kind_is_named(system, tmp_path, file, text):
    folder = tmp_path / "clap"
    shutil.copytree(system / "clap", folder)
    (folder / file).write_text(text)
    with pytest.raises(CheckpointError, match=file) as found:
        BundledScorer.load(folder)
    assert "\n" not in str(found.value)
