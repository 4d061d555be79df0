"""The API against the server that `make app` starts: named, typed, complete, in sentences."""

import base64
import json
import re
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from conftest import serving

from simba_music import audio
from simba_music.errors import RequestError
from simba_music.generation.recipe import recipes_of_file
from simba_music.ui.api import sounds

# gradio_client leaves sockets and loops to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)
NAMES = ["/compare", "/generate", "/models", "/read", "/score"]


@pytest.fixture(scope="module")
def url(system):
    sides = ["--left", system / "simba", "--right", system / "transformer"]
    with serving(*sides, "--scorer", system / "clap", "--device", "cpu") as found:
        yield found


@pytest.fixture(scope="module")
def client(url):
    return new_client(url)


def new_client(url):
    from gradio_client import Client

    return Client(url, verbose=False, analytics_enabled=False)


def post(address, body):
    asked = urllib.request.Request(
        address, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(asked, timeout=60) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def events(url, name, body, version="v2/"):
    """(event, data) of a call by plain HTTP, as curl sees them, without heartbeats."""
    _, found = post(f"{url}/gradio_api/call/{version}{name}", body)
    with urllib.request.urlopen(
        f"{url}/gradio_api/call/{name}/{found['event_id']}", timeout=120
    ) as stream:
        lines = stream.read().decode().splitlines()
    said = [line.partition(": ")[2] for line in lines if line]
    pairs = zip(said[::2], map(json.loads, said[1::2]), strict=True)
    return [(event, data) for event, data in pairs if event != "heartbeat"]


def test_the_endpoints_are_all_that_is_listed_and_have_types(url):
    with urllib.request.urlopen(f"{url}/gradio_api/info", timeout=60) as reply:
        info = json.load(reply)
    assert sorted(info["named_endpoints"]) == NAMES and not info["unnamed_endpoints"]
    for about in info["named_endpoints"].values():
        assert about["description"]
        given = about["parameters"]
        needed = {one["parameter_name"] for one in given if not one["parameter_has_default"]}
        assert needed <= {"prompt", "audio"}
        (returned,) = about["returns"]
        assert returned["type"]
    clips = info["named_endpoints"]["/compare"]["returns"][0]["type"]["properties"]["clips"]
    assert set(clips["items"]["properties"]) == {"model", "path", "score", "recipe"}


def test_a_prompt_alone_gives_two_whole_clips_by_plain_http(url):
    found = events(url, "compare", {"prompt": "slow piano, 96 bpm", "duration_s": 2})
    assert {event for event, _ in found[:-1]} == {"generating"} and len(found) >= 3
    event, ((last),) = found[-1][0], found[-1][1]
    assert event == "complete" and last == found[-2][1][0]
    assert [clip["model"] for clip in last["clips"]] == ["simba", "transformer"]
    assert last["progress"] == {"simba": 1.0, "transformer": 1.0}
    for clip in last["clips"]:
        with urllib.request.urlopen(clip["path"]["url"], timeout=60) as reply:
            assert reply.read(4) == b"RIFF"
        assert clip["path"]["orig_name"].startswith("slow-piano-")
        assert clip["recipe"]["request"]["seed"] == last["seed"]
        assert -1 <= clip["score"]["cosine"] <= 1


def test_the_former_form_of_a_call_may_leave_arguments_out_too(url):
    found = events(url, "generate", {"data": ["slow piano", 2]}, version="")
    assert found[-1][0] == "complete" and len(found[-1][1][0]["clips"]) == 1


def test_predict_gives_the_whole_last_result(client):
    first = client.predict("calm piano", duration_s=2, seed=5, api_name="/compare")
    second = client.predict("calm piano", duration_s=2, seed=5, api_name="/compare")
    assert first["seed"] == 5 and len(first["clips"]) == 2
    for one, other in zip(first["clips"], second["clips"], strict=True):
        assert audio.read(one["path"]).duration_s == 2.0
        assert Path(one["path"]).read_bytes() == Path(other["path"]).read_bytes()
        (recipe,) = recipes_of_file(Path(one["path"])).values()
        assert recipe.as_json() == one["recipe"]


def test_progress_comes_as_events(client):
    job = client.submit("calm piano", duration_s=10, seed=1, api_name="/generate")
    job.result()
    shares = [step["progress"].get("simba", 0) for step in job.outputs()]
    assert shares == sorted(shares) and shares[-1] == 1 and any(0 < share < 1 for share in shares)


def test_one_model_by_name_with_several_takes(client, pipeline):
    right = pipeline.models["right"].origin.id
    found = client.predict("flute", 2.0, 7, 2, model=right, api_name="/generate")
    assert {clip["model"] for clip in found["clips"]} == {"transformer"}
    assert [clip["recipe"]["request"]["seed"] for clip in found["clips"]] == [7, 8]


def test_seeds_are_drawn_where_none_is_given(client):
    seeds = {client.predict("flute", 2.0, api_name="/generate")["seed"] for _ in range(2)}
    assert len(seeds) == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"prompt": "  "}, "prompt is empty"),
        ({"prompt": 5}, "prompt must be text, got int"),
        ({"prompt": "piano " * 300}, "at most 256"),
        ({"prompt": "x", "duration_s": 31.0}, "from 2 to 30, got 31"),
        ({"prompt": "x", "duration_s": 2.3}, "multiple of 0.5"),
        ({"prompt": "x", "duration_s": "y"}, "duration_s must be a number"),
        ({"prompt": "x", "seed": -1}, "seed must be a whole number"),
        ({"prompt": "x", "left": "nowhere"}, "'nowhere' not found"),
    ],
)
def test_bad_input_is_answered_with_a_sentence(url, given, said):
    ((event, found),) = events(url, "compare", given)
    assert event == "error" and said in found["error"]


