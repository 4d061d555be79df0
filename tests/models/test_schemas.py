"""Checkpoints of version 0.1.0 load, and give the logits that they gave."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from simba_music.conditioning.batch import ConditionBatch, encoded
from simba_music.conditioning.beat import Pulse
from simba_music.conditioning.key import Key
from simba_music.conditioning.length import End
from simba_music.conditioning.types import TextEmbedding
from simba_music.errors import CheckpointError
from simba_music.files import read_json, write_json
from simba_music.models.checkpoint import load_language_model, read_config

DATA = Path(__file__).parents[1] / "data" / "schema1"


@pytest.mark.parametrize("backbone", ["simba", "transformer"])
def test_a_checkpoint_of_schema_1_gives_the_logits_that_it_gave(backbone):
    lm, _ = load_language_model(str(DATA / backbone))
    known = load_file(DATA / f"{backbone}.safetensors")
    text, null = TextEmbedding(known["states"], known["mask"]), torch.tensor([False, False, True])
    values = {
        "text": encoded(text, null),
        "length": [End(8.0, 8.0), End(3.0, 3.0), End(0.7, 0.7)],
        "beat": [Pulse(90.0, 1.5), None, Pulse(120.0)],
        "key": [Key(9, "minor"), None, Key(2, "dorian")],
        "line_up": [(0,), None, None],
    }
    levels = {name: torch.ones(3) for name in values}
    given = ConditionBatch(lm.config.conditions, text, null, values, levels).conditioning(40, 50)
    found = lm(known["tokens"], given)
    torch.testing.assert_close(found, known["logits"], atol=1e-4, rtol=0)


def test_the_levels_that_were_constants_stand_in_the_config():
    config, _ = read_config(DATA / "simba")
    levels = {name: (c.guided, c.unguided) for name, c in config.conditions.items()}
    assert levels == {
        "text": (1, 1),
        "length": (1, 1),
        "beat": (1, 0.85),
        "key": (1.5, 0.5),
        "line_up": (1.5, 1),
    }
    length = config.conditions["length"]
    assert (length.tail_s, length.earliest_end_s, length.unguided_lead_s) == (1.5, 5.0, 0.5)


def test_the_bundled_pair_loads_through_the_same_migration():
    bundled = DATA.parents[2] / "checkpoints"
    for name in ("simba", "transformer"):
        assert read_json(bundled / name / "config.json")["schema"] == 1
        lm, _ = load_language_model(name)
        assert list(lm.config.conditions) == ["text", "length", "beat", "key", "line_up"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"beat_clock": False}, "unknown clock_vectors"),
        ({"line_up": [["piano"]]}, "line_up has shape"),
        ({"d_model": 16, "n_heads": 2}, "has shape"),
        ({"clock": True}, "Extra inputs"),
        ({"schema": 3}, "schema"),
    ],
)
def test_a_config_of_schema_1_that_does_not_fit_is_refused(tmp_path, change, said):
    raw = read_json(DATA / "simba" / "config.json") | change
    write_json(tmp_path / "config.json", raw)
    (tmp_path / "model.safetensors").write_bytes((DATA / "simba/model.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match=said):
        load_language_model(str(tmp_path))
