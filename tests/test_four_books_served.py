"""Models of four books of different sizes, served: menu, recipes, blind pairs, the Hub."""

import shutil

import pytest
import torch
from conftest import CODES, lm_config, random_lm, write_codec

from simba_music.cli import clip_files, replay
from simba_music.errors import CheckpointError
from simba_music.files import read_json, write_json
from simba_music.generation.loaded_models import LoadedModel
from simba_music.generation.pipeline import Pipeline
from simba_music.hub import places
from simba_music.hub.places import BUNDLED
from simba_music.listening.typed_pairs import PairMaker
from simba_music.models.checkpoint import save_language_model
from simba_music.publishing.push import push, stage

SIZES = (CODES, 40, 40, 24)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A folder of a codec that says what its books have, `simba-4` and `transformer-4`."""
    root = tmp_path_factory.mktemp("bundled")
    digest = write_codec(root / "codec", 4)
    known = read_json(root / "codec" / "config.json")
    write_json(root / "codec" / "config.json", known | {"codes_per_book": SIZES})
    codec = lm_config("simba").codec.model_dump() | {"sha256": digest, "codes_per_book": SIZES}
    for seed, backbone in enumerate(("simba", "transformer")):
        config = lm_config(backbone, n_codebooks=4, codebook_pattern="delay", codec=codec)
        save_language_model(root / f"{backbone}-4", random_lm(config, seed))
    return root


@pytest.fixture(scope="module")
def four(checkpoints):
    names = (str(checkpoints / name) for name in ("simba-4", "transformer-4"))
    return Pipeline.load(*names, None, "cpu")


def test_a_bundled_model_of_four_books_is_in_the_menu(checkpoints, tmp_path, monkeypatch):
    for folder in (BUNDLED / "simba", BUNDLED / "codec", checkpoints / "simba-4"):
        (tmp_path / folder.name).mkdir()
        shutil.copyfile(folder / "config.json", tmp_path / folder.name / "config.json")
    monkeypatch.setattr(places, "BUNDLED", tmp_path)
    assert places.offered() == ["simba", "simba-4"] and "simba-4" in places.allowed()


def test_a_recipe_of_four_books_is_made_once_more(four, tmp_path):
    options = {"duration_s": 2.0, "temperature": 2.0, "guidance": 1.0}
    clip_files.generate_one(four, "slow piano", options, "both", tmp_path / "a")
    replay.replay(tmp_path / "a" / "recipe.json", out=tmp_path / "b")
    for name in ("simba-4.wav", "transformer-4.wav"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_blind_pair_of_four_books_names_no_model(four, base, test):
    *_, offer = PairMaker(four, test).make("calm piano")
    pair = test.show_offered(offer, test.listener_id_of(test.new_listener(local=False)))
    (battle,) = base.battles("typed")
    assert {s["checkpoint"] for s in battle.sides.values()} == {"simba-4", "transformer-4"}
    assert "simba" not in str({key: value for key, value in pair.items() if key not in "AB"})
    assert len(pair["A"]) == len(pair["B"])


def test_what_is_pushed_with_four_books_loads_back(hub, checkpoints, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_writes")
    name = push(str(checkpoints / "simba-4"), "tester/simba-four")
    there, here = LoadedModel.load(name), LoadedModel.load(str(checkpoints / "simba-4"))
    assert there.lm.config.codes_per_book == SIZES == there.codec.codes_per_book
    for key, tensor in here.lm.state_dict().items():
        assert torch.equal(tensor, there.lm.state_dict()[key])
    known = torch.randint(0, 24, (1, 4, 20))
    assert torch.equal(there.codec.decode(known)[0].samples, here.codec.decode(known)[0].samples)


def test_its_card_says_how_many_codes_each_book_has(checkpoints, tmp_path):
    stage(checkpoints / "simba-4", tmp_path, "org/simba-4")
    assert f"4 codebooks of {CODES}, 40, 40 and 24 EnCodec codes" in (
        tmp_path / "README.md"
    ).read_text().replace("\n", " ")


def test_a_codec_whose_books_are_others_is_refused(checkpoints, tmp_path):
    shutil.copytree(checkpoints, tmp_path / "all")
    path = tmp_path / "all" / "codec" / "config.json"
    write_json(path, read_json(path) | {"codes_per_book": [CODES] * 4})
    with pytest.raises(CheckpointError, match=r"books of \(64, 64, 64, 64\) codes"):
        LoadedModel.load(str(tmp_path / "all" / "simba-4"))
