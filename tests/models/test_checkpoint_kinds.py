"""Checkpoints as people have them: sharded, wrapped, of other dtypes, or not weights at all."""

import json
import shutil

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from simba_music.errors import CheckpointError
from simba_music.generation.loaded_models import LoadedModel
from simba_music.hub.places import CONFIG, WEIGHTS, is_repository, tidy
from simba_music.hub.weights import INDEX
from simba_music.models.checkpoint import load_language_model, read_config

SHARD = "model-0000{}-of-00002.safetensors"


@pytest.fixture
def folder(system, tmp_path):
    shutil.copytree(system, tmp_path / "checkpoints")
    return tmp_path / "checkpoints" / "simba"


def change(folder, make):
    save_file({k: make(k, v) for k, v in load_file(folder / WEIGHTS).items()}, folder / WEIGHTS)


def shard(folder, index=True):
    tensors = load_file(folder / WEIGHTS)
    half, names = len(tensors) // 2, list(tensors)
    for i, part in enumerate((names[:half], names[half:]), 1):
        save_file({name: tensors[name] for name in part}, folder / SHARD.format(i))
    if index:
        mapped = {name: SHARD.format(1 + (i >= half)) for i, name in enumerate(names)}
        (folder / INDEX).write_text(json.dumps({"weight_map": mapped}))
    (folder / WEIGHTS).unlink()


def same(model, other):
    return all(torch.equal(v, other.state_dict()[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize("index", [True, False])
def test_shards_are_one_checkpoint(folder, index):
    whole, _ = load_language_model(str(folder))
    shard(folder, index)
    found, origin = load_language_model(str(folder))
    assert same(found, whole) and len(origin.sha256) == 64
    (folder / SHARD.format(2)).unlink()
    with pytest.raises(CheckpointError, match="missing" if index else "1 of 2 shards"):
        load_language_model(str(folder))


@pytest.mark.fault("W8", "an index that names files elsewhere")
@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/x.safetensors", 3, "x.bin"])
def test_an_index_names_only_shards_beside_it(folder, name):
    shard(folder)
    (folder / INDEX).write_text(json.dumps({"weight_map": {"head.weight": name}}))
    with pytest.raises(CheckpointError, match="no shard beside it"):
        load_language_model(str(folder))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod."])
def test_what_a_training_wrapper_puts_before_names_is_taken_off(folder, prefix):
    whole, _ = load_language_model(str(folder))
    tensors = {prefix + k: v for k, v in load_file(folder / WEIGHTS).items()}
    save_file(tensors, folder / WEIGHTS)
    assert same(load_language_model(str(folder))[0], whole)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_floats_are_read(folder, dtype):
    change(folder, lambda k, v: v.to(dtype))
    assert next(load_language_model(str(folder))[0].parameters()).dtype == torch.float32


@pytest.mark.fault("W4", "another dtype")
@pytest.mark.parametrize(
    ("dtype", "named"),
    [
        (torch.float8_e4m3fn, "F8_E4M3"),
        (torch.float8_e5m2, "F8_E5M2"),
        (torch.int8, "I8"),
        (torch.int64, "I64"),
        (torch.bool, "BOOL"),
        (torch.complex64, "C64"),
    ],
)
def test_other_dtypes_are_refused_by_name(folder, dtype, named):
    change(folder, lambda k, v: v.to(dtype) if v.ndim > 1 else v)
    with pytest.raises(CheckpointError, match=f"holds {named}; float16"):
        load_language_model(str(folder))


@pytest.mark.fault("W1", "HTML, LFS pointer, renamed pickle, empty")
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "git lfs pull"),
        (b"<!doctype html><html>", "web page"),
        (b"PK\x03\x04 and so on", "pickle"),
        (b"\x80\x04\x95", "pickle"),
        (b"", "is empty"),
        (b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ", "missing"),
        (b"\xff" * 100, "not a valid safetensors"),
    ],
)
@pytest.mark.parametrize("place", ["simba", "codec"])
def test_what_is_no_weights_is_named(folder, content, said, place):
    (folder.parent / place / WEIGHTS).write_bytes(content)
    if place == "codec" and said in ("missing", "not a valid safetensors"):
        said = "sha256"
    with pytest.raises(CheckpointError, match=said):
        LoadedModel.load(str(folder))


def test_broken_links_and_pickles_are_named(folder):
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"holds pytorch_model\.bin: such files can run"):
        load_language_model(str(folder))
    (folder / WEIGHTS).symlink_to("/nowhere/blob")
    with pytest.raises(CheckpointError, match="link to /nowhere/blob"):
        load_language_model(str(folder))


