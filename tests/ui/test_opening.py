"""The page before its models are loaded: what it needs and says, and what those who wait get."""

import os
import shutil
import socket
import subprocess
import sys

import pytest
from conftest import APP

from simba_music.errors import CheckpointError
from simba_music.files import read_json, write_json
from simba_music.generation.pipeline import Pipeline
from simba_music.ui.create.handlers import Handlers
from simba_music.ui.look.words import say
from simba_music.ui.opening import Opening, sides_before_loading, sides_of

HEAVY = ("torch", "transformers", "scipy", "sqlalchemy", "alembic", "statsmodels", "numba")
SPY = """
import os, sys
from simba_music.__main__ import main

class Spy:
    def find_spec(self, name, path=None, target=None):
        if name in ("gradio", "torch"):
            print("importing", name, flush=True)
            os._exit(0)

sys.meta_path.insert(0, Spy())
main(["app"])
"""
LAID_OUT = f"""
import sys
from simba_music.ui.app import build
from simba_music.ui.opening import Opening, sides_before_loading

build(Opening(sides_before_loading(*sys.argv[1:])))
print([name for name in {HEAVY} if name in sys.modules])
"""


def names(system):
    return [str(system / name) for name in ("simba", "transformer", "clap")]


@pytest.fixture
def opening(pipeline, tmp_path, monkeypatch):
    monkeypatch.setenv("SIMBA_MUSIC_DATA", str(tmp_path / "data"))
    found = Opening(sides_of(pipeline))
    yield found
    if found.test.done():
        found.test.result().database.close()


def python(*words):
    return subprocess.run(
        [sys.executable, *words], cwd=APP.parent, capture_output=True, text=True, timeout=300
    )


def test_the_first_line_comes_before_anything_heavy_is_imported():
    assert python("-c", SPY).stdout.splitlines() == [
        "Starting SiMBA Music ...",
        "importing gradio",
    ]


def test_the_page_is_laid_out_without_torch_and_the_database(system):
    done = python("-c", LAID_OUT, *names(system))
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_what_the_page_says_before_loading_is_what_it_says_after(pipeline, system):
    assert sides_before_loading(*names(system)) == sides_of(pipeline)


def test_models_that_cannot_be_read_at_once_are_loaded_first(system, tmp_path, monkeypatch):
    left, right, scorer = names(system)
    assert sides_before_loading(left, right, "none") is not None
    assert sides_before_loading("nowhere", right, scorer) is None
    assert sides_before_loading(left, "org/name@main", scorer) is None
    assert sides_before_loading(left, right, "laion/clap-htsat-unfused") is None
    shutil.copytree(left, tmp_path / "no-weights")
    (tmp_path / "no-weights" / "model.safetensors").unlink()
    assert sides_before_loading(str(tmp_path / "no-weights"), right, scorer) is None
    shutil.copytree(left, tmp_path / "odd")
    config = read_json(tmp_path / "odd" / "config.json")
    for change in ({"backbone": "<b>"}, {"max_trained_s": None}, {"codec": []}):
        write_json(tmp_path / "odd" / "config.json", config | change)
        assert sides_before_loading(str(tmp_path / "odd"), right, scorer) is None
    monkeypatch.setenv("SPACE_ID", "org/name")  # whose GPU process sees what was loaded before
    assert sides_before_loading(left, right, scorer) is None


RUN = "ab" * 16
LOADING = say("create", "loading")


def run(opening):
    left, right = (side.source for side in opening.sides.values())
    data = {"run": RUN, "prompt": "calm piano", "left": left, "right": right}
    data["settings"] = {"duration_s": 2.0, "seed": 5}
    return Handlers(opening, lambda path: path).play(data)


def test_a_run_says_that_models_are_loading_and_goes_on_when_they_are(opening, pipeline):
    steps = run(opening)
    for _ in range(2):
        assert next(steps) == {"run": RUN, "note": LOADING}
    opening.fill(lambda: pipeline)
    found = list(steps)
    assert not any(message.get("note") == LOADING for message in found)
    assert any("started" in message for message in found) and "ended" in found[-1]


def test_a_run_may_be_stopped_while_it_waits(opening):
    steps = run(opening)
    next(steps)
    opening.stops.request(RUN)
    assert "Stopped before" in next(steps)["error"]


def test_what_fails_while_loading_reaches_those_who_wait(opening):
    def fail() -> Pipeline:
        raise CheckpointError("these weights are damaged")

    steps = run(opening)
    next(steps)
    with pytest.raises(CheckpointError, match="are damaged"):
        opening.fill(fail)
    assert "are damaged" in next(steps)["error"]
    for part in (opening.maker, opening.example):
        with pytest.raises(CheckpointError, match="are damaged"):
            part.result()


def test_damaged_weights_close_the_page_and_exit_with_2(system, tmp_path):
    left, right, scorer = names(system)
    shutil.copytree(left, tmp_path / "simba")
    (tmp_path / "simba" / "model.safetensors").write_bytes(b"no weights")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    sides = ["--left", str(tmp_path / "simba"), "--right", right, "--scorer", scorer]
    done = subprocess.run(
        [sys.executable, APP, "--port", port, *sides],
        cwd=APP.parent,
        env=os.environ | {"SIMBA_MUSIC_DATA": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2 and f":{port}" in done.stdout  # it was served until then
    assert "simba-music: " in done.stderr and "not a valid safetensors file" in done.stderr
    assert "Traceback" not in done.stderr


def test_one_text_encoder_serves_both_sides_and_the_scorer(pipeline):
    left, right = (model.encoder for model in pipeline.models.values())
    assert left is right is pipeline.scorer.encoder


def test_a_warm_pipeline_embeds_no_mismatched_prompts_again(system, monkeypatch):
    warm = Pipeline.load(*names(system), "cpu")
    embedded = []
    real = warm.scorer.embed_prompts

    def count(prompts):
        embedded.append(len(prompts))
        return real(prompts)

    monkeypatch.setattr(warm.scorer, "embed_prompts", count)
    warm.warm_up()
    assert 4 in embedded  # the mismatched prompts of the tests' scorer
    embedded.clear()
    request = warm.validate(prompt="calm piano", duration_s=2)
    assert [event for event in warm.generate(request)] and set(embedded) == {1}
