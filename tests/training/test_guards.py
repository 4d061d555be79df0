"""Guards of training: what stops it, what a resumed one may change, what is never begun."""

import math

import pytest
import torch
from test_own_corpora import fake_shards, train

from simba_music.errors import RequestError
from simba_music.files import read_json
from simba_music.models.checkpoint import load_language_model
from simba_music.training.lm.guards import check_weights
from simba_music.training.resume import read_state


@pytest.fixture(scope="module")
def begun(tmp_path_factory, system):
    """A training that was stopped after three steps."""
    import shutil

    folder = tmp_path_factory.mktemp("guards")
    shutil.copytree(system / "codec", folder / "codec")
    fake_shards(folder, "c", 10)
    assert train(folder, "run", "--stop-after", "3") == 0
    return folder


def said(capsys):
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--tokens-per-batch", "1600"), "a training with tokens_per_batch 800, not 1600"),
        (("--seed", "7"), "a training with seed 0, not 7"),
        (("--backbone", "transformer"), "holds a training of simba-mlp-prefix, not of transformer"),
        (("--conditioning", "cross"), "holds a training of simba-mlp-prefix"),
        (("--preset", "small"), "holds a training with d_model 32, not 128"),
    ],
)
def test_another_training_is_not_gone_on_with(begun, capsys, words, why):
    before = (begun / "run" / "resume.state").read_bytes()
    assert train(begun, "run", "--stop-after", "5", *words) == 2
    assert why in said(capsys)
    assert (begun / "run" / "resume.state").read_bytes() == before


def test_what_may_change_stands_in_the_record(begun):
    assert train(begun, "run", "--stop-after", "4", "--learning-rate", "5e-4") == 0
    record = read_json(begun / "run" / "training.json")
    assert record["changes"] == [{"step": 3, "learning_rate": [1e-3, 5e-4]}]


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_state(begun, capsys):
    assert train(begun, "diverging", "--stop-after", "3") == 0
    kept = {p.name: p.read_bytes() for p in (begun / "diverging").iterdir() if p.is_file()}
    words = ("--stop-after", "20", "--learning-rate", "1e30")
    assert train(begun, "diverging", *words) == 2
    message = said(capsys)
    assert "At step" in message and "last finite loss was" in message
    assert {p.name: p.read_bytes() for p in (begun / "diverging").iterdir()} == kept
    state = read_state(begun / "diverging" / "resume.state", "cpu")
    assert state["steps"] == 3
    assert all(torch.isfinite(t).all() for t in state["model"].values())
    load_language_model(str(begun / "diverging"))


def test_weights_that_are_no_numbers_are_not_written():
    layer = torch.nn.Linear(2, 2)
    check_weights(1, layer)
    layer.weight.data[0, 0] = math.inf
    with pytest.raises(RequestError, match="After step 7 the weights"):
        check_weights(7, layer)
    with pytest.raises(RequestError):
        check_weights(7, loss=math.nan)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--accumulate", "0"), "accumulate"),
        (("--tokens-per-batch", "0"), "tokens-per-batch"),
        (("--tokens-per-batch", "2", "--accumulate", "3"), "at least one token a part"),
        (("--stop-after", "0"), "stop-after"),
        (("--learning-rate", "0"), "number above 0"),
        (("--learning-rate", "inf"), "no number"),
        (("--steps", "0"), "steps"),
        (("--preset", "nope"), "No preset 'nope'"),
        (("--codec", "nowhere"), "nowhere"),
    ],
)
def test_options_that_no_step_can_be_made_with_are_refused(begun, capsys, words, why):
    assert train(begun, "refused", *words) == 2
    assert why in said(capsys) and not (begun / "refused").exists()
