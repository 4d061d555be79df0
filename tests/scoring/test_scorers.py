"""Scores: deterministic, beside their null band, refused where they would mean nothing."""

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

from simba_music.audio import Waveform
from simba_music.errors import CheckpointError
from simba_music.scoring.loading import load_scorer
from simba_music.scoring.score import UNRELATED, Score, difference, unscorable
from simba_music.training.corpus.bench import read_bench
from simba_music.training.corpus.captioning.contrast import KINDS, contrasts
from simba_music.training.evaluation import scorer as scorer_evaluation
from simba_music.training.evaluation.scorer import DRAWS, fact_rows, retrieval_rows

RATE = 24_000
BENCH = Path(__file__).parents[1] / "data" / "bench_v1"


def music(seconds=10.0, seed=0, level=0.1):
    time = torch.arange(round(seconds * RATE)) / RATE
    pitch = 220 * 2 ** (
        torch.randint(0, 12, (1,), generator=torch.Generator().manual_seed(seed)) / 12
    )
    return Waveform(level * torch.sin(2 * torch.pi * pitch * time)[None] * (1 - time % 0.5), RATE)


@pytest.fixture(scope="module")
def scorer():
    return load_scorer("clap")


@pytest.fixture(scope="module")
def tiny_clap(tmp_path_factory):
    """A `ClapModel` of LAION's shape, much smaller, with random weights."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-clap")
    torch.manual_seed(0)
    text = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    audio = {"patch_embeds_hidden_size": 16, "depths": [1, 1], "num_attention_heads": [2, 2]}
    audio |= {"hidden_size": 32, "num_hidden_layers": 2, "enable_fusion": False}
    config = ClapConfig(
        text_config=text | {"intermediate_size": 64},
        audio_config=audio,
        projection_dim=16,
    )
    model = ClapModel(config)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    ClapFeatureExtractor(truncation="rand_trunc", padding="repeatpad").save_pretrained(folder)
    words = sorted({word for prompt in UNRELATED for word in prompt.replace(",", " ").split()})
    vocabulary = {word: i for i, word in enumerate(["<s>", "<pad>", "<unk>", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)
    return folder


def test_a_score_stands_beside_its_null_band_and_names_its_scorer(scorer):
    score = scorer.score(music(), "calm solo piano")
    assert -1 <= score.cosine <= 1 and 0 <= score.percentile <= 100
    assert score.null_prompts >= 100
    assert "not LAION CLAP" in score.scorer and len(score.revision) == 12
    assert len(score.timeline) == 4


def test_the_same_clip_has_the_same_score_in_any_order_and_process(scorer):
    clips = [(music(seed=i), f"prompt {i}") for i in range(4)]
    first = [scorer.score(*clip) for clip in clips]
    second = [scorer.score(*clip) for clip in reversed(clips)][::-1]
    for a, b in zip(first, second, strict=True):
        assert abs(a.cosine - b.cosine) < 1e-5
    code = (
        "import sys; sys.path[:0] = ['tests', 'tests/scoring']; from test_scorers import music\n"
        "from simba_music.scoring.loading import load_scorer\n"
        "print(load_scorer('clap').score(music(seed=2), 'prompt 2').cosine)"
    )
    # The last line: a library that the training imports may print where it was found.
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert abs(float(said.stdout.splitlines()[-1]) - first[2].cosine) < 1e-5


def test_what_cannot_be_scored_is_not(scorer):
    clipped = Waveform((music().samples * 40).clamp(-1, 1), RATE)
    for wave, reason in (
        (music(0.5), "shorter than 1 s"),
        (Waveform(torch.zeros(1, 2 * RATE), RATE), "silent"),
        (clipped, "clipped"),
    ):
        score = scorer.score(wave, "calm piano")
        assert score.cosine is None and score.percentile is None and score.reason == reason
    assert unscorable(music()) is None


def scored(timeline, name="a"):
    return Score(name, "1", float(np.mean(timeline)), 50.0, None, 200, tuple(timeline))


def test_a_difference_is_clear_only_where_its_interval_leaves_zero_out():
    low = scored([0.10, 0.12, 0.11, 0.13])
    found = difference(scored([0.30, 0.31, 0.33, 0.32]), low)
    assert found.clear and found.low < 0.2025 - 0.0 < found.high
    assert not difference(scored([0.30, 0.01, 0.25, 0.05]), low).clear
    # Student's t by hand: mean 0.05, sd 0.1, n = 4, t(3) = 3.182.
    by_hand = difference(scored([0.2, 0.0, 0.1, -0.1]), scored([0.0, 0.0, 0.0, 0.0]))
    half = 3.1824 * np.std([0.2, 0.0, 0.1, -0.1], ddof=1) / 2
    assert (by_hand.low, by_hand.high) == pytest.approx((0.05 - half, 0.05 + half), abs=1e-4)
    assert difference(low, scored([0.1, 0.1], "a")) is None
    assert difference(low, scored([0.1, 0.1, 0.1, 0.1], "another scorer")) is None


def test_laions_class_scores_behind_the_same_interface(tiny_clap):
    scorer = load_scorer(str(tiny_clap))
    assert scorer.sample_rate == 48_000 and len(scorer.null) >= 100
    first, again = (scorer.score(music(12.0), "calm piano") for _ in range(2))
    assert first == again and len(first.timeline) == 4
    assert first.scorer == tiny_clap.name and first.cosine is not None


def save_beside(model, original, folder):
    """A changed model with the tokenizer and settings of the original."""
    shutil.copytree(original, folder)
    model.save_pretrained(folder)


def test_a_collapsed_text_tower_is_refused(tiny_clap, tmp_path):
    model = ClapModel.from_pretrained(tiny_clap)
    with torch.no_grad():  # whatever it reads, it says much the same
        model.text_projection.linear2.weight.mul_(1e-4)
        model.text_projection.linear2.bias.fill_(1.0)
    folder = tmp_path / "collapsed"
    save_beside(model, tiny_clap, folder)
    with pytest.raises(CheckpointError, match=r"text tower unrelated.*cosine (1|0\.99)"):
        load_scorer(str(folder))


def test_a_collapsed_audio_tower_is_refused(tiny_clap, tmp_path):
    model = ClapModel.from_pretrained(tiny_clap)
    with torch.no_grad():
        model.audio_projection.linear2.weight.mul_(1e-4)
        model.audio_projection.linear2.bias.fill_(1.0)
    folder = tmp_path / "deaf"
    save_beside(model, tiny_clap, folder)
    with pytest.raises(CheckpointError, match="audio tower noise, a tone and clicks"):
        load_scorer(str(folder))


def test_a_scorer_whose_weights_do_not_fit_is_refused(tiny_clap, tmp_path):
    folder = tmp_path / "misfit"
    folder.mkdir()
    for path in tiny_clap.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["num_hidden_layers"] = 2
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="weights do not fit its config"):
        load_scorer(str(folder))


def test_retrieval_is_perfect_for_the_same_vectors_and_chance_for_unrelated_ones():
    torch.manual_seed(0)
    audio, other = (torch.nn.functional.normalize(torch.randn(150, 64), dim=-1) for _ in range(2))
    same = {row["metric"]: row for row in retrieval_rows("x", audio, audio)}
    assert all(row["value"] == 1 and row["n"] == 150 for row in same.values())
    chance = {row["metric"]: row for row in retrieval_rows("x", audio, other)}
    for top in (1, 5, 10):
        row = chance[f"right caption in the top {top} of 100"]
        assert row["lo"] <= top / 100 <= row["hi"]


def test_an_oracle_prefers_every_true_fact_and_its_opposite_none():
    facts = [item.facts for item in list(read_bench(BENCH))[:12]]

    class Oracle:
        """Knows every contrast that the measure will draw, as it draws with the same seed."""

        def __init__(self, sign):
            rng = random.Random(scorer_evaluation.SEED)
            drawn = [c for f in facts for _ in range(DRAWS) for c in contrasts(f, rng)]
            self.true, self.sign = iter(drawn), sign

        def embed_prompts(self, prompts):
            contrast = next(self.true)
            assert prompts == [contrast.true, contrast.false]
            return self.sign * torch.tensor([[1.0], [-1.0]])

    audio = torch.ones(len(facts), 1)
    for sign, value in ((1, 1.0), (-1, 0.0)):
        rows = fact_rows("x", Oracle(sign), audio, facts)
        assert {row["value"] for row in rows} == {value}
        assert {row["metric"] for row in rows} == {f"prefers the true {kind}" for kind in KINDS}
