import json

import pytest
import torch
from conftest import CODES

from simba_music.conditioning.request import Request
from simba_music.errors import CheckpointError, RequestError
from simba_music.generation.clip import Clip, Progress
from simba_music.generation.loaded_models import LoadedModel, usable_device
from simba_music.generation.pipeline import Pipeline
from simba_music.generation.recipe import read_recipe, recipe_of
from simba_music.generation.service import generate_pairs

SETTINGS = {"prompt": "calm piano", "duration_s": 2.5, "seed": 7}


def clips(pipeline, should_stop=lambda: False, sides=("left", "right"), **changes):
    request = pipeline.validate(sides, **(SETTINGS | changes))
    made = [e for e in pipeline.generate(request, sides, should_stop) if isinstance(e, Clip)]
    return sorted(made, key=lambda clip: sides.index(clip.side))


def test_both_sides_get_a_clip_of_exactly_the_asked_length(pipeline):
    left, right = clips(pipeline)
    assert (left.side, left.name, right.side, right.name) == (
        "left",
        "simba",
        "right",
        "transformer",
    )
    for clip in (left, right):
        assert clip.waveform.samples.shape == (1, 60_000) and clip.codes.shape == (1, 125)
        assert int(clip.codes.max()) < CODES and not clip.stopped_early
    assert not torch.equal(left.codes, right.codes)


def test_same_seed_same_tokens_and_samples(pipeline):
    for first, second in zip(clips(pipeline), clips(pipeline), strict=True):
        assert torch.equal(first.codes, second.codes)
        assert torch.equal(first.waveform.samples, second.waveform.samples)


def test_another_seed_gives_other_tokens(pipeline):
    for first, second in zip(clips(pipeline), clips(pipeline, seed=8), strict=True):
        assert not torch.equal(first.codes, second.codes)


def test_take_i_is_seed_plus_i(pipeline):
    takes = clips(pipeline, sides=("left",), takes=2)
    assert [c.recipe.request.seed for c in takes] == [7, 8]
    assert torch.equal(takes[1].codes, clips(pipeline, sides=("left",), seed=8)[0].codes)


@pytest.mark.parametrize(
    "changes", [{"guidance": 1.0}, {"negative": "drums"}, {"temperature": 0.0}, {"prompt": "loud"}]
)
def test_settings_change_the_tokens(pipeline, changes):
    assert not torch.equal(clips(pipeline)[0].codes, clips(pipeline, **changes)[0].codes)


@pytest.mark.fault("G1", "a stop keeps what was made")
def test_stopping_keeps_what_was_made(pipeline):
    calls = iter(range(10_000))  # one before the take, then one a block of ten frames
    kept = clips(pipeline, lambda: next(calls) >= 6, ("left",), takes=2)
    assert len(kept) == 1 and kept[0].stopped_early
    assert kept[0].codes.shape[1] == 60
    assert kept[0].waveform.duration_s == pytest.approx(1.2)
    whole = clips(pipeline, sides=("left",))[0]
    assert torch.equal(whole.codes[:, :60], kept[0].codes)


def test_progress_counts_up_to_the_whole(pipeline):
    request = pipeline.validate(**SETTINGS)
    seen = [e for e in pipeline.generate(request, ("left",)) if isinstance(e, Progress)]
    assert [e.frames for e in seen] == sorted({e.frames for e in seen})
    assert seen[0].frames == 10 and seen[-1].frames == seen[-1].total_frames == 125


def test_a_batch_gives_each_request_its_own_clip(pipeline):
    prompts = [("calm piano", 2.5, 7), ("loud drums with a long description", 2.0, 8)]
    requests = [pipeline.validate(prompt=p, duration_s=d, seed=s) for p, d, s in prompts]
    for side in ("left", "right"):
        batch = pipeline.generate_batch(requests, side)
        for request, clip in zip(requests, batch, strict=True):
            alone = list(pipeline.generate(request, (side,)))[-1]
            assert clip.waveform.duration_s == request.duration_s
            assert (clip.codes == alone.codes).float().mean() > 0.9


def test_the_recipe_says_what_made_the_clip(pipeline):
    clip = clips(pipeline)[0]
    recipe = clip.recipe
    assert recipe.request.as_dict() == {
        "prompt": "calm piano",
        "duration_s": 2.5,
        "seed": 7,
        "takes": 1,
        "temperature": 1.0,
        "top_k": 100,
        "top_p": 1.0,
        "guidance": 4.5,
        "negative": "",
        "draw": True,
        "grown_s": [],
        "subseed": 0,
    }
    assert len(recipe.model.sha256) == 64 and recipe.licence == "Apache-2.0"
    assert recipe.engine == "reference" and recipe.device == "cpu" and recipe.dtype == "float32"
    assert recipe.scorer.scorer == "random scorer of the tests"
    assert -1 <= recipe.scorer.cosine <= 1 and 0 <= recipe.scorer.percentile <= 100


