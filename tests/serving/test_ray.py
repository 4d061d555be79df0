"""Ray Serve: runs on replicas stream, are cancelled, stopped, moved and queued; models change."""

import json
import os
import shutil
import signal
import socket
import threading
import time
import urllib.request
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from conftest import lm_config, random_lm

from simba_music.errors import CheckpointError, RequestError
from simba_music.files import sha256
from simba_music.generation.clip import AudioChunk, Clip, Progress, Queued
from simba_music.generation.engines.choice import EngineChoice
from simba_music.generation.pipeline import Pipeline
from simba_music.models.checkpoint import save_language_model
from simba_music.settings.process import prepare_ray

# Ray warns of how it uses pydantic, and of more as it comes and goes; none of it is ours.
pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("default"),
]
LONG_S = 30.0  # of a clip that is still being made when something happens to it


@pytest.fixture(scope="module")
def folder(tmp_path_factory, system):
    """Checkpoints of our own, as one of them is changed."""
    copied = tmp_path_factory.mktemp("served") / "checkpoints"
    shutil.copytree(system, copied)
    return copied


@pytest.fixture(scope="module")
def served(tmp_path_factory, folder):
    """Two replicas with two places each, and two more runs that may wait."""
    environment = pytest.MonkeyPatch()
    environment.setenv("SIMBA_MUSIC_DATA", str(tmp_path_factory.mktemp("data")))
    prepare_ray("0123456789abcdef" * 4)
    from simba_music.serving.ray import cluster
    from simba_music.serving.ray.page import described
    from simba_music.serving.ray.plan import Plan
    from simba_music.serving.ray.service import Replicas

    names = [str(folder / name) for name in ("simba", "transformer", "clap")]
    choice = EngineChoice("reference", slots=2)
    plan = Plan(*names, "cpu", choice=choice, least=2, most=2, cpus=0.1, waiting=2)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with cluster.joined(cores=4):
        cluster.begin("127.0.0.1", port)
        handle = cluster.put_models(plan)
        replicas = Replicas(handle, "reference")
        service = replicas.of(described(plan.left, plan.right, choice))
        yield SimpleNamespace(cluster=cluster, plan=plan, port=port, handle=handle, service=service)
    environment.undo()


def states(served):
    """(process, runs in progress) of every replica."""
    return served.handle.broadcast("state").results(timeout_s=20)


