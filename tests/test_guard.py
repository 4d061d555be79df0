"""The bundled pair generates what it did when its weights were bundled."""

import guard
import pytest
import torch

from simba_music.generation.loaded_models import LoadedModel


@pytest.mark.parametrize("name", ["simba", "transformer"])
def test_the_bundled_pair_generates_what_it_always_did(name):
    model, (known, about) = LoadedModel.load(name), guard.read()
    assert model.origin.sha256 == about[name], "other weights: run `python tests/guard.py`"
    codes = known[f"{name}.codes"].long()
    logits = guard.teacher_forced(model, codes)
    torch.testing.assert_close(logits, known[f"{name}.logits"], atol=1e-4, rtol=0)
    if guard.processor() == about["cpu"]:  # elsewhere rounding may turn a draw
        for found, row in zip(guard.generated(model), codes, strict=True):
            assert torch.equal(found, row[: len(found)])
