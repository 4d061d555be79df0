"""Which engine decodes, and what happens where one cannot be had."""

import json

import pytest
import torch
from conftest import lm_config, random_lm

from simba_music.errors import EngineError, RequestError
from simba_music.generation.clip import Clip
from simba_music.generation.engines import building, choice
from simba_music.generation.engines.choice import EngineChoice, Engines, now
from simba_music.generation.engines.reference import ReferenceEngine
from simba_music.generation.engines.self_check import problem_of
from simba_music.generation.pipeline import Pipeline
from simba_music.generation.recipe import engine_choice, read_recipe


@pytest.fixture
def lm():
    return random_lm(lm_config("simba"))


@pytest.fixture
def absent(monkeypatch):
    """Kernels that cannot be had, for the reason that is set; each test has its own."""
    monkeypatch.setattr(choice, "kernels", lambda dtype: made)
    made = building.Building("float32")
    return made


class Wrong(ReferenceEngine):
    """An engine with one logit that is off."""

    name = "wrong"

    def logits(self, state, tokens, plane):
        found = super().logits(state, tokens, plane).clone()
        found[0, 0, 0, 0] += 0.01 * found.abs().max()
        return found


class Slow(ReferenceEngine):
    """An engine that takes three times as long."""

    def decode_n(self, *arguments):
        for _ in range(2):
            super().decode_n(*arguments)
        return super().decode_n(*arguments)


def test_the_self_check_finds_wrong_values_and_a_slow_engine(lm):
    assert "differ" in problem_of(Wrong(lm), lm)
    assert "times as long" in problem_of(Slow(lm), lm)


def test_without_numba_auto_takes_the_next_engine_and_says_so(lm, absent, monkeypatch, caplog):
    monkeypatch.setattr(building, "numba_there", lambda: False)
    with pytest.raises(EngineError, match="numba is missing"):
        absent.wait()
    assert "numba is missing" in caplog.text
    assert now([Engines(lm)], EngineChoice()) in ("packed", "reference")


def test_without_avx2_auto_takes_the_next_engine_and_says_so(lm, absent, monkeypatch, caplog):
    monkeypatch.setattr(building, "vectors", lambda: False)
    with pytest.raises(EngineError, match="no AVX2"):
        absent.wait()
    assert "no AVX2" in caplog.text
    assert now([Engines(lm)], EngineChoice()) in ("packed", "reference")
    with pytest.raises(EngineError, match="no AVX2.*--engine auto"):
        now([Engines(lm)], EngineChoice("compiled"))


def test_a_failed_compilation_is_said_and_not_tried_again(
    lm, absent, monkeypatch, caplog, tmp_path
):
    monkeypatch.setenv("SIMBA_MUSIC_DATA", str(tmp_path))
    monkeypatch.setattr(building, "_BUILD", "simba_music.no_such_module")
    with pytest.raises(EngineError, match="could not be compiled"):
        absent.wait()
    assert "No module named" in caplog.text
    assert now([Engines(lm)], EngineChoice()) in ("packed", "reference")


def test_while_kernels_are_compiled_auto_does_not_wait(lm, absent):
    absent._problem = "its kernels are still being compiled"
    assert now([Engines(lm)], EngineChoice()) in ("packed", "reference")


def test_fewer_bits_are_never_replaced_by_another_engine(lm, absent, monkeypatch):
    monkeypatch.setattr(building, "numba_there", lambda: False)
    with pytest.raises(EngineError, match="--weights float32"):
        now([Engines(lm)], EngineChoice("auto", "int8"))
    with pytest.raises(EngineError, match="float32 weights only"):
        EngineChoice("reference", "int8")


def test_one_model_that_cannot_have_an_engine_decides_for_both(lm, monkeypatch):
    other = random_lm(lm_config("transformer"))
    monkeypatch.setattr(choice, "problem_of", lambda engine, lm: "bad" if lm is other else "")
    first, second = Engines(lm), Engines(other)
    assert now([first], EngineChoice()) == "packed"
    assert now([first, second], EngineChoice()) == "reference"


def test_the_recipe_names_the_engine_and_both_sides_have_the_same(system):
    paths = (str(system / "simba"), str(system / "transformer"))
    pipeline = Pipeline.load(*paths, None, "cpu", choice=EngineChoice("reference"))
    request = pipeline.validate(prompt="x", duration_s=2.0, seed=1)
    recipes = [e.recipe for e in pipeline.generate(request) if isinstance(e, Clip)]
    assert [(r.engine, r.dtype) for r in recipes] == [("reference", "float32")] * 2
    assert engine_choice(recipes[0]) == EngineChoice("reference")


def test_a_recipe_of_an_engine_that_is_gone_says_so(system):
    pipeline = Pipeline.load(str(system / "simba"), str(system / "simba"), None, "cpu")
    request = pipeline.validate(prompt="x", duration_s=2.0, seed=1)
    clip = next(e for e in pipeline.generate(request, ("left",)) if isinstance(e, Clip))
    raw = json.loads(json.dumps(clip.recipe.as_json())) | {"engine": "quantum"}
    with pytest.raises(EngineError, match=r"quantum \(float32\), which this version does not"):
        engine_choice(read_recipe(raw))


def test_a_replayed_recipe_is_the_same_clip(system, tmp_path):
    from simba_music.cli import clip_files, replay

    pipeline = Pipeline.load(str(system / "simba"), str(system / "transformer"), None, "cpu")
    clip_files.generate_one(pipeline, "slow piano", {"duration_s": 2.0}, "both", tmp_path / "a")
    replay.replay(tmp_path / "a" / "recipe.json", out=tmp_path / "b")
    for name in ("simba.wav", "transformer.wav"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    replay.replay(tmp_path / "a" / "simba.wav", out=tmp_path / "c")  # which carries its recipe
    alone = (tmp_path / "c" / "simba.wav").read_bytes()
    assert alone == (tmp_path / "a" / "simba.wav").read_bytes()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"clips": []}, "has no clips"),
        ({"clips": {"../x.wav": None}}, "has no clips"),
        ({"clips": {"x.wav": {}}}, "no recipe of a clip"),
    ],
)
def test_what_is_no_recipe_file_is_refused(change, problem, tmp_path):
    from simba_music.cli.replay import replay

    (tmp_path / "recipe.json").write_text(json.dumps(change))
    with pytest.raises(RequestError, match=problem):
        replay(tmp_path / "recipe.json", out=tmp_path / "out")


def test_a_replay_with_other_weights_is_refused(system, tmp_path):
    from simba_music.cli import clip_files, replay

    pipeline = Pipeline.load(str(system / "simba"), str(system / "simba"), None, "cpu")
    clip_files.generate_one(pipeline, "x", {"duration_s": 2.0}, "left", tmp_path)
    text = (tmp_path / "recipe.json").read_text()
    digest = pipeline.models["left"].origin.sha256
    (tmp_path / "recipe.json").write_text(text.replace(digest, "0" * 64))
    with pytest.raises(RequestError, match="other weights now"):
        replay.replay(tmp_path / "recipe.json", out=tmp_path / "out")


def test_engines_of_the_cpu_are_not_offered_elsewhere(lm):
    meta = Engines(lm.to("meta"))
    assert "runs on the CPU" in meta.problem("packed", "float32")
    assert torch.device("meta").type in meta.problem("packed", "float32")
