"""Language-model training on minutes of sine tones: what is compared is equal."""

import itertools
import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from simba_music.conditioning.beat import Beat, Pulse
from simba_music.conditioning.key import NOTES, Key, KeySignature
from simba_music.conditioning.length import Length
from simba_music.conditioning.line_up import named_instruments
from simba_music.conditioning.registry import read_conditions
from simba_music.conditioning.text import Text
from simba_music.conditioning.types import Span
from simba_music.errors import RequestError
from simba_music.files import read_json
from simba_music.models.checkpoint import load_language_model
from simba_music.models.config import CodecRef
from simba_music.training.corpus import tokens
from simba_music.training.lm import batches as lm_batches
from simba_music.training.lm import preset as lm_preset
from simba_music.training.lm import trainer as lm_trainer
from simba_music.training.lm.average import average_training
from simba_music.training.lm.loss import total_loss
from simba_music.training.lm.preset import ARCHITECTURES, PRESETS, Architecture

TINY = PRESETS["tiny"]
SHORT = replace(TINY, steps=15, validate_every=5)
CORPUS_CODEC = {"codebook_size": 2048, "frame_rate": 75}


def train(corpus, codec, out, preset=TINY, architecture=None, limit=None, start=None):
    out.mkdir(parents=True, exist_ok=True)
    lm_trainer.train_lm(
        corpus,
        out,
        architecture or Architecture(),
        preset,
        tokens.codec_ref(codec),
        tokens.codebooks_of(codec),
        limit_steps=limit,
        start=start,
    )
    return [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]


def weights(folder):
    return load_language_model(str(folder))[0].state_dict()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_learns(tokenised, codec_folder, tmp_path, name):
    history = train(tokenised, codec_folder, tmp_path, SHORT, ARCHITECTURES[name])
    assert [row["step"] for row in history] == [5, 10, 15]
    assert history[-1]["valid"] < history[0]["valid"]
    record = read_json(tmp_path / "training.json")
    assert record["architecture"] == name and record["tokens"] == history[-1]["tokens"]


def killed_at(step, monkeypatch, training):
    """Begin a training that keeps its state at every step and is killed at one of them."""
    monkeypatch.setattr(lm_trainer, "SAVE_EVERY_S", 0.0)
    whole = lm_trainer.LMTrainer.step

    def killed(trainer, parts):
        if trainer.steps == step:
            raise SystemExit("killed")
        return whole(trainer, parts)

    with monkeypatch.context() as patch:
        patch.setattr(lm_trainer.LMTrainer, "step", killed)
        with pytest.raises(SystemExit):
            training()


@pytest.mark.parametrize(
    ("backbone", "optimiser"), [("simba", "adamw"), ("simba", "muon"), ("transformer", "muon")]
)
def test_training_that_was_killed_ends_as_if_it_had_not_been(
    tokenised, codec_folder, tmp_path, monkeypatch, backbone, optimiser
):
    architecture, preset = Architecture(backbone), replace(SHORT, optimiser=optimiser)
    whole = train(tokenised, codec_folder, tmp_path / "whole", preset, architecture)
    again = partial(train, tokenised, codec_folder, tmp_path / "killed", preset, architecture)
    killed_at(8, monkeypatch, again)
    resumed = again()
    assert [row["valid"] for row in resumed] == [row["valid"] for row in whole]
    for name, tensor in weights(tmp_path / "whole").items():
        assert torch.equal(tensor, weights(tmp_path / "killed")[name])


def test_a_longer_training_goes_on_from_before_the_fall(tokenised, codec_folder, tmp_path):
    train(tokenised, codec_folder, tmp_path / "short", replace(SHORT, steps=10))
    longer = train(tokenised, codec_folder, tmp_path / "short", SHORT)
    whole = train(tokenised, codec_folder, tmp_path / "whole", SHORT)
    assert [row["step"] for row in longer] == [5, 10, 15]
    assert longer[-1]["valid"] == whole[-1]["valid"]


def test_parts_and_processes_change_nothing(tokenised, codec_folder, tmp_path):
    preset = replace(TINY, steps=4, accumulate=2, tokens_per_batch=1600, validate_every=2)
    alone = train(tokenised, codec_folder, tmp_path / "alone", preset)
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"),
        *("--master_port=29517", "-m", "simba_music", "train", "lm"),
        *("--corpus", str(tokenised), "--codec", str(codec_folder), "--preset", "tiny"),
        *("--steps", "4", "--accumulate", "2", "--tokens-per-batch", "1600", "--threads", "1"),
        *("--out", str(tmp_path / "two")),
    ]
    found = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert found.returncode == 0, found.stderr
    record = read_json(tmp_path / "two" / "training.json")
    assert record["processes"] == 2
    for name, tensor in weights(tmp_path / "alone").items():
        torch.testing.assert_close(weights(tmp_path / "two")[name], tensor, atol=2e-4, rtol=0)
    last = json.loads((tmp_path / "two" / "history.jsonl").read_text().splitlines()[-1])
    assert last["valid"] == pytest.approx(alone[-1]["valid"], abs=1e-3)


