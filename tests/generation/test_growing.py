"""A clip that goes on: from its own codes, the same again from the request alone, on any engine."""

import json
from dataclasses import replace

import pytest
import torch

from simba_music.errors import RequestError
from simba_music.generation.clip import Clip
from simba_music.generation.comparison import Comparison, Started
from simba_music.generation.decoding import BLOCK, generate
from simba_music.generation.engines.choice import engine_of
from simba_music.generation.recipe import read_recipe
from simba_music.generation.stops import Stops
from simba_music.generation.streaming import growing
from simba_music.models.lm import MusicLM


def clip_of(pipeline, **raw):
    request = pipeline.validate(**({"prompt": "calm piano", "duration_s": 2.0, "seed": 3} | raw))
    return [e for e in pipeline.generate(request, ("left",)) if isinstance(e, Clip)][-1]


def test_a_continued_clip_begins_with_the_codes_of_the_clip_before(pipeline):
    short = clip_of(pipeline)
    longer = clip_of(pipeline, duration_s=4.0, grown_s=[2.0])
    rate = pipeline.models["left"].lm.config.codec.frame_rate
    # all but its ending, which is half of so short a clip
    same = short.codes.shape[-1] // 2 // BLOCK * BLOCK
    assert longer.codes.shape[-1] == 4 * rate and longer.waveform.duration_s == 4.0
    assert torch.equal(longer.codes[:, :same], short.codes[:, :same])
    assert not torch.equal(longer.codes[:, : 2 * rate], short.codes)
    # without them it is another clip, as its length is another
    assert not torch.equal(clip_of(pipeline, duration_s=4.0).codes[:, :same], short.codes[:, :same])


def test_a_clip_goes_on_from_before_its_ending(pipeline):
    rate = pipeline.models["left"].lm.config.codec.frame_rate
    before = clip_of(pipeline, duration_s=6.0).codes
    after = clip_of(pipeline, duration_s=8.0, grown_s=[6.0]).codes
    kept = round((6.0 - growing.ENDING_S) * rate)
    assert torch.equal(after[:, :kept], before[:, :kept])
    assert not torch.equal(after[:, kept : 6 * rate], before[:, kept:])


def test_it_is_made_again_from_its_recipe_alone(pipeline, monkeypatch):
    clip_of(pipeline)
    made = clip_of(pipeline, duration_s=6.0, grown_s=[2.0, 4.0])
    monkeypatch.setattr(growing, "_made", growing._Made())  # as on another day
    request = read_recipe(json.loads(json.dumps(made.recipe.as_json()))).request
    assert request.grown_s == (2.0, 4.0)
    again = list(pipeline.generate(request, ("left",)))[-1]
    assert torch.equal(again.codes, made.codes)


@pytest.mark.parametrize("name", ["reference", "packed"])
@pytest.mark.parametrize("sampling", [{}, {"guidance": 1.0}, {"top_p": 0.9}, {"temperature": 0.0}])
def test_any_code_can_be_led_to_whatever_the_sampling(pipeline, name, sampling):
    """Codes that the model would never draw."""
    model = pipeline.models["left"]
    codes = torch.randint(0, 64, (1, 1, 40), generator=torch.Generator().manual_seed(1))
    request = replace(pipeline.validate(prompt="x", duration_s=2.0), **sampling)
    engine = engine_of(model.lm, name)
    found = torch.cat(
        list(generate(engine, model.lm.config, model.encoder, [request], codes)), dim=-1
    )
    assert torch.equal(found[..., :40], codes) and found.shape[-1] == 100


def test_several_codebooks_go_on_too(pipeline):
    from conftest import lm_config, random_lm

    model = pipeline.models["left"]
    for order, lost in (("delay", 3), ("flat", 0)):
        lm: MusicLM = random_lm(lm_config("simba", n_codebooks=4, codebook_pattern=order))
        codes = torch.randint(0, 64, (1, 4, 40), generator=torch.Generator().manual_seed(1))
        request = pipeline.validate(prompt="x", duration_s=2.0)
        blocks = generate(engine_of(lm, "reference"), lm.config, model.encoder, [request], codes)
        found = torch.cat(list(blocks), dim=-1)
        assert found.shape[-1] == 100
        assert torch.equal(found[..., : 40 - lost], codes[..., : 40 - lost])


@pytest.mark.parametrize("bad", [[4.0], [3.0, 2.5], [1.0], [2.25], "2", [None]])
def test_lengths_that_do_not_grow_are_refused(pipeline, bad):
    with pytest.raises(RequestError, match="grown_s"):
        pipeline.validate(prompt="x", duration_s=4.0, grown_s=bad)


def started(pipeline, left, right, **options):
    own = {name: pipeline.models[name].origin.id for name in ("left", "right")}
    raw = {"prompt": "calm piano", "duration_s": 2.0, "seed": 5, "takes": 2}
    run = Comparison(pipeline, Stops()).run(own[left], own[right], raw, "me", **options)
    first = next(run)
    assert isinstance(first, Started)
    run.close()
    return first


def test_a_model_against_itself_takes_the_next_seeds(pipeline):
    same = started(pipeline, "left", "left")
    assert (same.of("left").seed, same.of("right").seed) == (5, 7)
    two = started(pipeline, "left", "right")
    assert two.of("left") == two.of("right") == two.request
    given = started(pipeline, "left", "right", own={"right": {"seed": 9, "takes": 1}})
    assert (given.of("left").takes, given.of("right").seed, given.of("right").takes) == (2, 9, 1)


def test_a_run_takes_the_engine_it_names(pipeline):
    assert started(pipeline, "left", "right", engine="packed").pipeline.engine_now() == "packed"
    assert started(pipeline, "left", "right").pipeline.engine_now() == "reference"
    with pytest.raises(RequestError.__mro__[1], match="no engine 'abacus'"):
        started(pipeline, "left", "right", engine="abacus")
