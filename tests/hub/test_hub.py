"""Checkpoints of others: the genuine Hub client against a Hub on loopback, faults included."""

import json
from pathlib import Path

import huggingface_hub.constants
import pytest
from hub_server import FILES, Fault, Repo, on

from simba_music.errors import CheckpointError
from simba_music.hub.fetch import Downloading, fetch
from simba_music.hub.ledger import LEDGER


def sent(hub, word):
    return [path for _, path in hub.log if word in path]


def test_a_repository_is_fetched_with_progress_and_its_commit_is_known(hub):
    seen: list[Downloading] = []
    found = fetch("org/name", on_download=seen.append)
    assert found.commit == hub.repos["org/name"].refs["main"] and found.notice is None
    assert (found.folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert not (found.folder / "notes.txt").exists()
    done = [event.done for event in seen]
    assert done == sorted(done) and len(done) > 3
    assert seen[-1].done == seen[-1].total == sum(len(FILES[n]) for n in list(FILES)[:3])


@pytest.mark.fault("H5", "a pinned commit asks nothing")
def test_a_pinned_commit_in_the_cache_asks_nothing_of_the_hub(hub):
    first = fetch("org/name")
    hub.log.clear()
    assert fetch("org/name", first.commit).folder == first.folder
    assert hub.log == []


@pytest.mark.fault("H3", "a body that is cut once")
def test_a_cut_download_resumes_where_it_was(hub):
    hub.faults.append(on("model.safetensors", Fault(cut_at=200_000), times=1, method="GET"))
    found = fetch("org/name")
    assert (found.folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    gets = [p for m, p in hub.log if m == "GET" and p.endswith("model.safetensors")]
    assert len(gets) == 2


@pytest.mark.fault("H3", "a download that was ended goes on")
def test_a_new_run_resumes_what_an_earlier_one_left(hub):
    class Enough(CheckpointError):
        pass

    def stop(event):
        raise Enough("stop")

    with pytest.raises(Enough):
        fetch("org/name", on_download=stop)
    assert (fetch("org/name").folder / "model.safetensors").exists()


@pytest.mark.fault("H1", "401, gated, missing revision and repository")
@pytest.mark.fault("H2", "429 and 500 at the look-up")
@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (401, "RepoNotFound", "not found on http://127.0.0.1.*private.*hf auth login"),
        (403, "GatedRepo", "is gated. Accept its terms"),
        (404, "RevisionNotFound", "no such revision"),
        (404, "RepoNotFound", "not found on"),
        (429, None, r"too many requests \(429\). Wait"),
        (500, None, r"trouble of its own \(500\).*Try again"),
    ],
)
def test_a_refusal_says_what_to_do(hub, status, code, message):
    hub.faults.append(on("/api/models", Fault(status, code)))
    with pytest.raises(CheckpointError, match=message):
        fetch("org/name")
    assert sent(hub, "/resolve/") == []


def test_a_private_repository_opens_with_a_token(hub, monkeypatch):
    hub.repos["org/name"].token = "secret"
    with pytest.raises(CheckpointError, match="private"):
        fetch("org/name")
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert fetch("org/name").folder.is_dir()


@pytest.mark.fault("H2", "a Hub that does not answer")
def test_a_hub_that_does_not_answer_is_given_up(hub, monkeypatch):
    monkeypatch.setattr("simba_music.hub.lookup.LOOKUP_S", 0.3)
    hub.faults.append(on("", Fault(delay_s=2.0)))
    with pytest.raises(CheckpointError, match="could not be downloaded from .*Timeout"):
        fetch("org/name")


@pytest.mark.fault("H2", "a whole cached copy is used and said so")
def test_without_a_network_the_last_download_serves_and_says_so(hub):
    first = fetch("org/name")
    hub.faults.append(on("", Fault(503)))
    again = fetch("org/name")
    assert again.folder == first.folder
    assert "cannot be reached; this is what was downloaded before" in again.notice
    with pytest.raises(CheckpointError, match=r"trouble of its own \(503\)"):
        fetch("org/other")


