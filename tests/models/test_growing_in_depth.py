"""A model grown in depth computes what it did, to the digit, and can then be trained further."""

import json

import pytest
import torch
from conftest import lm_config, random_lm
from model_checks import codes, given, stepped

from simba_music.errors import RequestError
from simba_music.models.checkpoint import load_language_model, save_language_model
from simba_music.training.lm.grow import deepened, grow, grow_checkpoint

KINDS = [
    ("simba", "mlp", "prefix"),
    ("simba", "mlp", "cross"),
    ("mamba", "none", "prefix"),
    ("transformer", "mlp", "prefix"),
    ("transformer", "mlp", "cross"),
]


def model_of(backbone, mixer, conditioning):
    return random_lm(lm_config(backbone, mixer, conditioning=conditioning))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("times", [2, 3])
def test_a_grown_model_has_the_same_logits(kind, times):
    lm = model_of(*kind)
    deep = grow(lm, times)
    assert (lm.config.n_layers, deep.config.n_layers) == (2, 2 * times)
    tokens, conditions = codes(3, 1, 20), given(lm, 20)
    assert torch.equal(deep(tokens, conditions), lm(tokens, conditions))
    cuts = range(1, 20)
    assert torch.equal(
        stepped(deep, tokens, conditions, cuts), stepped(lm, tokens, conditions, cuts)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_branch_of_a_copy_learns_from_the_first_step(kind):
    deep = grow(model_of(*kind)).requires_grad_(True)
    deep(codes(3, 1, 20), given(deep, 20)).square().mean().backward()
    zeros = {n: p for n, p in deep.named_parameters() if "blocks" in n and not p.any()}
    weights = {name: p for name, p in zeros.items() if name.endswith("weight")}
    copies = {name.split(".")[2] for name in weights}
    assert copies == {"1", "3"} and all(bool(p.grad.any()) for p in weights.values())


def test_a_copy_keeps_all_but_what_ends_its_branches():
    lm = model_of("transformer", "mlp", "prefix")
    found = deepened(lm.state_dict(), 2)
    before = lm.state_dict()
    for layer in range(2):
        own = f"backbone.blocks.{layer}."
        for name in (n for n in before if n.startswith(own)):
            part = name.removeprefix(own)
            first, second = (found[f"backbone.blocks.{2 * layer + i}.{part}"] for i in (0, 1))
            assert torch.equal(first, before[name])
            ends = part in ("out.weight", "channel_mixer.2.weight")
            assert torch.equal(second, torch.zeros_like(second) if ends else before[name])


def test_a_checkpoint_grows_into_one_that_loads_and_says_from_what(tmp_path):
    lm = model_of("simba", "mlp", "prefix")
    save_language_model(tmp_path / "small", lm)
    (tmp_path / "small" / "training.json").write_text('{"stage": "lm", "steps": 7}')
    grow_checkpoint(tmp_path / "small", tmp_path / "deep")
    deep, _ = load_language_model(str(tmp_path / "deep"))
    small, _ = load_language_model(str(tmp_path / "small"))
    tokens, conditions = codes(3, 1, 9), given(small, 9)
    assert torch.equal(deep(tokens, conditions), small(tokens, conditions))
    record = json.loads((tmp_path / "deep" / "training.json").read_text())
    assert record["layers"] == [2, 4] and record["started_from"]["steps"] == 7


def test_einfft_is_not_grown_as_its_copies_could_not_learn():
    with pytest.raises(RequestError, match="EinFFT cannot be grown"):
        grow(model_of("simba", "einfft", "prefix"))


@pytest.mark.parametrize("times", [1, 0, 65])
def test_what_is_no_growth_is_refused(times):
    with pytest.raises(RequestError, match=f"2 layers grow by a factor .* not by {times}"):
        grow(model_of("simba", "mlp", "prefix"), times)
