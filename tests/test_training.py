"""Every training stage end to end on two minutes of sine tones, a few steps each."""

import json
from dataclasses import replace

import numpy as np
import pretty_midi
import pytest
import torch

from simba_music.checkpoint import load_language_model
from simba_music.clap import Scorer
from simba_music.codec import Codec
from simba_music.config import LMConfig
from simba_music.errors import RequestError
from simba_music.files import read_json
from simba_music.training import clap_trainer, codec_trainer, lm_trainer, tokens
from simba_music.training.codec_trainer import INPUT_GAIN, CodecPreset, CodecTrainer
from simba_music.training.corpus import build
from simba_music.training.lm_trainer import LMPreset
from simba_music.training.quantizer import EMAQuantizer


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A composed, captioned corpus whose audio is sines, so that no synthesiser is needed."""
    folder = tmp_path_factory.mktemp("corpus")
    build.compose_corpus(0.1, 7, folder)
    build.caption_corpus(folder)
    (folder / "audio").mkdir()
    rows = list(build.read_rows(folder / build.MANIFEST))
    for i, row in enumerate(rows):  # every split must have pieces, however few there are
        row["split"] = ("train", "train", "train", "valid", "test")[i % 5]
    build.write_rows(folder / build.MANIFEST, rows)
    for shard, group in enumerate(build.shards(folder)):
        parts = []
        for row in group:
            score = pretty_midi.PrettyMIDI(str(folder / "midi" / f"{row['seed']}.mid"))
            wave = score.synthesize(fs=build.SAMPLE_RATE)
            wave = np.resize(
                wave / max(1e-9, np.abs(wave).max()) * 0.3,
                round(row["duration_s"] * build.SAMPLE_RATE),
            )
            parts.append((wave * 32767).astype(np.int16))
        np.save(folder / "audio" / f"{shard:04d}.npy", np.concatenate(parts))
    return folder


@pytest.fixture(scope="module")
def codec_folder(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints") / "codec"
    folder.mkdir()
    preset = CodecPreset(batch=2, crop_s=0.4, warmup_fraction=0.0)
    codec_trainer.train_codec(corpus, folder, preset, folder / "resume.state", steps=2)
    codec_trainer.train_codec(corpus, folder, preset, folder / "resume.state", steps=3)
    return folder


@pytest.fixture(scope="module")
def tokenised(corpus, codec_folder):
    from simba_music.text_encoder import TextEncoder

    tokens.encode_corpus(corpus, codec_folder, workers=1)
    tokens.encode_captions(corpus, TextEncoder.load(tokens.MINILM))
    return corpus


def test_codec_training_resumes_and_exports_a_stock_model(codec_folder):
    assert read_json(codec_folder / "training.json")["steps"] == 3
    ref = tokens.codec_ref(codec_folder)
    assert (ref.sample_rate, ref.frame_rate, ref.codebook_size) == (24000, 50, 2048)
    codec = Codec.load(codec_folder, ref)
    assert codec.decode(torch.randint(0, 2048, (1, 1, 50)))[0].samples.shape == (1, 24_000)


def test_the_exported_codec_is_the_trained_network():
    trainer = CodecTrainer(CodecPreset(batch=2), "cpu")
    x = 0.1 * torch.randn(2, 9600)
    trainer.step(x)
    trainer.start_quantising(iter(lambda: 0.1 * torch.randn(2, 9600), None), vectors=4096)
    stock = codec_trainer.export(trainer.model, trainer.quantizer.eval())
    with torch.no_grad():
        z, ids, _ = trainer.quantizer(trainer.model.encoder(x[:, None] * INPUT_GAIN))
        ours = trainer.model.decoder(z) / INPUT_GAIN
        codes = stock.encode(x[:, None], bandwidth=0.55).audio_codes
        theirs = stock.decode(codes, [None]).audio_values
    assert torch.equal(codes.flatten(), ids)
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-4)


def test_the_codebook_follows_its_data_and_revives_dead_codes():
    torch.manual_seed(0)
    centres = 10 * torch.randn(16, 4)
    quantizer = EMAQuantizer(16, 4, decay=0.9, dead_below=0.05).train()
    quantizer.initialise(torch.zeros(16, 4))  # all codes in one place
    for _ in range(200):
        batch = centres[torch.randint(16, (64,))] + 0.01 * torch.randn(64, 4)
        _, ids, _ = quantizer(batch.T[None])
    nearest = torch.cdist(centres, quantizer.embed).min(1).values
    # Without restarts all but one or two codes would stay where they began.
    assert (nearest < 0.1).sum() >= 8 and ids.unique().numel() >= 8


def test_tokens_of_another_codec_are_refused(tokenised, system):
    with pytest.raises(RequestError, match="another codec"):
        tokens.encode_corpus(tokenised, system / "codec", workers=1)


def test_an_example_is_its_crop(tokenised):
    data = tokens.TokenCorpus(tokenised, "train")
    for index in range(len(data.crops)):
        example = data.example(index, 1)
        crop = example.facts
        assert len(example.tokens) == round((crop["end_s"] - crop["start_s"]) * 50)
        assert example.first == crop["start_s"] * 50 and example.text.shape[1] == 384
        assert example.tokens.max() < 2048


PRESET = LMPreset(
    d_model=32, n_layers=1, d_state=8, simba_heads=4, transformer_heads=4,
    d_ff={"simba": 48, "transformer": 60}, steps=4, tokens_per_batch=600, learning_rate=1e-2,
    warmup_steps=1,
)  # fmt: skip


@pytest.mark.parametrize("backbone", ["simba", "transformer"])
def test_language_model_training_resumes_where_it_was(tokenised, codec_folder, tmp_path, backbone):
    ref = tokens.codec_ref(codec_folder)

    def train(name, limit):
        out = tmp_path / name
        out.mkdir(exist_ok=True)
        lm_trainer.train_lm(
            tokenised,
            out,
            backbone,
            PRESET,
            ref,
            tokens.codebook_of(codec_folder),
            out / "resume.state",
            limit_steps=limit,
        )
        return out

    whole = train("whole", None)
    train("halves", 2)
    halves = train("halves", None)
    a, b = (load_language_model(str(folder))[0].state_dict() for folder in (whole, halves))
    for name, tensor in a.items():
        torch.testing.assert_close(tensor, b[name], atol=1e-3, rtol=1e-2)
    history = [json.loads(line) for line in (whole / "history.jsonl").read_text().splitlines()]
    assert history[-1]["step"] == 4 and read_json(whole / "training.json")["steps"] == 4


def test_both_backbones_see_the_same_batches(tokenised):
    data = tokens.TokenCorpus(tokenised, "train")
    first, second = (lm_trainer.batches(data, PRESET, 3) for _ in range(2))
    for _ in range(3):
        a, b = next(first), next(second)
        assert torch.equal(a.tokens, b.tokens) and torch.equal(a.null, b.null)
    later = lm_trainer.batches(data, PRESET, 4)
    assert torch.equal(next(later).tokens, lm_batch(data, 4))


def lm_batch(data, step):
    return next(lm_trainer.batches(data, PRESET, step)).tokens


def test_the_bundled_presets_are_pairs_within_2_percent():
    from conftest import lm_config

    from simba_music.lm import MusicLM

    ref = lm_config("simba").codec.model_copy(update={"codebook_size": 2048})
    for name, preset in lm_trainer.PRESETS.items():
        configs = [lm_trainer.make_config(b, preset, ref) for b in ("simba", "transformer")]
        assert all(isinstance(c, LMConfig) for c in configs)
        with torch.device("meta"):
            sizes = [sum(p.numel() for p in MusicLM(c).parameters()) for c in configs]
        assert max(sizes) / min(sizes) < 1.02, (name, sizes)
        assert 2 * max(sizes) <= 30e6, name


def test_scorer_training_writes_a_scorer_that_loads(tokenised, codec_folder, tmp_path):
    preset = replace(clap_trainer.PRESETS["cpu"], steps=2, batch=4, channels=(4, 8), width=8)
    codec = Codec.load(codec_folder, tokens.codec_ref(codec_folder))
    clap_trainer.train_clap(tokenised, tmp_path / "clap", codec, preset)
    scorer = Scorer.load(str(tmp_path / "clap"))
    assert "not LAION CLAP" in scorer.identifier and len(scorer.null) == clap_trainer.NULL_PROMPTS
    wave = codec.decode(torch.randint(0, 2048, (1, 1, 1200)))[0]
    score = scorer.score(wave, "calm piano")
    assert -1 <= score.cosine <= 1 and 0 <= score.percentile <= 100


@pytest.mark.fluidsynth
def test_rendering_is_repeatable_and_at_level():
    from simba_music.audio import loudness_lufs
    from simba_music.training.corpus.compose import compose
    from simba_music.training.corpus.render import LEVEL_LUFS, Renderer

    renderer, (score, _) = Renderer(build.SAMPLE_RATE), compose(11)
    samples = renderer.render(score, 8.0, seed=3)
    assert samples.shape == (192_000,)
    assert loudness_lufs(samples, build.SAMPLE_RATE) == pytest.approx(LEVEL_LUFS, abs=3)
    again = Renderer(build.SAMPLE_RATE).render(score, 8.0, seed=3)
    np.testing.assert_allclose(samples, again, atol=1e-3)