def test_snapshots_are_whole_checkpoints(tokenised, codec_folder, tmp_path):
    preset = replace(TINY, steps=4, snapshots=(1, 3))
    train(tokenised, codec_folder, tmp_path, preset)
    taken = sorted((tmp_path / "snapshots").iterdir())
    assert [folder.name for folder in taken] == ["1", "3"]
    first, last = (weights(folder)["head.weight"] for folder in taken)
    assert not torch.equal(first, last)


def test_every_architecture_sees_the_same_batches(tokenised):
    data = tokens.TokenCorpus(tokenised, "train")
    first, second = (lm_batches.batches(data, TINY, 3) for _ in range(2))
    for _ in range(3):
        (a,), (b,) = next(first), next(second)
        assert torch.equal(a.codes, b.codes) and torch.equal(a.given.null, b.given.null)
    later = lm_batches.batches(data, TINY, 4)
    assert torch.equal(next(later)[0].codes, lm_batch(data, 4).codes)


def lm_batch(data, step):
    return next(lm_batches.batches(data, TINY, step))[0]


LENGTH = {"length": Length(longest_s=30)}


def collate(data, *picks, conditions=LENGTH):
    text = {"text": Text(states=384)}
    return lm_batches.collate(data, list(picks), text | dict(conditions))


def totals(batch):
    """Total time of every row, s, to half a second."""
    return batch.given.features["length"][:, 0, 61:122].argmax(-1) / 2


def test_a_crop_that_stops_short_has_the_time_to_the_end_of_its_piece(tokenised):
    data = tokens.TokenCorpus(tokenised, "train")
    for index, crop in enumerate(data.crops):
        batch = collate(data, lm_batches.Pick(index, 0))
        assert totals(batch).item() == min(crop.remaining_s, 30.0) // 0.5 / 2
        if crop.facts["ends"]:
            assert crop.remaining_s == pytest.approx(crop.duration_s, abs=0.02)
        else:
            assert crop.remaining_s > crop.duration_s
        tail = collate(data, lm_batches.Pick(index, 0, frames=slice(-150, None)))
        left = crop.remaining_s - crop.duration_s + 2
        assert totals(tail).item() == pytest.approx(min(left, 30.0), abs=0.52)
        assert tail.n_targets == 150
        assert torch.equal(tail.codes[0, 0], batch.codes[0, 0, -150:])


def test_windows_give_the_text_more_beginnings(tokenised):
    data = tokens.TokenCorpus(tokenised, "train")
    counts = {}
    for share in (0.0, 1.0):
        parts = lm_batches.batches(data, replace(TINY, window_share=share), 0)
        found = [next(parts)[0] for _ in range(20)]
        counts[share] = sum(len(batch.codes) for batch in found)
    assert counts[1.0] > 1.5 * counts[0.0]
    assert all(225 <= batch.codes.shape[-1] <= 750 for batch in found)
    assert all((totals(batch) >= batch.codes.shape[-1] / 75 - 0.52).all() for batch in found)


def test_some_crops_have_spans_of_others_as_input(tokenised):
    data = tokens.TokenCorpus(tokenised, "train")
    preset = replace(TINY, tokens_per_batch=8_000, mishear_share=0.5)
    shares = []
    for (batch,) in itertools.islice(lm_batches.batches(data, preset, 0), 20):
        given, wanted = batch.codes[:, 0], batch.targets[:, 0]
        wrong = (given != wanted) & (wanted != lm_batches.IGNORE)
        shares += (wrong.sum(1) / (wanted != lm_batches.IGNORE).sum(1)).tolist()
        for row in range(len(given)):
            others = wanted[[other for other in range(len(wanted)) if other != row]]
            assert torch.isin(given[row][wrong[row]], others).all()
    assert 0.3 < sum(share > 0 for share in shares) / len(shares) < 0.7
    assert max(shares) < 0.4 and sum(shares) / len(shares) > 0.02