def until(condition, within_s):
    """How long it took until something was so, in s."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within_s, "it never was"
        time.sleep(0.02)
    return time.monotonic() - began


def idle(served):
    return all(runs == 0 for _, runs in states(served))


def clips_of(events):
    return {(event.side, event.take): event for event in events if isinstance(event, Clip)}


def begun(served, seed=1, **changes):
    """A long run, once it has made something."""
    raw = {"prompt": "calm piano", "duration_s": LONG_S, "seed": seed} | changes
    events = served.service.generate(served.service.validate(**raw), stream=True)
    seen = [next(events) for _ in range(4)]
    return events, seen


def test_a_run_streams_the_tokens_that_it_has_here(served, pipeline):
    request = served.service.validate(prompt="calm piano", duration_s=3, seed=3, takes=2)
    found = list(served.service.generate(request, stream=True))
    wanted = clips_of(pipeline.generate(request))
    clips = clips_of(found)
    assert clips.keys() == wanted.keys() and len(wanted) == 4
    for key, clip in clips.items():
        assert torch.equal(clip.codes, wanted[key].codes)
        assert torch.equal(clip.waveform.samples, wanted[key].waveform.samples)
        assert clip.score.cosine == pytest.approx(wanted[key].score.cosine, abs=2e-4)
    first = next(i for i, event in enumerate(found) if isinstance(event, Clip))
    assert sum(isinstance(event, AudioChunk) for event in found[:first]) > 2
    assert any(isinstance(event, Progress) for event in found[:first])


def test_a_batch_has_the_tokens_that_it_has_here(served, pipeline):
    requests = [
        served.service.validate(prompt=prompt, duration_s=2, seed=seed)
        for seed, prompt in enumerate(("calm piano", "loud drums, fast"))
    ]
    found = served.service.generate_batch(requests, "right")
    for clip, wanted in zip(found, pipeline.generate_batch(requests, "right"), strict=True):
        assert torch.equal(clip.codes, wanted.codes)


def test_what_a_replica_refuses_is_its_sentence(served):
    own = served.service.chosen
    left = own.models["left"]
    missing = replace(left, origin=replace(left.origin, id="no-such-model"))
    chosen = Pipeline(own.models | {"left": missing}, None, choice=own.choice)
    request = served.service.validate(prompt="calm piano", duration_s=2)
    with pytest.raises(CheckpointError, match="no-such-model"):
        list(served.service.replicas.of(chosen).generate(request))


def test_closing_a_run_reaches_its_replica_within_a_second(served):
    events, _ = begun(served)
    assert sum(runs for _, runs in states(served)) == 1
    events.close()
    assert until(lambda: idle(served), 10) < 1.0


def test_a_stopped_run_gives_its_clips_as_they_are(served):
    stop = threading.Event()
    request = served.service.validate(prompt="calm piano", duration_s=LONG_S, takes=2)
    found = []
    for event in served.service.generate(request, should_stop=stop.is_set):
        found.append(event)
        if isinstance(event, Progress) and event.frames > 50:
            stop.set()
    clips = clips_of(found)
    assert clips and all(clip.stopped_early for clip in clips.values())
    assert {take for _, take in clips} == {0}
    until(lambda: idle(served), 5)


def test_a_full_replica_is_stopped_others_wait_in_their_order_and_the_last_is_refused(served):
    stop, request = threading.Event(), served.service.validate(prompt="calm piano", duration_s=2)
    long = served.service.validate(prompt="calm piano", duration_s=LONG_S)
    first = served.service.generate(long, should_stop=stop.is_set)
    next(first)
    running = [begun(served, seed)[0] for seed in range(3)]
    waiting = []
    try:
        for place in (1, 2):
            waiting.append(served.service.generate(request))
            assert next(waiting[-1]) == Queued(place)
        with pytest.raises(RequestError, match="2 others wait already"):
            next(served.service.generate(request))
        stop.set()
        assert all(clip.stopped_early for clip in clips_of(first).values())
        for events in running:
            events.close()
        for events in waiting:
            assert len(clips_of(events)) == 2
    finally:
        for events in (first, *running, *waiting):
            events.close()
    until(lambda: idle(served), 5)


def test_a_run_goes_on_when_its_replica_is_killed(served, pipeline):
    events, found = begun(served, duration_s=12.0, seed=9)
    ((process, _),) = [state for state in states(served) if state[1]]
    os.kill(process, signal.SIGKILL)
    found += events
    request = found[-1].recipe.request
    wanted = clips_of(pipeline.generate(request))
    clips = clips_of(found)
    assert clips.keys() == wanted.keys()
    for side in ("left", "right"):
        assert torch.equal(clips[side, 0].codes, wanted[side, 0].codes)
        chunks = [e for e in found if isinstance(e, AudioChunk) and e.side == side]
        assert [chunk.seq for chunk in chunks] == list(range(len(chunks)))
        ends = [c.start_sample + c.waveform.samples.shape[-1] for c in chunks]
        assert [c.start_sample for c in chunks] == [0, *ends[:-1]] and chunks[-1].last
        frames = [e.frames for e in found if isinstance(e, Progress) and e.side == side]
        assert frames == sorted(set(frames))


def answer(served, path, data=None):
    body = None if data is None else json.dumps(data).encode()
    url = f"http://127.0.0.1:{served.port}{path}"
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as found:
        return found.read().decode(), found.headers


def test_the_page_is_served_whole_and_generates_on_the_replicas(served):
    served.cluster.put_page(served.plan, "127.0.0.1")
    page, headers = answer(served, "/")
    assert "frame-ancestors" in headers["content-security-policy"] and "--sm-" in page
    health = json.loads(answer(served, "/healthz")[0])
    assert health["healthy"], health
    job = answer(served, "/gradio_api/call/compare", {"data": ["calm piano", 2, 5]})[0]
    stream = answer(served, f"/gradio_api/call/compare/{json.loads(job)['event_id']}")[0]
    event, data = stream.strip().split("\n")[-2:]
    assert event == "event: complete", stream[-500:]
    result = json.loads(data.removeprefix("data: "))[0]
    assert [clip["model"] for clip in result["clips"]] == ["simba", "transformer"]


def test_no_run_fails_while_a_checkpoint_is_updated(served, folder):
    before = sha256(folder / "simba" / "model.safetensors")
    ended, clips, errors = threading.Event(), [], []

    def visit():
        while not ended.is_set():
            request = served.service.validate(prompt="calm piano", duration_s=2)
            try:
                clips.extend(clips_of(served.service.generate(request)).values())
            except Exception as error:
                errors.append(error)

    visitor = threading.Thread(target=visit)
    visitor.start()
    until(lambda: clips or errors, 30)
    codec = lm_config("simba").codec.model_dump()
    codec |= {"sha256": sha256(folder / "codec" / "model.safetensors")}
    save_language_model(folder / "new", random_lm(lm_config("simba", codec=codec), seed=7))
    for file in (folder / "new").iterdir():
        file.replace(folder / "simba" / file.name)
    after = sha256(folder / "simba" / "model.safetensors")
    served.cluster.put(served.plan, "127.0.0.1", served.port)
    made = len(clips)
    until(lambda: errors or len(clips) >= made + 4, 60)
    ended.set()
    visitor.join()
    assert errors == [] and before != after
    used = [clip.recipe.model.sha256 for clip in clips if clip.side == "left"]
    assert used[0] == before and used[-1] == after
    models = json.loads(answer(served, "/gradio_api/call/models", {"data": []})[0])
    stream = answer(served, f"/gradio_api/call/models/{models['event_id']}")[0]
    assert after in stream and before not in stream  # the page has read it again
