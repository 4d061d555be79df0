"""Names that strangers give: loaded without the host's token, folders and cache."""

import pytest
from hub_server import FILES

from simba_music.errors import CheckpointError
from simba_music.generation.comparison import Comparison
from simba_music.generation.stops import Stops
from simba_music.hub.fetch import fetch
from simba_music.hub.places import chosen_by_visitor, locate, may_load_any
from simba_music.hub.visitors import for_stranger, is_for_stranger
from simba_music.settings import settings
from simba_music.settings.process import announce_share

PUBLIC = ("GRADIO_SHARE", "GRADIO_SERVER_NAME", "SPACE_ID", "SIMBA_MUSIC_ANY_MODEL")


@pytest.fixture
def bare(monkeypatch):
    """A page that only this machine reaches."""
    for name in PUBLIC:
        monkeypatch.setenv(name, "")  # so that it is restored
    return monkeypatch


@pytest.mark.fault("R3", "any model only on loopback and without share, or by the host's word")
def test_any_model_is_for_ones_own_machine_unless_the_host_says_so(bare):
    assert may_load_any() and not settings().public
    for name in ("localhost", "::1", "127.0.0.1"):
        bare.setenv("GRADIO_SERVER_NAME", name)
        assert may_load_any()
    for name in ("0.0.0.0", "::", "192.168.1.5"):
        bare.setenv("GRADIO_SERVER_NAME", name)
        assert not may_load_any() and settings().public
    bare.setenv("SIMBA_MUSIC_ANY_MODEL", "1")
    assert may_load_any()
    bare.setenv("SIMBA_MUSIC_ANY_MODEL", "")
    bare.setenv("GRADIO_SERVER_NAME", "")
    announce_share(False)
    assert may_load_any()
    announce_share(True)
    assert not may_load_any()


@pytest.mark.fault("R3", "visitors never get the host's token")
def test_a_stranger_reaches_nothing_that_needs_the_hosts_token(hub, bare):
    bare.setenv("HF_TOKEN", "hf_hush")
    hub.repos["org/name"].token = "hf_hush"
    held = fetch("org/name")  # the host may
    for revision in (None, held.commit):
        with for_stranger(), pytest.raises(CheckpointError, match="not found.*or it is private"):
            fetch("org/name", revision)
    hub.repos["org/name"].token = None
    with for_stranger():
        assert fetch("org/name", held.commit).folder == held.folder
        assert (held.folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert not is_for_stranger()


@pytest.mark.fault("R3", "what a visitor chooses on a public page is loaded as for a stranger")
def test_only_what_the_host_lists_is_loaded_in_the_hosts_name(bare):
    bare.setenv("SIMBA_MUSIC_MODELS", "org/listed")
    for name, stranger in (("org/listed", False), ("simba", False), ("org/other", True)):
        bare.setenv("GRADIO_SHARE", "true")
        with chosen_by_visitor(name):
            assert is_for_stranger() == stranger
        bare.setenv("GRADIO_SHARE", "")
        with chosen_by_visitor(name):
            assert not is_for_stranger()


@pytest.mark.fault("R3", "visitors do not learn which folders exist")
def test_a_stranger_does_not_learn_which_folders_exist(hub, system, tmp_path, bare):
    bare.chdir(tmp_path)
    (tmp_path / "org" / "there").mkdir(parents=True)
    (tmp_path / "org" / "there" / "config.json").write_text("{}")
    said = []
    names = [str(system / "simba"), "/etc", "/nowhere", "~", "./org", "org/there/", "org/absent/"]
    for name in names:
        with for_stranger(), pytest.raises(CheckpointError) as caught:
            locate(name)
        said.append(str(caught.value).replace(name, "").replace(name.rstrip("/"), ""))
    assert len(set(said[:5])) == 1 and said[5] == said[6]
    with for_stranger():
        assert locate("simba").folder.name == "simba"  # what is bundled is no secret


@pytest.mark.fault("R3", "a private repository and a folder, named on a shared page")
def test_a_comparison_refuses_strangers_names_on_a_public_page(hub, pipeline, bare, system):
    own = pipeline.models["left"].origin.id
    raw = {"prompt": "calm piano", "duration_s": 2.0}
    bare.setenv("GRADIO_SHARE", "true")
    with pytest.raises(CheckpointError, match="is not offered here"):
        next(Comparison(pipeline, Stops()).run(own, "org/name", raw, "session"))
    bare.setenv("SIMBA_MUSIC_ANY_MODEL", "1")
    bare.setenv("HF_TOKEN", "hf_hush")
    hub.repos["org/name"].token = "hf_hush"
    for name, said in (("org/name", "or it is private"), (str(system / "clap"), "not found")):
        with pytest.raises(CheckpointError, match=said):
            list(Comparison(pipeline, Stops()).run(own, name, raw, "session"))