def test_a_training_starts_from_an_exported_checkpoint(tokenised, codec_folder, tmp_path):
    first = train(tokenised, codec_folder, tmp_path / "first")
    second = train(tokenised, codec_folder, tmp_path / "second", start=tmp_path / "first")
    assert second[:3] == first
    assert [row["step"] for row in second] == [10, 20, 30, 30, 40, 50, 60]
    # exported weights are float16, which may move the last digit that is written
    assert abs(second[3]["valid"] - first[2]["valid"]) < 1.5e-4
    assert second[3]["valid"] > second[4]["valid"]
    assert (
        second[6]["tokens"]
        == first[2]["tokens"] + read_json(tmp_path / "second" / "training.json")["tokens"]
    )
    assert read_json(tmp_path / "second" / "training.json")["started_from"]["steps"] == 30
    with pytest.raises(RequestError, match="another shape"):
        other = Architecture("transformer")
        train(tokenised, codec_folder, tmp_path, architecture=other, start=tmp_path / "first")


def test_a_crop_has_the_conditions_that_its_pick_does_not_drop(tokenised):
    data, names = tokens.TokenCorpus(tokenised, "train"), lm_preset.line_up_names()
    conditions = read_conditions(
        {"length": {"longest_s": 30}, "beat": {}, "key": {}, "line_up": {"names": names}}
    )
    index = next(i for i, crop in enumerate(data.crops) if crop.start_s > 0)
    facts, every = data.crops[index].facts, frozenset(conditions) - {"length"}
    span = Span(torch.zeros(1), 225, 75)
    start_s, tempo = facts["start_s"], facts["tempo"]
    for caption in range(6):
        picks = [
            lm_batches.Pick(index, caption),
            lm_batches.Pick(index, caption, frames=slice(75, 300)),
            lm_batches.Pick(index, caption, dropped=every),
        ]
        found = collate(data, *picks, conditions=conditions).given.features
        for row, second in ((0, start_s), (1, start_s + 1)):
            expected = Beat().features([Pulse(tempo, second * tempo / 60)], span)[0]
            torch.testing.assert_close(found["beat"][row, :225], expected, atol=1e-3, rtol=0)
        key = KeySignature().features([Key(NOTES.index(facts["key"]), facts["mode"])], span)[0]
        named = named_instruments(data.crops[index].captions[caption % 6], names)
        for row in (0, 1):
            assert torch.equal(found["key"][row], key)
            assert found["line_up"][row, 0].nonzero().flatten().tolist() == named
        titles = {names[i][0] for i in named}
        assert titles <= {*facts["instruments"], "drum kit", "drumless"}
        assert not any(found[name][2].any() for name in every)


def test_every_name_is_read_as_its_own_instrument():
    names = lm_preset.line_up_names()
    for i, group in enumerate(names):
        for name in group:
            found = named_instruments(f"A tune with {name}, 120 beats per minute.", names)
            assert i in found and len(found) <= 2, name  # a "guitarist" plays either guitar


SEVERAL = {"length": {"end_clock": True}, "beat": {}, "key": {}, "line_up": {}}


def test_text_beat_key_and_line_up_are_left_out_each_for_itself(tokenised):
    data = tokens.TokenCorpus(tokenised, "train")
    plain = lm_batches.batches(data, TINY, 0)
    for batch, *_ in itertools.islice(plain, 20):
        assert set(batch.given.features) == {"text", "length"}
    drop = {"beat": 0.5, "key": 0.5, "line_up": 0.2}
    preset = replace(TINY, conditions=SEVERAL, drop=drop, drop_text=0.3)
    stream = lm_batches.batches(data, preset, 0)
    found = [next(stream)[0].given for _ in range(40)]
    null = torch.cat([given.null for given in found])
    assert 0.2 < null.float().mean() < 0.4

    def there(name):
        return torch.cat([given.features[name].any(-1).any(-1) for given in found])

    known, keyed, named = there("beat"), there("key"), there("line_up")
    for rows in (known[null], known[~null], keyed[null], keyed[known], keyed[~known]):
        assert 0.3 < rows.float().mean() < 0.7
    assert not named[null].any()  # without its caption a crop has nothing that it names
    for rows in (named[known & ~null], named[~known & ~null]):  # some captions name nothing
        assert 0.6 < rows.float().mean() < 0.95


def test_a_model_without_some_conditions_learns_on_with_them(tokenised, codec_folder, tmp_path):
    without = replace(TINY, conditions={"length": SEVERAL["length"]})
    train(tokenised, codec_folder, tmp_path / "without", without)
    preset = replace(TINY, conditions=SEVERAL, steps=2, validate_every=1)
    train(tokenised, codec_folder, tmp_path / "with", preset, start=tmp_path / "without")
    found = weights(tmp_path / "with")
    assert all(found[f"conditions.{name}"].any() for name in SEVERAL)
    with pytest.raises(RequestError, match="another shape"):
        train(tokenised, codec_folder, tmp_path / "back", without, start=tmp_path / "with")


