"""Language-model training on minutes of sine tones: what is compared is equal."""

import itertools
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from simba_music.conditioning.key import NOTES, Key, key_features
from simba_music.conditioning.line_up import named_instruments
from simba_music.errors import RequestError
from simba_music.files import read_json
from simba_music.models.checkpoint import load_language_model
from simba_music.training.corpus import tokens
from simba_music.training.lm import batches as lm_batches
from simba_music.training.lm import preset as lm_preset
from simba_music.training.lm import trainer as lm_trainer
from simba_music.training.lm.average import average_training
from simba_music.training.lm.preset import ARCHITECTURES, PRESETS, Architecture

TINY = PRESETS["tiny"]
CORPUS_CODEC = {"codebook_size": 2048, "frame_rate": 75}


def train(corpus, codec, out, preset=TINY, architecture=None, limit=None, start=None):
    out.mkdir(parents=True, exist_ok=True)
    lm_trainer.train_lm(
        corpus,
        out,
        architecture or Architecture(),
        preset,
        tokens.codec_ref(codec),
        tokens.codebook_of(codec),
        limit_steps=limit,
        start=start,
    )
    return [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]


def weights(folder):
    return load_language_model(str(folder))[0].state_dict()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_learns(tokenised, codec_folder, tmp_path, name):
    history = train(tokenised, codec_folder, tmp_path, architecture=ARCHITECTURES[name])
    assert [row["step"] for row in history] == [10, 20, 30]
    assert history[-1]["valid"] < history[0]["valid"]
    record = read_json(tmp_path / "training.json")
    assert record["architecture"] == name and record["tokens"] == history[-1]["tokens"]


@pytest.mark.parametrize(
    ("backbone", "optimiser"), [("simba", "adamw"), ("simba", "muon"), ("transformer", "muon")]
)
def test_training_that_was_killed_ends_as_if_it_had_not_been(
    tokenised, codec_folder, tmp_path, monkeypatch, backbone, optimiser
):
    architecture, preset = Architecture(backbone), replace(TINY, optimiser=optimiser)
    whole = train(tokenised, codec_folder, tmp_path / "whole", preset, architecture)
    monkeypatch.setattr(lm_trainer, "SAVE_EVERY_S", 0.0)
    step = lm_trainer.LMTrainer.step

    def killed(trainer, parts):
        if trainer.steps == 17:
            raise SystemExit("killed")
        return step(trainer, parts)

    monkeypatch.setattr(lm_trainer.LMTrainer, "step", killed)
    with pytest.raises(SystemExit):
        train(tokenised, codec_folder, tmp_path / "killed", preset, architecture)
    monkeypatch.setattr(lm_trainer.LMTrainer, "step", step)
    resumed = train(tokenised, codec_folder, tmp_path / "killed", preset, architecture)
    assert [row["valid"] for row in resumed] == [row["valid"] for row in whole]
    for name, tensor in weights(tmp_path / "whole").items():
        assert torch.equal(tensor, weights(tmp_path / "killed")[name])


def test_a_longer_training_goes_on_from_before_the_fall(tokenised, codec_folder, tmp_path):
    short = replace(TINY, steps=20)
    train(tokenised, codec_folder, tmp_path / "short", short)
    longer = train(tokenised, codec_folder, tmp_path / "short")
    whole = train(tokenised, codec_folder, tmp_path / "whole")
    assert [row["step"] for row in longer] == [10, 20, 30]
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
        assert torch.equal(a.tokens, b.tokens) and torch.equal(a.null, b.null)
    later = lm_batches.batches(data, TINY, 4)
    assert torch.equal(next(later)[0].tokens, lm_batch(data, 4).tokens)


def lm_batch(data, step):
    return next(lm_batches.batches(data, TINY, step))[0]


def test_a_crop_that_stops_short_is_told_the_time_to_the_end(tokenised):
    data = tokens.TokenCorpus(tokenised, "train")
    for index, crop in enumerate(data.crops):
        batch = lm_batches.collate(data, [lm_batches.Pick(index, 0)])
        assert batch.total_s.item() == pytest.approx(crop.remaining_s)
        if crop.facts["ends"]:
            assert crop.remaining_s == pytest.approx(crop.duration_s, abs=0.02)
        else:
            assert crop.remaining_s > crop.duration_s
        tail = lm_batches.collate(data, [lm_batches.Pick(index, 0, frames=slice(-150, None))])
        assert tail.total_s.item() == pytest.approx(
            crop.remaining_s - crop.duration_s + 2, abs=0.02
        )
        assert tail.n_targets == 150
        assert torch.equal(tail.tokens[0, 0], batch.tokens[0, 0, -150:])


def test_windows_give_the_text_more_beginnings(tokenised):
    data = tokens.TokenCorpus(tokenised, "train")
    counts = {}
    for share in (0.0, 1.0):
        parts = lm_batches.batches(data, replace(TINY, window_share=share), 0)
        found = [next(parts)[0] for _ in range(20)]
        counts[share] = sum(len(batch.tokens) for batch in found)
    assert counts[1.0] > 1.5 * counts[0.0]
    assert all(225 <= batch.tokens.shape[-1] <= 750 for batch in found)
    assert all((batch.total_s >= batch.tokens.shape[-1] / 75 - 0.02).all() for batch in found)


def test_some_crops_are_heard_with_spans_of_others(tokenised):
    data = tokens.TokenCorpus(tokenised, "train")
    preset = replace(TINY, tokens_per_batch=8_000, mishear_share=0.5)
    shares = []
    for (batch,) in itertools.islice(lm_batches.batches(data, preset, 0), 20):
        told, wanted = batch.tokens[:, 0], batch.targets[:, 0]
        wrong = (told != wanted) & (wanted != lm_batches.IGNORE)
        shares += (wrong.sum(1) / (wanted != lm_batches.IGNORE).sum(1)).tolist()
        for row in range(len(told)):
            others = wanted[[other for other in range(len(wanted)) if other != row]]
            assert torch.isin(told[row][wrong[row]], others).all()
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