@pytest.mark.parametrize(
    ("name", "body", "status", "said"),
    [
        ("v2/compare", {}, 422, "some are missing"),
        ("v2/compare", {"promt": "x"}, 422, "none called 'promt'"),
        ("v2/nope", {}, 404, "There is no endpoint 'nope'. Call one of: compare"),
        ("nope", {"data": []}, 404, "There is no endpoint 'nope'"),
    ],
)
def test_wrong_names_are_answered_with_a_sentence(url, name, body, status, said):
    found = post(f"{url}/gradio_api/call/{name}", body)
    assert found[0] == status and said in found[1]["error"]


def test_no_argument_at_all_is_a_sentence(url):
    ((event, found),) = events(url, "read", {"data": []}, version="")
    assert event == "error" and "needs its first argument" in found["error"]


def test_cancel_of_one_client_leaves_the_other(url):
    one, other = new_client(url), new_client(url)
    mine = one.submit("piano", duration_s=30, api_name="/generate")
    theirs = other.submit("flute", duration_s=10, seed=1, api_name="/generate")
    deadline = time.monotonic() + 60
    while not (mine.outputs() and theirs.outputs()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert mine.cancel()
    assert theirs.result()["progress"] == {"simba": 1.0}
    assert mine.outputs()[-1]["progress"]["simba"] < 1
    # Its place is free at once: two more run side by side.
    both = [client.submit("x", 2.0, 1, api_name="/generate") for client in (one, other)]
    assert all(job.result()["seed"] == 1 for job in both)


def test_a_prompt_is_read_as_the_command_does(client):
    found = client.predict("flute, 96 bpm, no drums, A minor, rap", api_name="/read")
    assert (found["tempo"], found["key"], found["denied"]) == (96, "A minor", ["drums"])
    assert found["cannot"] == ["vocals"] and found["drawn"] == {}
    with pytest.raises(Exception, match="seed must be"):
        client.predict("flute", "x", api_name="/read")


def test_the_models_are_those_of_the_page_and_the_bundled(client, pipeline):
    found = client.predict(api_name="/models")
    own = [model["name"] for model in found if model["default"]]
    assert own == [pipeline.models[side].origin.id for side in ("left", "right")]
    assert {"simba", "transformer"} <= {model["name"] for model in found}
    assert found[0]["kind"] == "SiMBA" and found[0]["longest_s"] == 30.0


def test_a_sound_is_scored_by_its_address_or_its_bytes(url, client):
    last = events(url, "generate", {"prompt": "calm piano", "duration_s": 2})[-1][1][0]
    (clip,) = last["clips"]
    with urllib.request.urlopen(clip["path"]["url"], timeout=60) as reply:
        data = base64.b64encode(reply.read()).decode()
    asked = [clip["path"]["url"], clip["path"]["path"], data, f"data:audio/wav;base64,{data}"]
    scores = [client.predict("calm piano", sound, api_name="/score") for sound in asked]
    assert all(score["cosine"] == scores[0]["cosine"] for score in scores)
    assert scores[0]["cosine"] == pytest.approx(clip["score"]["cosine"], abs=0.02)
    with pytest.raises(Exception, match="no base64, and no clip"):
        client.predict("calm piano", "/etc/passwd", api_name="/score")


def test_tools_for_language_models_are_there_where_the_extra_is(tmp_path, monkeypatch):
    import importlib.machinery
    import importlib.util

    from simba_music.ui.api import speaks_mcp

    (tmp_path / "folder" / "mcp").mkdir(parents=True)
    (tmp_path / "package" / "mcp").mkdir(parents=True)
    (tmp_path / "package" / "mcp" / "__init__.py").touch()
    for where, there in (("none", False), ("folder", False), ("package", True)):
        found = importlib.machinery.PathFinder.find_spec("mcp", [str(tmp_path / where)])
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, found=found: found)
        assert speaks_mcp() is there, where


def test_nothing_but_sound_is_scored(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    (tmp_path / "secret.wav").write_bytes(audio.wav_bytes(audio.fit(_tone(), 1.0)))
    text = base64.b64encode(b"no sound").decode()
    for sound, said in (
        (None, "must be the address"),
        (text, "audio: FFmpeg cannot read it"),
        (str(tmp_path / "cache" / ".." / "secret.wav"), "no base64"),
        ("/" + "a" * 5000, "no base64"),
        ("A" * 12_000_000, "larger than 8 MB"),
    ):
        with pytest.raises(RequestError, match=said):
            sounds.received(sound)


def _tone():
    import torch

    return audio.Waveform(torch.sin(torch.arange(24_000) / 10)[None] / 2, 24_000)


def shown(kind):
    """The one block of code of a kind in docs/api.md."""
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    (code,) = re.findall(rf"^```{kind}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return code


def test_curl_gives_two_playable_files(url, tmp_path):
    """The lines of docs/api.md as they stand there."""
    code = shown("bash").replace("http://127.0.0.1:7860", url)
    subprocess.run(["bash", "-euc", code], cwd=tmp_path, check=True, timeout=120)
    files = sorted(tmp_path.glob("*.wav"))
    assert len(files) == 2 and all(audio.read(file).duration_s == 4 for file in files)


def test_the_python_lines_run(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = shown("python").replace("http://127.0.0.1:7860", url)
    exec(compile(code, "docs/api.md", "exec"), {})