def test_either_side_can_hold_either_model(pipeline, system):
    twice = pipeline.with_models(str(system / "transformer"), str(system / "transformer"))
    assert twice.names() == {"left": "transformer-left", "right": "transformer-right"}
    left, right = clips(twice)
    assert torch.equal(left.codes, right.codes)
    assert twice.models["left"] is pipeline.models["right"]


def test_a_bad_checkpoint_leaves_the_pipeline_as_it_was(pipeline):
    before = dict(pipeline.models)
    with pytest.raises(CheckpointError, match="not found"):
        pipeline.with_models("nowhere", "nothing")
    assert pipeline.models == before


def test_models_are_chosen_by_side_or_name(pipeline):
    assert pipeline.choose("both") == ("left", "right")
    assert pipeline.choose("transformer") == pipeline.choose("right") == ("right",)
    with pytest.raises(RequestError, match="Unknown model 'gpt'. Choose one of: left, right"):
        pipeline.choose("gpt")


@pytest.mark.fault("P2", "more text tokens than are read")
def test_a_prompt_beyond_256_text_tokens_is_refused(pipeline):
    with pytest.raises(RequestError, match="text tokens; at most 256"):
        pipeline.validate(prompt="piano " * 300)


def test_a_silent_or_short_clip_is_not_scored(pipeline):
    from simba_music.audio import Waveform

    scorer = pipeline.scorer
    silent = scorer.score(Waveform(torch.zeros(1, 48_000), 24_000), "calm")
    short = scorer.score(Waveform(torch.randn(1, 12_000), 24_000), "calm")
    assert (silent.cosine, silent.reason) == (None, "silent")
    assert (short.cosine, short.reason) == (None, "shorter than 1 s")


def test_one_slot_loads_whole(system):
    side = LoadedModel.load(str(system / "simba"))
    assert side.origin.name == "simba" and side.codec.frame_rate == 50
    alone = Pipeline({"left": side, "right": side}, None)
    assert clips(alone, sides=("left",))[0].score is None


@pytest.mark.fault("G2", "two at once get what each would alone")
def test_two_users_at_once_get_what_each_would_alone(pipeline):
    from concurrent.futures import ThreadPoolExecutor

    seeds = [7, 8, 9, 10]
    alone = [clips(pipeline, seed=s, sides=("left",))[0].codes for s in seeds]
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(clips, pipeline, seed=s, sides=("left",)) for s in seeds]
        together = [job.result()[0].codes for job in jobs]
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_pairs_come_in_the_order_of_their_requests_however_they_are_batched(pipeline):
    requests = [pipeline.validate(prompt="piano", duration_s=2.0, seed=s) for s in (3, 1, 2)]
    found = list(generate_pairs(pipeline, requests, batch=2))
    assert [pair["left"].recipe.request.seed for pair in found] == [3, 1, 2]
    assert all(set(pair) == {"left", "right"} for pair in found)


def test_a_recipe_is_read_back_and_one_of_0_1_too(pipeline):
    recipe = clips(pipeline)[0].recipe
    assert read_recipe(json.loads(json.dumps(recipe.as_json()))) == recipe
    old = recipe.as_json() | {"schema": 1, "tempo": 96.0, "key": "E minor", "line_up": ["piano"]}
    del old["conditions"], old["versions"]
    found = read_recipe(old).conditions
    assert {name: one.value for name, one in found.items()} == {
        "beat": "96 beats a minute",
        "key": "E minor",
        "line_up": "piano",
    }
    assert (found["key"].guided, found["key"].unguided) == (1.5, 0.5)
    for bad in ({"schema": 3}, [], recipe.as_json() | {"extra": 1}):
        with pytest.raises(RequestError, match="no recipe of a clip"):
            read_recipe(bad)


def test_a_silent_clip_has_a_recipe_without_a_level(pipeline):
    model = pipeline.models["left"]
    recipe = recipe_of(
        model,
        model.engines.get("reference", "float32"),
        Request("x"),
        None,
        "cpu",
        float("-inf"),
        0.0,
    )
    assert recipe.loudness_lufs is None and read_recipe(recipe.as_json()) == recipe


@pytest.mark.parametrize("device", ["cuda", "cuda:7"])
def test_a_device_that_is_not_there_is_refused(device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RequestError, match="no device 'cuda.*Use --device auto or cpu"):
        usable_device(device)
    assert usable_device("auto") in ("cpu", "mps") and usable_device("cpu") == "cpu"