def test_weights_go_on_under_other_levels_of_guidance(tokenised, codec_folder, tmp_path):
    preset = replace(TINY, conditions=SEVERAL, steps=2, validate_every=1)
    train(tokenised, codec_folder, tmp_path / "first", preset)
    levels = SEVERAL | {"key": {"guided": 2.0, "unguided": 0.0}}
    again = replace(preset, conditions=levels)
    train(tokenised, codec_folder, tmp_path / "second", again, start=tmp_path / "first")
    config = read_json(tmp_path / "second" / "config.json")
    assert config["conditions"]["key"] == {"guided": 2.0, "unguided": 0.0}


def test_padding_is_no_target(tokenised):
    data = tokens.TokenCorpus(tokenised, "train")
    order = sorted(range(len(data.crops)), key=lambda i: data.crops[i].length)
    picks = [lm_batches.Pick(order[0], 0), lm_batches.Pick(order[-1], 0)]
    batch = collate(data, *picks)
    assert batch.n_targets == sum(data.crops[p.crop].length for p in picks)
    changed = batch._replace(codes=batch.codes.clone())
    changed.codes[0, 0, data.crops[order[0]].length :] = 5
    config = lm_preset.make_config(Architecture(), TINY, CodecRef.model_validate(data.codec))
    model = lm_trainer.MusicLM(config)
    with torch.no_grad():
        losses = [float(total_loss(model, b)) for b in (batch, changed)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_architectures_are_matched_within_2_percent():
    from conftest import lm_config

    ref = lm_config("simba").codec.model_copy(update=CORPUS_CODEC)
    for preset in PRESETS.values():
        for conditioning in ("prefix", "cross"):
            sizes = {}
            for name, architecture in ARCHITECTURES.items():
                if architecture.conditioning == conditioning and preset is not TINY:
                    config = lm_preset.make_config(architecture, preset, ref)
                    sizes[name] = lm_preset.count_parameters(config)
            for size in sizes.values():
                assert abs(size / sizes[f"simba-mlp-{conditioning}"] - 1) <= 0.02
    for preset, low, high in (("bundle", 12e6, 15e6), ("gpu", 30e6, 60e6), ("paper", 28e7, 32e7)):
        config = lm_preset.make_config(Architecture(), PRESETS[preset], ref)
        assert low <= lm_preset.count_parameters(config) <= high


def test_bad_choices_are_explained(tokenised, codec_folder, system, tmp_path, monkeypatch):
    with pytest.raises(RequestError, match="there are tiny"):
        lm_preset.preset_with("huge")
    with pytest.raises(RequestError, match="another codec"):
        train(tokenised, system / "codec", tmp_path)
    monkeypatch.delattr(torch.optim, "Muon")  # as in torch 2.8
    with pytest.raises(RequestError, match="has no Muon; install torch 2.9"):
        train(tokenised, codec_folder, tmp_path, replace(TINY, optimiser="muon"))
    assert not (Path(tmp_path) / "model.safetensors").exists()


def test_weights_between_the_ends_of_a_training(tokenised, codec_folder, tmp_path):
    start, run, later, more_folder, out = (tmp_path / name for name in ("1", "2", "3", "4", "5"))
    for folder, before in ((start, None), (run, start), (later, run)):
        train(tokenised, codec_folder, folder, replace(TINY, steps=2), start=before)
    average_training(start, run, 0.25, tokenised, out)
    ends, found = (weights(start), weights(run)), weights(out)
    for name, value in found.items():
        wanted = 0.75 * ends[0][name] + 0.25 * ends[1][name]
        torch.testing.assert_close(value, wanted, atol=2e-3, rtol=2e-3)
    assert any(not torch.equal(found[name], ends[1][name]) for name in found)
    *before, last = (json.loads(line) for line in (out / "history.jsonl").read_text().splitlines())
    assert last["averaged"] == 0.25 and last["step"] == before[-1]["step"]
    assert last["valid"] != before[-1]["valid"]
    assert read_json(out / "training.json")["averaged"]["share"] == 0.25
    with pytest.raises(RequestError, match="not between 0 and 1"):
        average_training(start, run, 1.5, tokenised, out)
    with pytest.raises(RequestError, match="did not start from"):
        average_training(run, start, 0.5, tokenised, out)
    average_training(start, later, 0.5, tokenised, out)
    for name, value in weights(out).items():
        wanted = (ends[0][name] + weights(later)[name]) / 2
        torch.testing.assert_close(value, wanted, atol=2e-3, rtol=2e-3)
    more = TINY.conditions | {"beat": {}}
    train(
        tokenised, codec_folder, more_folder, replace(TINY, steps=2, conditions=more), start=start
    )
    with pytest.raises(RequestError, match="no weights for"):
        average_training(start, more_folder, 0.5, tokenised, out)
