"""A Hub that hangs or refuses, a full disk, a broken ledger: the true cause, and soon."""

import errno
import json
import time
from pathlib import Path

import huggingface_hub.constants
import pytest
from hub_server import FILES, Fault, on

from simba_music.errors import CheckpointError, RequestError
from simba_music.hub import fetch as hub_fetch
from simba_music.hub import patience
from simba_music.hub.fetch import fetch
from simba_music.hub.ledger import LEDGER


@pytest.fixture
def hasty(monkeypatch):
    """Silence is given up after half a second, not 28."""
    monkeypatch.setattr(patience, "PATIENCE_S", 0.5)


@pytest.mark.fault("H2", "every answer hangs, or every file: given up in time, with the cause")
@pytest.mark.parametrize("word", ["/", "/resolve/"])
@pytest.mark.fault("R10", "a Hub that hangs")
def test_a_hub_that_hangs_is_given_up(hub, hasty, word):
    hub.faults.append(on(word, Fault(delay_s=3.0)))
    started = time.monotonic()
    with pytest.raises(CheckpointError, match="has sent nothing of org/name"):
        fetch("org/name")
    assert time.monotonic() - started < 2.0
    assert patience.PATIENCE_S <= 30


@pytest.mark.fault("H2", "a Hub that hangs, with a whole copy in the cache")
def test_a_hub_that_hangs_leaves_the_copy_that_is_there(hub, hasty):
    first = fetch("org/name")
    hub.faults.append(on("/", Fault(delay_s=3.0)))
    again = fetch("org/name")
    assert again.folder == first.folder and "cannot be reached" in again.notice


@pytest.mark.fault("H2", "429 and 500 on files: what the Hub answered, not 'check the network'")
@pytest.mark.parametrize(
    ("status", "said"), [(429, "too many requests"), (500, r"trouble.*\(500\)")]
)
def test_a_refused_file_says_what_the_hub_answered(hub, monkeypatch, status, said):
    # The client waits seconds between its tries.
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    hub.faults.append(on("/resolve/", Fault(status)))
    with pytest.raises(CheckpointError, match=said):
        fetch("org/name")


@pytest.mark.fault("D1", "full disk at a download")
def test_a_disk_that_fills_is_said(hub, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(hub_fetch, "hf_hub_download", full)
    with pytest.raises(CheckpointError, match=r"the disk is full \(.* GB free"):
        fetch("org/name")
    monkeypatch.undo()


@pytest.mark.fault("D1", "a download that would leave too little free space is not begun")
def test_a_download_leaves_the_free_space_that_the_host_wants(hub, monkeypatch):
    monkeypatch.setenv("SIMBA_MUSIC_FREE_DISK_GB", "1e9")
    with pytest.raises(RequestError, match="SIMBA_MUSIC_FREE_DISK_GB"):
        fetch("org/name")
    assert not [path for _, path in hub.log if "/resolve/" in path]
    monkeypatch.setenv("SIMBA_MUSIC_FREE_DISK_GB", "0")
    assert fetch("org/name").folder.is_dir()


@pytest.mark.fault("H5", "a broken ledger, on line and later off line")
@pytest.mark.parametrize("broken", ["{", "[]", '{"org/name@main": 3}', '{"a": {"b": []}}'])
@pytest.mark.fault("R10", "a broken ledger")
def test_a_broken_ledger_is_made_again(hub, tmp_path, monkeypatch, broken):
    first = fetch("org/name")
    ledger = tmp_path / "data" / LEDGER
    ledger.write_text(broken)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    again = fetch("org/name")
    assert again.folder == first.folder and again.commit == first.commit
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    fetch("org/name")
    assert first.commit in json.loads(ledger.read_text()).values()
    assert ledger.with_name(f"{LEDGER}.broken").read_text() == broken


@pytest.mark.fault("W2", "one flipped byte in the cache, whose ledger is lost")
def test_a_flipped_byte_in_the_cache_is_noticed_without_a_ledger(hub, tmp_path, monkeypatch):
    found = fetch("org/name")
    (tmp_path / "data" / LEDGER).unlink()
    blob = (found.folder / "model.safetensors").resolve()
    data = bytearray(blob.read_bytes())
    data[1000] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(data)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="cannot be reached"):
        fetch("org/name")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    assert (fetch("org/name").folder / "model.safetensors").read_bytes() == FILES[
        "model.safetensors"
    ]


@pytest.mark.fault("W7", "a repository with code and auto_map: nothing is imported")
def test_code_of_a_repository_is_not_even_fetched(hub, tmp_path):
    canary = tmp_path / "canary"
    code = f"open({str(canary)!r}, 'w').write('run')\n".encode()
    config = json.dumps({"auto_map": {"AutoModel": "evil.Model"}, "model_type": "evil"}).encode()
    hub.repos["org/name"].commit({"config.json": config, "evil.py": code, "model.bin": b"\x80"})
    with pytest.raises(CheckpointError, match=r"no .safetensors weights"):
        fetch("org/name")
    hub.repos["org/name"].commit(FILES | {"config.json": config, "evil.py": code})
    folder = fetch("org/name").folder
    assert not Path(folder / "evil.py").exists()
    from simba_music.generation.loaded_models import LoadedModel

    with pytest.raises(CheckpointError):
        LoadedModel.load("org/name")
    assert not canary.exists()


def test_work_in_a_thread_knows_for_whom_it_is():
    import contextvars

    asked = contextvars.ContextVar("asked", default="host")
    asked.set("stranger")
    assert patience.Patience().wait(asked.get) == "stranger"