def test_a_clock_counts_beats_from_the_beginning_of_the_piece(tokenised):
    data = tokens.TokenCorpus(tokenised, "train")
    index = next(i for i, crop in enumerate(data.crops) if crop.facts["start_s"] > 0)
    tempo, start_s = (data.crops[index].facts[key] for key in ("tempo", "start_s"))
    picks = [
        lm_batches.Pick(index, 0, clock=True),
        lm_batches.Pick(index, 0, frames=slice(75, 300), clock=True),
        lm_batches.Pick(index, 0),
    ]
    clock = lm_batches.collate(data, picks).clock
    assert clock.tempo.tolist() == [tempo, tempo, 0]
    expected = [start_s * tempo / 60, (start_s + 1) * tempo / 60, 0]
    assert clock.beat.tolist() == pytest.approx(expected, rel=1e-5)


def test_the_key_of_a_crop_is_told_where_its_pick_says_so(tokenised):
    data = tokens.TokenCorpus(tokenised, "train")
    facts = data.crops[3].facts
    picks = [lm_batches.Pick(3, 0, key=True), lm_batches.Pick(3, 0)]
    key = Key(NOTES.index(facts["key"]), facts["mode"])
    assert torch.equal(lm_batches.collate(data, picks).key, key_features([key, None]))


def test_the_line_up_is_what_the_caption_names_where_its_pick_says_so(tokenised):
    data, names = tokens.TokenCorpus(tokenised, "train"), lm_preset.line_up_names()
    picks = [lm_batches.Pick(3, c, line_up=c < 6) for c in range(7)]
    found = lm_batches.collate(data, picks, names).line_up
    expected = [named_instruments(data.crops[3].captions[c], names) for c in range(6)]
    assert [row.nonzero().flatten().tolist() for row in found] == [*expected, []]
    assert any(expected)
    titles = {names[i][0] for row in expected for i in row}
    heard = {*data.crops[3].facts["instruments"], "drum kit", "drumless"}
    assert titles <= heard


def test_every_name_is_read_as_its_own_instrument():
    names = lm_preset.line_up_names()
    for i, group in enumerate(names):
        for name in group:
            found = named_instruments(f"A tune with {name}, 120 beats per minute.", names)
            assert i in found and len(found) <= 2, name  # a "guitarist" plays either guitar


def test_text_clock_and_key_are_left_out_each_for_itself(tokenised):
    data = tokens.TokenCorpus(tokenised, "train")
    plain = lm_batches.batches(data, TINY, 0)
    for batch, *_ in itertools.islice(plain, 20):
        assert not batch.clock.tempo.any() and not batch.key.any() and batch.line_up is None
    heard = {"beat_clock": True, "drop_tempo": 0.5, "key_signature": True, "drop_key": 0.5}
    heard |= {"line_up": True, "drop_line_up": 0.2}
    preset = replace(TINY, **heard, drop_text=0.3)
    stream = lm_batches.batches(data, preset, 0)
    found = [next(stream)[0] for _ in range(40)]
    null = torch.cat([batch.null for batch in found])
    known = torch.cat([batch.clock.tempo for batch in found]) > 0
    assert 0.2 < null.float().mean() < 0.4
    keyed = torch.cat([batch.key for batch in found]).any(1)
    for rows in (known[null], known[~null], keyed[null], keyed[known], keyed[~known]):
        assert 0.3 < rows.float().mean() < 0.7
    named = torch.cat([batch.line_up for batch in found]).any(1)
    for rows in (named[known], named[~known]):  # some captions name nothing
        assert 0.5 < rows.float().mean() < 0.85


def test_a_model_without_clocks_or_key_learns_on_with_them(tokenised, codec_folder, tmp_path):
    train(tokenised, codec_folder, tmp_path / "deaf")
    heard = {"beat_clock": True, "end_clock": True, "key_signature": True, "line_up": True}
    preset = replace(TINY, **heard, steps=2, validate_every=1)
    train(tokenised, codec_folder, tmp_path / "hears", preset, start=tmp_path / "deaf")
    found = weights(tmp_path / "hears")
    assert all(found[f"{name}_vectors"].any() for name in ("clock", "end", "key", "line_up"))
    with pytest.raises(RequestError, match="another shape"):
        train(tokenised, codec_folder, tmp_path / "back", start=tmp_path / "hears")


def test_padding_is_no_target(tokenised):
    data = tokens.TokenCorpus(tokenised, "train")
    order = sorted(range(len(data.crops)), key=lambda i: data.crops[i].length)
    picks = [lm_batches.Pick(order[0], 0), lm_batches.Pick(order[-1], 0)]
    batch = lm_batches.collate(data, picks)
    assert batch.n_targets == sum(data.crops[p.crop].length for p in picks)
    changed = batch._replace(tokens=batch.tokens.clone())
    changed.tokens[0, 0, data.crops[order[0]].length :] = 5
    config = lm_preset.make_config(Architecture(), TINY, tokens.CodecRef.model_validate(data.codec))
    model = lm_trainer.MusicLM(config)
    with torch.no_grad():
        losses = [float(lm_trainer.total_loss(model, b)) for b in (batch, changed)]
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
    start, run, later, hears, out = (tmp_path / name for name in ("1", "2", "3", "hears", "out"))
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
    train(tokenised, codec_folder, hears, replace(TINY, steps=2, beat_clock=True), start=start)
    with pytest.raises(RequestError, match="no weights for"):
        average_training(start, hears, 0.5, tokenised, out)