@pytest.mark.fault("H5", "a later start off line asks nothing")
def test_offline_mode_serves_what_is_there_and_asks_nothing(hub, monkeypatch):
    first = fetch("org/name")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    hub.log.clear()
    assert fetch("org/name").folder == first.folder
    with pytest.raises(CheckpointError, match="not in the cache.*HF_HUB_OFFLINE"):
        fetch("org/other")
    assert hub.log == []


@pytest.mark.fault("W2", "a flipped byte in the download")
def test_damaged_bytes_are_fetched_again_once_and_then_refused(hub):
    weights = FILES["model.safetensors"]
    wrong = Fault(body=b"x" * len(weights))
    hub.faults.append(on("model.safetensors", wrong, times=1, method="GET"))
    assert fetch("org/name").folder.is_dir()
    hub.repos["org/bad"] = Repo()
    hub.repos["org/bad"].commit(FILES)
    hub.faults[:] = [on("model.safetensors", wrong, method="GET")]
    with pytest.raises(CheckpointError, match="does not have the digest .* that the Hub says"):
        fetch("org/bad")
    hub.faults.clear()  # nothing damaged is left for the next run
    assert (fetch("org/bad").folder / "model.safetensors").read_bytes() == weights


@pytest.mark.fault("W2", "a damaged file in the cache")
def test_a_truncated_file_in_the_cache_is_noticed_and_replaced(hub):
    path = fetch("org/name").folder / "model.safetensors"
    path.resolve().write_bytes(FILES["model.safetensors"][:1000])
    assert path.read_bytes() != FILES["model.safetensors"]
    commit = hub.repos["org/name"].refs["main"]
    for revision in (None, commit):
        path.resolve().write_bytes(FILES["model.safetensors"][:1000])
        found = fetch("org/name", revision)
        assert (found.folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]


@pytest.mark.fault("W7", "a repository with only .bin")
def test_pickled_weights_are_refused_with_the_reason(hub):
    hub.repos["org/pickle"] = Repo()
    hub.repos["org/pickle"].commit({"config.json": b"{}", "pytorch_model.bin": b"x"})
    with pytest.raises(CheckpointError, match=r"no .safetensors.*pytorch_model.bin.*run code"):
        fetch("org/pickle")
    assert sent(hub, "/resolve/") == []


@pytest.mark.fault("W8", "file names that climb")
@pytest.mark.parametrize("name", ["../../evil.json", "/etc/evil.json", "a\\..\\evil.json"])
def test_file_names_cannot_leave_the_cache(hub, name):
    hub.repos["org/evil"] = Repo()
    hub.repos["org/evil"].commit(FILES | {name: b"{}"})
    with pytest.raises(CheckpointError, match="would leave the cache"):
        fetch("org/evil")


def test_size_is_limited_before_anything_is_downloaded(hub, monkeypatch):
    monkeypatch.setenv("SIMBA_MUSIC_MAX_DOWNLOAD_GB", "0.0001")
    with pytest.raises(CheckpointError, match=r"is 0.00 GB; 0.0001 GB are allowed.*MAX_DOWNLOAD"):
        fetch("org/name")
    assert sent(hub, "/resolve/") == []


@pytest.mark.fault("H4", "main has moved")
def test_a_moved_branch_is_said(hub):
    fetch("org/name")
    hub.repos["org/name"].commit(FILES | {"README.md": b"# Another\n"})
    assert "has changed since it was last loaded" in fetch("org/name").notice
    assert fetch("org/name").notice is None


def test_a_commit_that_holds_other_files_is_refused(hub, tmp_path):
    commit = fetch("org/name").commit
    other = FILES | {"model.safetensors": b"other weights"}
    hub.repos["org/name"].commits[commit] = other
    huggingface_hub.constants.HF_HUB_CACHE = str(tmp_path / "another-cache")
    with pytest.raises(CheckpointError, match="other files than when it was first downloaded"):
        fetch("org/name", commit)


def test_what_was_downloaded_is_written_down(hub, tmp_path):
    commit = fetch("org/name").commit
    ledger = json.loads((Path(tmp_path) / "data" / LEDGER).read_text())
    assert ledger["org/name@main"] == commit
    assert set(ledger[f"org/name@{commit}"]) == {"config.json", "model.safetensors", "README.md"}
