"""Models in memory: shared, forgotten in order, switched by one user and kept by another."""

import threading
import time
from dataclasses import dataclass

import pytest
from hub_server import Fault, on

from simba_music.errors import CheckpointError
from simba_music.generation.clip import Clip
from simba_music.generation.loaded_models import KEPT, ModelCache, in_steps
from simba_music.generation.pipeline import Pipeline
from simba_music.hub.fetch import Downloading
from simba_music.publishing.push import push


@dataclass
class Fake:
    name: str
    size: int = 1


def test_the_least_recently_used_is_forgotten_first():
    cache = ModelCache(lambda name, report: Fake(name))
    for name in "abcd":
        cache.get(name, print)
    cache.get("a", print)
    cache.get("e", print)
    assert len(cache.names()) == KEPT and cache.names() == ["c", "d", "a", "e"]


def test_memory_limits_what_is_kept(monkeypatch):
    monkeypatch.setenv("SIMBA_MUSIC_MODEL_MEMORY_GB", "1")
    cache = ModelCache(lambda name, report: Fake(name, 600_000_000))
    first = cache.get("a", print)
    cache.get("b", print)
    assert cache.names() == ["b"]
    assert first.name == "a"  # whoever had it has it still
    huge = ModelCache(lambda name, report: Fake(name, 5_000_000_000))
    huge.get("a", print)
    assert huge.names() == ["a"]


@pytest.mark.fault("R13", "names of models that do not load are forgotten")
def test_names_that_do_not_load_are_forgotten():
    def load(name, report):
        raise CheckpointError("there is none")

    cache = ModelCache(load)
    for i in range(50):
        with pytest.raises(CheckpointError):
            cache.get(f"org/{i}", print)
    assert len(cache._loading) == 0 and cache.names() == []


@pytest.mark.fault("H3", "two who ask at once download once")
def test_two_users_who_ask_at_once_load_once():
    loaded = []

    def load(name, report):
        time.sleep(0.2)
        loaded.append(name)
        return Fake(name)

    cache = ModelCache(load)
    threads = [threading.Thread(target=cache.get, args=("a", print)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loaded == ["a"]


def test_a_failed_load_keeps_nothing_and_may_be_tried_again():
    answers = [CheckpointError("no"), Fake("a")]

    def load(name, report):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    cache = ModelCache(load)
    with pytest.raises(CheckpointError, match="no"):
        cache.get("a", print)
    assert cache.names() == [] and cache.get("a", print).name == "a"


def test_steps_are_yielded_and_the_result_comes_last():
    event = Downloading("org/name", 1, 2)

    def work(report):
        report(event)
        return "done"

    assert list(in_steps(work)) == [event, "done"]

    def fail(report):
        raise CheckpointError("broken")

    with pytest.raises(CheckpointError, match="broken"):
        list(in_steps(fail))


@pytest.mark.fault("H3", "leaving ends a download")
def test_leaving_ends_the_download():
    ended = threading.Event()

    def work(report):
        try:
            for done in range(10_000):
                report(Downloading("org/name", done, 10_000))
                time.sleep(0.01)
        finally:
            ended.set()

    steps = in_steps(work)
    next(steps)
    steps.close()
    assert ended.wait(5)


@pytest.mark.fault("H2", "a download that stands still is given up")
def test_a_download_that_stands_still_is_given_up(monkeypatch):
    monkeypatch.setattr("simba_music.generation.loaded_models.STALL_S", 0.2)

    def work(report):
        report(Downloading("org/name", 5_000_000, 9_000_000))
        time.sleep(3)

    steps = in_steps(work)
    next(steps)
    with pytest.raises(CheckpointError, match="stood still at 5 of 9 MB.*goes on where it was"):
        next(steps)


def test_one_users_switch_leaves_anothers_run_alone(hub, system, pipeline, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_writes")
    name = push(str(system / "transformer"), "tester/other")
    request = pipeline.validate(prompt="calm piano", duration_s=2.0)
    running = pipeline.generate(request, ("left",))
    next(running)
    steps = list(pipeline.switching(name, str(system / "simba")))
    switched = steps[-1]
    assert isinstance(switched, Pipeline) and isinstance(steps[0], Downloading)
    assert switched.models["left"].lm.config.backbone == "transformer"
    assert switched.models["right"] is pipeline.models["left"]
    clip = [e for e in running if isinstance(e, Clip)][0]
    assert clip.recipe.model.id == str(system / "simba")
    again = list(switched.switching(name, name))
    assert len(again) == 1 and again[0].models["right"] is switched.models["left"]
    (ours,) = [e for e in switched.generate(request, ("left",)) if isinstance(e, Clip)]
    assert ours.recipe.model.revision == name.partition("@")[2]


def test_a_bad_name_leaves_the_pipeline_as_it_is(hub, pipeline):
    hub.faults.append(on("/api/models/org/none", Fault(404, "RepoNotFound")))
    before = dict(pipeline.models)
    with pytest.raises(CheckpointError, match="org/none was not found on"):
        list(pipeline.switching("org/none", "simba"))
    assert pipeline.models == before
