"""The bundled checkpoints: their clips are music by the numbers, not silence and not noise."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from simba_music.audio import loudness_lufs
from simba_music.files import read_json, sha256
from simba_music.generation.clip import Clip
from simba_music.generation.pipeline import Pipeline
from simba_music.training.evaluation.health import longest_run
from simba_music.training.evaluation.measures import flatness, onsets_per_s
from simba_music.training.record import lineage
from simba_music.ui.create.layout import EXAMPLES

CHECKPOINTS = Path(__file__).parent.parent / "checkpoints"
RATE = 24_000
LIMITS_MB = {"codec": 10, "simba": 24, "transformer": 24, "clap": 12, "tagger": 4}


@pytest.fixture(scope="module")
def bundled():
    return Pipeline.load(device="cpu", threads=torch.get_num_threads())


@pytest.fixture(scope="module")
def clips(bundled):
    requests = [
        bundled.validate(prompt=p, duration_s=6.0, seed=100 + i) for i, p in enumerate(EXAMPLES)
    ]
    return {side: bundled.generate_batch(requests, side) for side in ("left", "right")}


def report_value(metric):
    tables = read_json(CHECKPOINTS / "REPORT.json")["tables"]
    return next(r["value"] for t in tables for r in t["rows"] if r["metric"] == metric)


@pytest.mark.parametrize("name", LIMITS_MB)
def test_every_checkpoint_is_complete_and_small(name):
    folder = CHECKPOINTS / name
    for file in ("model.safetensors", "config.json", "metrics.json", "training.json", "README.md"):
        assert (folder / file).is_file(), file
    assert (folder / "model.safetensors").stat().st_size <= LIMITS_MB[name] * 1e6
    for table in read_json(CHECKPOINTS / "REPORT.json")["tables"]:
        if name in {row["model"] for row in table["rows"]}:
            assert table["checkpoints"][name] == sha256(folder / "model.safetensors"), table["id"]
    assert read_json(folder / "metrics.json")["rows"]
    assert {"steps", "minutes", "hardware", "commit", "corpora"} <= set(
        read_json(folder / "training.json")
    )


def seeds_of(name):
    """Seeds of the pieces that a checkpoint, or one that it started from, learned from."""
    found = set()
    for training in lineage(read_json(CHECKPOINTS / name / "training.json")):
        for corpus in training["corpora"]:
            if corpus["first_seed"] is not None:
                found |= set(range(corpus["first_seed"], corpus["first_seed"] + corpus["pieces"]))
    return found


@pytest.mark.parametrize("name", ["simba", "transformer", "codec", "clap"])
def test_the_tagger_learned_from_no_piece_that_another_checkpoint_did(name):
    seeds = seeds_of(name)
    assert len(seeds) > 10_000 and not seeds & seeds_of("tagger")


def test_the_pair_is_matched_and_names_its_codec():
    configs = {n: read_json(CHECKPOINTS / n / "config.json") for n in ("simba", "transformer")}
    sizes = [read_json(CHECKPOINTS / n / "training.json")["parameters"] for n in configs]
    assert max(sizes) / min(sizes) < 1.02
    codec = sha256(CHECKPOINTS / "codec" / "model.safetensors")
    for config in configs.values():
        assert config["codec"]["sha256"] == codec and config["max_trained_s"] == 30
    training = [read_json(CHECKPOINTS / n / "training.json") for n in configs]
    assert training[0]["steps"] == training[1]["steps"]
    assert training[0]["preset"] == training[1]["preset"]
    for name in configs:
        lines = (CHECKPOINTS / name / "history.jsonl").read_text().splitlines()
        losses = [json.loads(line)["valid"] for line in lines]
        assert losses[-1] < losses[0] - 0.5


@pytest.mark.parametrize("side", ["left", "right"])
def test_clips_are_neither_silence_nor_noise(clips, side):
    """White noise has flatness 0.56 by this measure and no clear onsets; music lies far below.

    The limiter brings clips to -16 LUFS, those with the sharpest drums nearly so. A clip of sparse
    music may sound for less than half of its time, as a real piece now and then does; no two of
    them may, nor the clips together.
    """
    sounding = []
    levels = [loudness_lufs(c.waveform.samples[0].numpy(), RATE) for c in clips[side]]
    assert min(levels) > -24 and np.median(levels) > -17, levels
    for prompt, clip in zip(EXAMPLES, clips[side], strict=True):
        samples = clip.waveform.samples[0].numpy()
        assert clip.waveform.sample_rate == RATE and clip.waveform.duration_s == 6.0
        assert flatness(samples) < 0.1, prompt
        sounding.append(np.mean(np.abs(samples).reshape(-1, 2400).max(1) > 0.01))
        assert sounding[-1] > 0.2, prompt
    assert np.mean(sounding) > 0.8 and np.sum(np.array(sounding) < 0.5) <= 1, sounding
    rates = [onsets_per_s(c.waveform.samples[0].numpy()) for c in clips[side]]
    assert 0.5 < np.mean(rates) < 12 and np.std(rates) > 0.3


def test_the_noise_measure_knows_noise():
    noise = np.random.default_rng(0).standard_normal(144_000).astype(np.float32) * 0.1
    assert flatness(noise) > 0.4


@pytest.mark.parametrize("side", ["left", "right"])
def test_no_token_is_repeated_longer_than_in_real_pieces(clips, side):
    limit = report_value("longest run allowed")
    for prompt, clip in zip(EXAMPLES, clips[side], strict=True):
        assert longest_run(clip.codes[0].numpy()) <= limit, prompt


def test_the_two_models_and_the_prompts_differ(clips):
    for left, right in zip(clips["left"], clips["right"], strict=True):
        assert (left.codes == right.codes).float().mean() < 0.5
    for side in clips:
        assert len({tuple(c.codes[0].tolist()) for c in clips[side]}) == len(EXAMPLES)


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_shortest_clips_are_not_the_silence_of_an_ending(bundled, side):
    requests = [
        bundled.validate(prompt=prompt, duration_s=2.0, seed=seed)
        for prompt in EXAMPLES
        for seed in range(3)
    ]
    for clip in bundled.generate_batch(requests, side):
        assert clip.recipe.loudness_lufs > -50, clip.recipe.request


def test_same_seed_same_clip_and_another_seed_another(bundled):
    def tokens(seed):
        request = bundled.validate(prompt=EXAMPLES[0], duration_s=2.0, seed=seed)
        clips = [e for e in bundled.generate(request) if isinstance(e, Clip)]
        return [clip.codes for clip in sorted(clips, key=lambda clip: clip.side)]

    first, again, other = tokens(1), tokens(1), tokens(2)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_the_reported_adherence_is_above_chance():
    tables = {t["id"]: t["rows"] for t in read_json(CHECKPOINTS / "REPORT.json")["tables"]}
    rows = [r for r in tables["clips"] if r["metric"] == "right prompt in the top 5 of 20"]
    assert {r["model"] for r in rows} >= {"simba", "transformer"} and len(rows) == 4
    for row in rows:
        assert row["n"] == 60 and row["lo"] > 0.3, row


def test_the_reported_speed_is_faster_than_real_time():
    tables = {t["id"]: t["rows"] for t in read_json(CHECKPOINTS / "REPORT.json")["tables"]}
    assert {r["model"] for r in tables["speed"]} == {"simba", "transformer"}
    assert all(r["value"] > 1 for r in tables["speed"])


def test_the_training_steps_end_with_the_bundled_pair():
    path = CHECKPOINTS / "steps.json"
    found = read_json(path)
    assert path.stat().st_size < 1e6 and len(found["prompts"]) >= 12
    assert found["codec_sha256"] == sha256(CHECKPOINTS / "codec" / "model.safetensors")
    steps = {name: [stage["step"] for stage in stages] for name, stages in found["models"].items()}
    assert steps["simba"] == steps["transformer"] and len(steps["simba"]) == 4
    for name, stages in found["models"].items():
        assert stages[-1]["sha256"] == sha256(CHECKPOINTS / name / "model.safetensors")
        assert all(len(stage["ids"]) == len(found["prompts"]) for stage in stages)