@pytest.mark.fault("W3", "an all-zero head")
def test_a_model_that_was_never_trained_is_refused(folder):
    change(folder, lambda k, v: torch.zeros_like(v) if k == "head.weight" else v)
    with pytest.raises(CheckpointError, match="weights of its head are zero"):
        load_language_model(str(folder))


def test_unknown_keys_of_a_config_are_named(folder):
    config = json.loads((folder / CONFIG).read_text()) | {"torch_dtype": "x", "dropout": 0}
    (folder / CONFIG).write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="torch_dtype: Extra.*dropout: Extra"):
        load_language_model(str(folder))


def test_a_copied_folder_says_which_codec_it_needs(folder, tmp_path, monkeypatch):
    shutil.copytree(folder, tmp_path / "alone" / "simba")
    with pytest.raises(
        CheckpointError, match=rf"needs its codec \.\./codec.*{tmp_path}/alone/codec"
    ):
        LoadedModel.load(str(tmp_path / "alone" / "simba"))
    monkeypatch.setattr("simba_music.models.checkpoint.BUNDLED", folder.parent)
    with pytest.raises(CheckpointError, match=rf"bundled {folder.parent}/codec is it: copy it"):
        LoadedModel.load(str(tmp_path / "alone" / "simba"))


@pytest.mark.parametrize(
    ("pasted", "meant"),
    [
        (" org/name\n", "org/name"),
        ("'org/name/'", "org/name"),
        ("org / name @ main", "org/name@main"),
        ("org/name@feature+x", "org/name@feature+x"),
        ("https://huggingface.co/org/name", "org/name"),
        ("https://www.huggingface.co/org/name/", "org/name"),
        ("hf.co/org/name", "org/name"),
        ("hf://org/name@v1", "org/name@v1"),
        ("https://huggingface.co/org/name/tree/main", "org/name@main"),
        ("https://huggingface.co/org/name/tree/refs%2Fpr%2F1", "org/name@refs/pr/1"),
        ("https://huggingface.co/org/name/blob/a+b/x.safetensors?download=true", "org/name@a+b"),
        ("https://huggingface.co/org/name/resolve/abc/config.json", "org/name@abc"),
        ("https://huggingface.co/org/name#model", "org/name"),
        ("org/name/tree/dev", "org/name@dev"),
        ("simba", "simba"),
    ],
)  # fmt: skip
def test_pasted_addresses_are_understood(pasted, meant):
    assert tidy(pasted) == meant and (meant == "simba" or is_repository(meant))


@pytest.mark.parametrize(
    ("pasted", "said"),
    [
        ("https://huggingface.co/datasets/org/name", "address of a dataset"),
        ("https://huggingface.co/spaces/org/name", "address of a space"),
        ("https://huggingface.co/org/name/tree/main/sub", "folder inside a repository"),
        ("https://example.org/org/name", "not found"),
    ],
)
def test_other_addresses_are_named(pasted, said):
    with pytest.raises(CheckpointError, match=said):
        load_language_model(pasted)


KEYS = ["schema", "backbone", "d_model", "n_layers", "conditions", "codec", "vocab", "special_ids"]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_subnormal=False)
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=4,
)


@pytest.mark.fault("W6", "fuzz of a config.json's bytes")
@settings(
    max_examples=300,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=6), VALUES, max_size=3),
    st.booleans(),
    st.binary(max_size=3),
)
def test_no_config_ends_in_a_traceback(system, tmp_path, changes, alone, junk):
    config = {} if alone else json.loads((system / "simba" / CONFIG).read_text())
    text = json.dumps(config | changes).encode()
    (tmp_path / CONFIG).write_bytes(text[: len(text) - len(junk)] + junk)
    shutil.copyfile(system / "simba" / WEIGHTS, tmp_path / WEIGHTS)
    try:
        read_config(tmp_path)
    except CheckpointError as error:
        assert CONFIG in str(error)
