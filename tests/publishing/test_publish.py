"""Publishing: push and load back, the model card, the folder of a Space."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
import yaml
from hub_server import Fault, on
from huggingface_hub import ModelCard

from simba_music.__main__ import main
from simba_music.errors import CheckpointError, RequestError
from simba_music.generation.loaded_models import LoadedModel
from simba_music.hub.places import BUNDLED
from simba_music.publishing.push import Checkpoint, push, stage
from simba_music.publishing.space import contents, front_matter, push_space, write_space


@pytest.fixture
def writable(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_writes")
    return hub


def test_what_is_pushed_loads_back_bit_for_bit(writable, system, capsys):
    assert main(["hub", "push", str(system / "simba"), "tester/simba-tiny", "--private"]) == 0
    name = capsys.readouterr().out.split()[-1]
    side, original = LoadedModel.load(name), LoadedModel.load(str(system / "simba"))
    assert side.origin.revision == name.partition("@")[2]
    assert side.origin.sha256 == original.origin.sha256
    for part in ("lm", "codec"):
        ours, theirs = (getattr(s, part) for s in (original, side))
        ours, theirs = (m.model if part == "codec" else m for m in (ours, theirs))
        for key, tensor in ours.state_dict().items():
            assert torch.equal(tensor, theirs.state_dict()[key])


def test_pushing_again_without_a_change_makes_no_commit(writable, system):
    first = push(str(system / "simba"), "tester/simba-tiny")
    uploads = writable.seen["PUT", "/lfs-verify"], len(writable.objects)
    assert push(str(system / "simba"), "tester/simba-tiny") == first
    assert len(writable.repos["tester/simba-tiny"].commits) == 2  # the first is the Hub's own
    assert uploads == (writable.seen["PUT", "/lfs-verify"], len(writable.objects))


def test_a_published_checkpoint_is_used_from_python(writable, system, tmp_path):
    checkpoint = Checkpoint.from_pretrained(str(system / "transformer"))
    checkpoint.push_to_hub("tester/transformer-tiny")
    loaded = Checkpoint.from_pretrained("tester/transformer-tiny")
    clips = [c.generate("calm piano", duration_s=2.0, seed=3) for c in (checkpoint, loaded)]
    assert torch.equal(clips[0].codes, clips[1].codes)
    assert clips[1].recipe.model.revision == loaded.model.origin.revision
    loaded.save_pretrained(tmp_path / "saved")
    assert LoadedModel.load(str(tmp_path / "saved")).origin.sha256 == loaded.model.origin.sha256
    with pytest.raises(CheckpointError, match="HF_TOKEN"):
        Checkpoint.from_pretrained("tester/transformer-tiny", token="x")


def test_the_model_card_is_valid_and_says_what_the_hub_shows(writable, tmp_path):
    stage(BUNDLED / "simba", tmp_path, "org/simba")
    card = ModelCard.load(tmp_path / "README.md")
    card.validate(repo_type="model")
    data = card.data.to_dict()
    assert data["pipeline_tag"] == "text-to-audio" and data["library_name"] == "simba_music"
    assert data["license"] == "apache-2.0" and "arxiv:2507.06674" in data["tags"]
    measured = json.loads((BUNDLED / "simba" / "metrics.json").read_text())["rows"]
    shown = data["model-index"][0]["results"]
    values = [metric["value"] for result in shown for metric in result["metrics"]]
    assert sorted(values) == sorted(row["value"] for row in measured)
    for part in ("--left org/simba", "Checkpoint.from_pretrained", "| hardware |", "| steps |"):
        assert part in card.text
    assert "../docs/" not in card.text, "a link that leads nowhere on the Hub"
    assert "It generates 1 codebook of 2048 EnCodec codes" in card.text
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["codec"]["id"] == "./codec" and (tmp_path / "codec" / "config.json").exists()


def test_a_hub_that_refuses_an_upload_is_explained(hub, system):
    hub.faults.append(on("/api/repos/create", Fault(403)))
    with pytest.raises(CheckpointError, match=r"does not let you write to tester/x \(403\)"):
        push(str(system / "simba"), "tester/x")
    hub.faults[:] = [on("/api/validate-yaml", Fault(500))]
    with pytest.raises(CheckpointError, match=r"trouble of its own \(500\)"):
        push(str(system / "simba"), "tester/x")


def test_a_checkpoint_that_does_not_load_is_not_published(writable, system, tmp_path):
    shutil.copytree(system, tmp_path / "copy")
    (tmp_path / "copy" / "codec" / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="sha256"):
        push(str(tmp_path / "copy" / "simba"), "tester/broken")
    assert "tester/broken" not in writable.repos


@pytest.mark.parametrize("codec", ["../codec", "/etc", "../../../secret"])
def test_a_published_checkpoint_names_no_path_outside_itself(writable, system, tmp_path, codec):
    stage(system / "simba", tmp_path, "tester/evil")
    config = json.loads((tmp_path / "config.json").read_text())
    config["codec"]["id"] = codec
    files = {"config.json": json.dumps(config).encode()}
    files["model.safetensors"] = (tmp_path / "model.safetensors").read_bytes()
    from hub_server import Repo

    writable.repos["tester/evil"] = Repo()
    writable.repos["tester/evil"].commit(files)
    with pytest.raises(CheckpointError, match="a path outside its repository"):
        LoadedModel.load("tester/evil")
    config["codec"]["id"], config["text_encoder"]["id"] = "./codec", "/home/someone/encoder"
    writable.repos["tester/evil"].commit(files | {"config.json": json.dumps(config).encode()})
    with pytest.raises(CheckpointError, match="which is no Hub repository"):
        LoadedModel.load("tester/evil")


def test_a_dry_run_lists_the_space_and_sends_nothing(capsys, tmp_path):
    out = tmp_path / "space"
    assert main(["hub", "space", "org/music", "--dry-run", "--out", str(out)]) == 0
    listed = {line.split()[1] for line in capsys.readouterr().out.splitlines()}
    needed = {"app.py", "requirements.txt", "README.md", "simba_music/generation/pipeline.py"}
    needed |= {f"checkpoints/{n}/model.safetensors" for n in ("simba", "transformer", "clap")}
    assert needed | {"checkpoints/codec/model.safetensors"} <= listed
    assert not any("simba_music/training/" in name or "__pycache__" in name for name in listed)
    # Imports what a start imports, of the folder alone.
    asked = [sys.executable, "-B", str(out / "app.py"), "--help"]
    here = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run(asked, cwd=out, env=here, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    first = contents(out)
    write_space(out)
    assert contents(out) == first
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(RequestError, match="holds something else"):
        write_space(tmp_path / "mine")
    with pytest.raises(RequestError, match="cpu-basic"):
        write_space(out, "abacus")


@pytest.mark.parametrize("hardware", ["cpu-basic", "zero-a10g"])
def test_requirements_do_not_fight_the_spaces_own_pins(tmp_path, hardware):
    write_space(tmp_path / "space", hardware)
    wanted = (tmp_path / "space" / "requirements.txt").read_text()
    head = yaml.safe_load((tmp_path / "space" / "README.md").read_text().split("---\n")[1])
    assert f"gradio=={head['sdk_version']}\n" in wanted
    assert head["python_version"] == "3.12" and head["suggested_hardware"] == hardware
    assert head["sdk"] == "gradio" and head["app_file"] == "app.py"
    torch_line = next(line for line in wanted.splitlines() if line.startswith("torch"))
    zero = hardware == "zero-a10g"
    assert torch_line == ("torch>=2.8,<2.12" if zero else "torch>=2.8,<2.13.1")


def test_named_checkpoints_are_pinned_and_preloaded(writable, system, tmp_path):
    left = push(str(system / "simba"), "tester/left")
    push(str(system / "transformer"), "tester/right")
    sides = {"left": "tester/left", "right": "tester/right"}
    write_space(tmp_path / "space", "cpu-basic", sides)
    head = yaml.safe_load((tmp_path / "space" / "README.md").read_text().split("---\n")[1])
    commit = left.partition("@")[2]
    assert head["preload_from_hub"][0].startswith("tester/left ")
    assert head["preload_from_hub"][0].endswith(f" {commit}")
    assert "model.safetensors" in head["preload_from_hub"][0]
    app = (tmp_path / "space" / "app.py").read_text()
    assert f'"SIMBA_MUSIC_LEFT", "{left}"' in app
    compile(app, "app.py", "exec")
    assert {p.name for p in (tmp_path / "space" / "checkpoints").iterdir()} == {
        "clap",
        "REPORT.json",
    }


def test_a_space_is_pushed_once_and_then_only_when_it_changes(writable):
    url = push_space("tester/music", "cpu-basic", {}, private=True)
    assert url.endswith("spaces/tester/music")
    repo = writable.repos["tester/music"]
    assert len(repo.commits) == 2  # the first is the Hub's own
    push_space("tester/music", "cpu-basic", {}, private=True)
    assert len(repo.commits) == 2
    push_space("tester/music", "zero-a10g", {}, private=True)
    assert len(repo.commits) == 3


def test_front_matter_is_the_readmes():
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    own = yaml.safe_load(readme.split("---\n")[1])
    assert own.items() <= front_matter("cpu-basic", []).items()
    assert huggingface_hub.constants.ENDPOINT
