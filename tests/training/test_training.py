"""Every training stage end to end on two minutes of sine tones, a few steps each."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from simba_music.audio import Waveform
from simba_music.errors import CheckpointError, RequestError
from simba_music.files import read_json
from simba_music.models.codec import Codec
from simba_music.scoring.bundled import ScorerModel
from simba_music.scoring.loading import load_scorer
from simba_music.training.codec import trainer as codec_trainer
from simba_music.training.codec.layers import ChannelsLast
from simba_music.training.codec.losses import Balancer, SpectralLoss, overshoot
from simba_music.training.codec.model import INPUT_GAIN, CodecShape, build_autoencoder, export
from simba_music.training.codec.preset import CodecPreset
from simba_music.training.codec.quantizer import EMAQuantizer
from simba_music.training.codec.trainer import CodecTrainer
from simba_music.training.corpus import store, tokens
from simba_music.training.judges import scorer as clap_trainer


def test_codec_training_resumes_and_exports_a_stock_model(codec_folder):
    assert read_json(codec_folder / "training.json")["steps"] == 3
    ref = tokens.codec_ref(codec_folder)
    assert (ref.sample_rate, ref.frame_rate, ref.codebook_size) == (24000, 75, 2048)
    codec = Codec.load(codec_folder, ref)
    assert codec.decode(torch.randint(0, 2048, (1, 1, 75)))[0].samples.shape == (1, 24_000)


@pytest.mark.parametrize(
    "shape",
    [
        CodecShape(),
        CodecShape(codes=1024, context=31, lstm=True),
        CodecShape(32_000, frame_rate=50),
    ],
)
def test_the_exported_codec_is_the_trained_network(shape):
    trainer = CodecTrainer(CodecPreset(shape=shape, batch=2), "cpu")
    x = 0.1 * torch.randn(2, 20 * shape.hop)
    trainer.step(x)
    batches = iter(lambda: 0.1 * torch.randn(2, 20 * shape.hop), None)
    trainer.start_quantising(batches, vectors=2500)
    trainer.quantizer.eval()
    stock = export(trainer.model, trainer.quantizer.embed, shape)
    with torch.no_grad():
        z, ids, _ = trainer.quantizer(trainer.model.encoder(x[:, None] * INPUT_GAIN))
        ours = trainer.model.decoder(z) / INPUT_GAIN
        codes = stock.encode(x[:, None], bandwidth=stock.config.target_bandwidths[0]).audio_codes
        theirs = stock.decode(codes, [None]).audio_values
    assert torch.equal(codes.flatten(), ids)
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("lstm", [False, True])
def test_training_goes_on_from_an_exported_codec(corpus, tmp_path, lstm):
    shape = CodecShape(codes=256, context=15, lstm=lstm)
    preset = CodecPreset(shape=shape, batch=2, crop_s=0.4, warmup_fraction=0.0, latents=600)
    first = tmp_path / "first"
    first.mkdir()
    codec_trainer.train_codec([corpus], first, preset, first / "resume.state", steps=2)
    again = CodecTrainer(preset, "cpu", first)
    ref = tokens.codec_ref(first)
    codec = Codec.load(first, ref)
    x = 0.1 * torch.randn(1, 20 * shape.hop)
    with torch.no_grad():
        again.quantizer.eval()
        z, ids, _ = again.quantizer(again.encode(x[:, None] * INPUT_GAIN))
        y = again.decode(z)[:, 0] / INPUT_GAIN
    found = codec.encode(Waveform(x, 24_000))
    assert again.quantising and torch.equal(found.flatten(), ids)
    torch.testing.assert_close(y, codec.decode(found)[0].samples, atol=1e-4, rtol=1e-3)
    second = tmp_path / "second"
    second.mkdir()
    state = second / "resume.state"
    codec_trainer.train_codec([corpus], second, preset, state, steps=1, start=first)
    assert read_json(second / "training.json")["started_from"]["steps"] == 2
    other = replace(preset, shape=replace(shape, filters=8))
    with pytest.raises(RequestError, match="num_filters 16, the preset 8"):
        CodecTrainer(other, "cpu", first)


def test_a_decoder_is_trained_alone_and_no_token_changes(corpus, tmp_path):
    shape = CodecShape(codes=256, context=15)
    preset = CodecPreset(shape=shape, batch=2, crop_s=0.4, warmup_fraction=0.0, latents=600)
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    codec_trainer.train_codec([corpus], first, preset, first / "resume.state", steps=2)
    alone = replace(preset, decoder_only=True, peak_weight=0.5, learning_rate=1e-2)
    with pytest.raises(RequestError, match="--start"):
        CodecTrainer(alone, "cpu")
    state = second / "resume.state"
    codec_trainer.train_codec([corpus], second, alone, state, steps=2, start=first)
    before, after = (load_file(f / "model.safetensors") for f in (first, second))
    same = {name for name, value in before.items() if torch.equal(value, after[name])}
    kept = {name for name in before if not name.startswith("decoder.")}
    assert kept <= same and len(same) < len(before)


def test_a_decoder_waits_until_the_discriminator_knows_it(corpus, tmp_path):
    preset = CodecPreset(
        shape=CodecShape(codes=64),
        batch=2,
        crop_s=0.4,
        warmup_fraction=0.0,
        latents=600,
        channels=4,
    )
    codec_trainer.train_codec([corpus], tmp_path, preset, tmp_path / "resume.state", steps=1)
    alone = replace(preset, decoder_only=True, judge_fraction=0.0, adversarial_fraction=0.5)
    trainer, x = CodecTrainer(alone, "cpu", tmp_path), 0.1 * torch.randn(2, 9600)

    def moved(parameters):
        before = [p.clone() for p in parameters]
        trainer.step(x)
        return any(not torch.equal(a, b) for a, b in zip(before, parameters, strict=True))

    assert not moved(trainer.parameters)
    assert moved(list(trainer.discriminator.parameters()))
    trainer.seconds = 0.6 * alone.minutes * 60
    assert moved(trainer.parameters)


def test_only_what_rises_above_the_original_is_overshoot():
    x = torch.zeros(1, 1000)
    x[0, 500] = 0.5
    y = torch.zeros(1, 1000)
    y[0, 510] = -0.5
    assert overshoot(x, y, 20) == 0
    y[0, 530] = 0.2  # nothing of the original is that near
    assert overshoot(x, y, 20) == pytest.approx(0.2**2 / 1000)
    y[0, 495] = 0.8
    assert overshoot(x, y, 20) == pytest.approx((0.2**2 + 0.3**2) / 1000)


@pytest.mark.parametrize("frame_rate", [50, 75])
def test_training_computes_what_the_stock_layers_compute(frame_rate):
    shape = CodecShape(frame_rate=frame_rate, context=15, lstm=True)
    model = build_autoencoder(shape)
    x = torch.randn(2, 1, 20 * shape.hop)
    with torch.no_grad():
        z = model.encoder(x)
        torch.testing.assert_close(ChannelsLast(model.encoder)(x), z, atol=1e-4, rtol=1e-4)
        y = ChannelsLast(model.decoder)(z)
        torch.testing.assert_close(y, model.decoder(z), atol=1e-4, rtol=1e-4)


def test_the_discriminator_joins_when_its_time_has_come():
    preset = CodecPreset(
        batch=2, warmup_fraction=0.0, judge_fraction=0.0, adversarial_fraction=0.0, channels=4
    )
    trainer = CodecTrainer(preset, "cpu")
    x = 0.1 * torch.randn(2, 9600)
    assert "adversarial" not in trainer.step(x)  # not before there are codes
    trainer.start_quantising(iter(lambda: 0.1 * torch.randn(2, 9600), None), vectors=4096)
    before = [p.clone() for p in trainer.discriminator.parameters()]
    losses = trainer.step(x)
    assert {"adversarial", "matching", "discriminator"} <= set(losses)
    after = list(trainer.discriminator.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_balancer_gives_each_loss_the_share_that_its_weight_says():
    y = torch.randn(3, 50, requires_grad=True)
    losses = {"large": 1e6 * y.sum(), "small": 1e-6 * (y**2).sum()}
    balancer = Balancer(norm=0.1)
    gradient = balancer.gradient(losses, {"large": 1.0, "small": 3.0}, y)
    own = torch.ones(3, 50) / 150**0.5, y.detach() / y.detach().norm()
    torch.testing.assert_close(gradient, 0.1 * (0.25 * own[0] + 0.75 * own[1]))


def test_a_spectral_loss_is_zero_for_equal_signals_and_grows_with_upper_harmonics():
    t = torch.arange(24_000) / 24_000
    tone = 0.1 * torch.sin(2 * torch.pi * 440 * t)
    x = (tone + 0.02 * torch.sin(2 * torch.pi * 5000 * t))[None]
    y = (tone + 0.02 * torch.sin(2 * torch.pi * 5060 * t))[None]
    loss = SpectralLoss(24_000)
    assert [float(v) for v in loss(x, x)] == [0.0, 0.0, 0.0]
    high = loss(x, y)
    assert high.linear > 0.01 and high.mel < high.linear  # one mel band holds both
    low = loss(x, (0.1 * torch.sin(2 * torch.pi * 450 * t))[None])
    assert low.octave / low.linear > high.octave / high.linear  # it minds the fundamentals more


def test_audio_at_another_rate_is_refused(corpus, tmp_path):
    preset = CodecPreset(shape=CodecShape(32_000, frame_rate=50))
    with pytest.raises(RequestError, match="--sample-rate 32000"):
        codec_trainer.train_codec([corpus], tmp_path, preset, tmp_path / "resume.state", steps=1)
    with pytest.raises(RequestError, match="another folder"):
        store.claim_sample_rate(corpus, 32_000)


def test_the_codebook_follows_its_data_and_revives_dead_codes():
    torch.manual_seed(0)
    centres = 10 * torch.randn(16, 4)
    quantizer = EMAQuantizer(16, 4, decay=0.9, dead_below=0.05).train()
    quantizer.initialise(torch.zeros(16, 4), 64)  # all codes in one place
    for _ in range(200):
        batch = centres[torch.randint(16, (64,))] + 0.01 * torch.randn(64, 4)
        _, ids, _ = quantizer(batch.T[None])
    nearest = torch.cdist(centres, quantizer.embed).min(1).values
    # Without restarts all but one or two codes would stay where they began.
    assert (nearest < 0.1).sum() >= 8 and ids.unique().numel() >= 8


def test_a_balanced_codebook_shares_its_work_more_evenly():
    torch.manual_seed(0)
    data = torch.randn(20_000, 8).abs().pow(3)  # dense near the origin, with a long tail

    def perplexity(balance):
        torch.manual_seed(1)
        quantizer = EMAQuantizer(64, 8, decay=0.95, dead_below=0.0, balance=balance).train()
        quantizer.initialise(data[:2000], 256)
        for _ in range(150):
            quantizer(data[torch.randint(len(data), (256,))].T[None])
        counts = torch.bincount(quantizer.nearest(data, quantizer.embed), minlength=64)
        shares = counts / counts.sum()
        return float(torch.exp(-(shares * (shares + 1e-9).log()).sum()))

    assert perplexity(0.5) > 1.1 * perplexity(0.0)


def test_tokens_of_another_codec_are_refused(tokenised, system):
    with pytest.raises(RequestError, match="another codec"):
        tokens.encode_corpus(tokenised, system / "codec", workers=1)


def test_an_example_is_its_crop(tokenised):
    data = tokens.TokenCorpus(tokenised, "train")
    for index in range(len(data.crops)):
        example = data.example(index, 1)
        crop = example.facts
        # Half a second is 37.5 frames of 75 Hz: the last frame may reach beyond the crop.
        assert example.duration_s == round(crop["end_s"] - crop["start_s"], 2)
        assert example.codes.shape[-1] == math.ceil(example.duration_s * 75)
        assert example.text.shape[1] == 384
        assert example.codes.max() < 2048


def test_a_contrast_teaches_to_prefer_the_true_fact(tokenised):
    from simba_music.models.text_encoder import TextEncoder

    corpus = tokens.TokenCorpus(tokenised, "train")
    wrong = clap_trainer.Contrasts(corpus, TextEncoder.load(tokens.MINILM), seed=0)
    assert len(wrong.pairs) == len(corpus.crops) and all(wrong.pairs)
    picks = np.arange(min(8, len(corpus.crops)))
    places, true, false = wrong.draw(picks, np.random.default_rng(0))
    assert places.tolist() == picks.tolist() and true.shape == false.shape
    torch.manual_seed(0)
    model = ScorerModel(clap_trainer.scorer_config(clap_trainer.ClapPreset(width=16)))
    vectors = torch.nn.functional.normalize(torch.randn(len(picks), 16), dim=-1)
    optimiser = torch.optim.Adam(model.text_head.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        loss = clap_trainer.contrast_loss(model, vectors, places, true, false)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 4
    nothing = torch.zeros(0, dtype=torch.long), torch.zeros(0, 384), torch.zeros(0, 384)
    assert float(clap_trainer.contrast_loss(model, vectors, *nothing)) == 0


def test_scorer_training_writes_a_scorer_that_loads(tokenised, codec_folder, tmp_path, monkeypatch):
    preset = replace(clap_trainer.PRESETS["cpu"], steps=2, batch=4, channels=(4, 8), width=8)
    codec = Codec.load(codec_folder, tokens.codec_ref(codec_folder))
    clap_trainer.train_clap(tokenised, tmp_path / "clap", codec, preset)
    # After two steps all prompts are still the same to it, and it is refused for that.
    with pytest.raises(CheckpointError, match="unrelated prompts are the same"):
        load_scorer(str(tmp_path / "clap"))
    monkeypatch.setattr("simba_music.scoring.score.COLLAPSED_TEXT", 1.0)
    scorer = load_scorer(str(tmp_path / "clap"))
    assert "not LAION CLAP" in scorer.identifier and len(scorer.null) == clap_trainer.NULL_PROMPTS
    wave = codec.decode(torch.randint(0, 2048, (1, 1, 1200)))[0]
    score = scorer.score(wave, "calm piano")
    assert -1 <= score.cosine <= 1 and 0 <= score.percentile <= 100
