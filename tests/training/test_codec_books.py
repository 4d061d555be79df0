"""Residual books and a deeper decoder on a tiny codec: what stays, what learns, what is written."""

import json
import math
import shutil
from collections import Counter
from dataclasses import replace

import pytest
import torch
from conftest import lm_config, random_lm
from safetensors.torch import load_file, save_file
from transformers import EncodecModel

from simba_music.audio import Waveform
from simba_music.errors import CheckpointError, RequestError
from simba_music.files import read_json, sha256, write_json
from simba_music.generation.pipeline import Pipeline
from simba_music.models.checkpoint import save_language_model
from simba_music.models.codec import Codec
from simba_music.training.codec.adopt import adopt_codec, check_same_tokens
from simba_music.training.codec.books import draw_counts
from simba_music.training.codec.books_step import BooksTrainer
from simba_music.training.codec.deepening import moved
from simba_music.training.codec.model import INPUT_GAIN, CodecShape, reopen, write_codec
from simba_music.training.codec.preset import PRESETS, CodecPreset
from simba_music.training.codec.trainer import train_codec
from simba_music.training.corpus import tokens

SHAPE = CodecShape(codes=64, filters=4, lstm=True)
PRESET = replace(
    PRESETS["books"],
    shape=replace(SHAPE, residuals=3, books=4, book_codes=16),
    minutes=1e9,
    batch=4,
    crop_s=0.4,
    adversarial_batch=2,
    channels=4,
    adversarial_fraction=0.0,
    ramp_fraction=0.0,
    book_vectors=500,
    dead_below=0.0,  # restarts draw at random
)


def noise(count=4, seed=0, seconds=0.4):
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield 0.1 * torch.randn(count, round(24_000 * seconds), generator=generator)


@pytest.fixture(scope="module")
def first(corpus, tmp_path_factory):
    """A codec of one book, as it comes from a training."""
    folder = tmp_path_factory.mktemp("first")
    preset = CodecPreset(shape=SHAPE, batch=2, crop_s=0.4, warmup_fraction=0.0)
    train_codec([corpus], folder, preset, folder / "resume.state", steps=2)
    return folder


def written(trainer, start, folder):
    folder.mkdir(exist_ok=True)
    write_codec(trainer.exported(), folder, start)
    return Codec.load(folder, tokens.codec_ref(folder))


@pytest.fixture(scope="module")
def made(first, tmp_path_factory):
    """A trainer after k-means, before its first step, and what it exports."""
    trainer = BooksTrainer(PRESET, "cpu", first)
    trainer.start_quantising(noise())
    folder = tmp_path_factory.mktemp("made")
    return trainer, written(trainer, first, folder), folder


def sounds():
    torch.manual_seed(1)
    yield from (level * torch.randn(1, 24_000) for level in (1e-4, 0.1, 1.0, 30.0))
    yield torch.randn(1, 24_000).sign()
    yield torch.zeros(1, 24_000)


def test_before_training_the_deeper_codec_is_the_old_one(first, made):
    trainer, codec, folder = made
    old = Codec.load(first, tokens.codec_ref(first))
    before, after = (load_file(f / "model.safetensors") for f in (first, folder))
    for name, value in before.items():
        if name.startswith("encoder.") or name == "quantizer.layers.0.codebook.embed":
            assert torch.equal(after[moved(name, old.model, codec.model)], value)
    for samples in sounds():
        wave = Waveform(samples, 24_000)
        assert torch.equal(
            codec.model.encoder(samples[None]), old.model.encoder(samples[None])
        )  # bit for bit: a new block adds 0
        codes = old.encode(wave)
        assert torch.equal(codec.encode(wave), codes)
        assert torch.equal(codec.encode(wave, 4)[:, :1], codes)
    plain, _ = reopen(first, SHAPE)
    z = torch.randn(2, 128, 30)
    with torch.no_grad():
        assert torch.equal(trainer.model.decoder(z), plain.decoder(z))
    ours, theirs = (c.decode(codes)[0].samples for c in (codec, old))
    torch.testing.assert_close(ours, theirs, atol=1e-3 * float(theirs.abs().max()), rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_no_sound_is_given_a_code_that_its_book_lacks(made, dtype):
    _, codec, folder = made
    assert codec.codes_per_book == (64, 16, 16, 16)
    stock = EncodecModel.from_pretrained(folder, dtype=dtype)
    for samples in sounds():
        if dtype == torch.float16:
            samples = samples.clamp(-1, 1)
        found = stock.encode(samples[None].to(dtype), bandwidth=stock.config.target_bandwidths[-1])
        assert found.audio_codes.shape[2] == 4
        assert found.audio_codes[0, 0, 1:].max() < 16
    codes = torch.zeros(1, 4, 5, dtype=torch.long)
    codec.decode(codes)
    codes[0, 0, 0] = 63
    codec.decode(codes)
    codes[0, 2, 0] = 16
    with pytest.raises(ValueError, match="0 to 15 in book 3"):
        codec.decode(codes)


def test_the_stock_class_loads_encodes_and_decodes_what_ours_does(made):
    _, codec, folder = made
    stock, info = EncodecModel.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True
    )
    assert {name.rpartition(".")[2] for name in info["missing_keys"]} == {"embed_avg"}
    samples = 0.1 * torch.randn(1, 24_000)
    for k, bandwidth in enumerate(stock.config.target_bandwidths, 1):
        codes = stock.encode(samples[None], bandwidth=bandwidth).audio_codes
        assert codes.shape == (1, 1, k, 75)
        assert torch.equal(codec.encode(Waveform(samples, 24_000), k), codes[0])
        with torch.no_grad():
            theirs = stock.decode(codes, [None]).audio_values[0]
        torch.testing.assert_close(codec.decode(codes[0])[0].samples, theirs, atol=1e-5, rtol=1e-4)
    assert codec.decoder == "fast"
    # Blocks of the encoder that a deeper decoder brought with it take no time.
    more = 4 * (stock.config.num_residual_layers - 1)
    assert sum("forward" in vars(layer) for layer in codec.model.encoder.layers) == more > 0
    vectors = tokens.codebooks_of(folder, 4)
    assert vectors.shape == (4, 64, 128) and float(vectors.abs().max()) < 100
    assert stock.encode(samples[None]).audio_codes.shape[2] == 1  # unless more are asked for


def test_only_what_no_decoding_needs_may_be_missing(made, tmp_path):
    _, _, folder = made
    tensors, config = load_file(folder / "model.safetensors"), read_json(folder / "config.json")
    assert not any(name.endswith("embed_avg") for name in tensors)
    (tmp_path / "config.json").write_text(json.dumps(config))
    del tensors["quantizer.layers.3.codebook.embed"]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"1 weights do not fit.*layers\.3\.codebook\.embed"):
        Codec.load(tmp_path, tokens.codec_ref(tmp_path))


@pytest.mark.parametrize("sizes", [[64, 16, 16], [64, 16, 16, 65], [64, 16, 16, 0], "all"])
def test_codes_per_book_that_do_not_fit_are_refused(made, tmp_path, sizes):
    _, _, folder = made
    config = read_json(folder / "config.json") | {"codes_per_book": sizes}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="codes_per_book"):
        Codec.load(tmp_path, tokens.codec_ref(tmp_path))


def test_every_crop_is_decoded_from_as_many_books_as_were_drawn(made):
    trainer, codec, _ = made
    x = next(noise(8))
    with torch.no_grad():
        chosen, _, logged = trainer.books.eval() and trainer._latents(x, len(x))
        z = trainer.encode(x[:, None] * INPUT_GAIN)
    codes = codec.model.quantizer.encode(z, codec.model.config.target_bandwidths[-1])
    for i, k in enumerate(trainer.counts.tolist()):
        wanted = codec.model.quantizer.decode(codes[:k, i : i + 1])
        torch.testing.assert_close(chosen[i : i + 1], wanted, atol=1e-3, rtol=1e-3)
    shares = [logged[f"left by {k}"] for k in (1, 2, 3, 4)]
    assert shares == sorted(shares, reverse=True) and shares[3] < 0.95 * shares[0]


def test_books_are_drawn_with_their_shares():
    generator, shares = torch.Generator().manual_seed(0), PRESETS["books"].book_shares
    counts = Counter(draw_counts(shares, 64, generator).tolist())
    assert counts[1] == 32 and counts[4] == 16 and counts[2] + counts[3] == 16
    few = torch.cat([draw_counts(shares, 2, generator) for _ in range(2000)])
    for k, share in enumerate(shares, 1):
        assert float((few == k).float().mean()) == pytest.approx(share, abs=0.03)
    assert set(draw_counts((0.0, 1.0), 9, generator).tolist()) == {2}


def test_a_training_learns_books_and_decoder_and_goes_on_where_it_stopped(first, tmp_path):
    def trainer():
        made = BooksTrainer(replace(PRESET, learning_rate=1e-3), "cpu", first)
        made.start_quantising(noise())
        return made

    whole, halves, x = trainer(), trainer(), [next(noise(4, seed)) for seed in range(4)]
    began = [embed.clone() for embed in whole.books.embeds]
    losses = [whole.step(batch) for batch in x]
    assert {"log-mel 1", "log-mel 4", "left by 4"} <= set().union(*losses)
    for batch in x[:2]:
        halves.step(batch)
    halves.save(tmp_path / "state")
    again = BooksTrainer(replace(PRESET, learning_rate=1e-3), "cpu", first)
    again.restore(tmp_path / "state")
    for batch in x[2:]:
        again.step(batch)
    assert not any(torch.equal(a, b) for a, b in zip(began, whole.books.embeds, strict=True))
    for one, other in ((whole.books, again.books), (whole.average, again.average)):
        for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
    pairs = zip(whole.average.parameters(), whole.model.decoder.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)  # the average is behind


def test_books_stay_once_they_are_learned(made, first):
    trainer = BooksTrainer(replace(PRESET, books_fraction=0.0), "cpu", first)
    trainer.start_quantising(noise())
    trainer.step(next(noise()))
    frozen = [embed.clone() for embed in trainer.books.embeds]
    trainer.step(next(noise(seed=1)))
    for a, b in zip(frozen, trainer.books.embeds, strict=True):
        assert torch.equal(a, b) and torch.equal(a, a.half().float())


def test_a_decoder_that_is_good_begins_with_small_steps(first):
    trainer = BooksTrainer(replace(PRESET, minutes=1.0, ramp_fraction=0.5), "cpu", first)
    trainer.start_quantising(noise())
    rates = []
    for seconds in (0.0, 15.0, 30.0, 45.0):
        trainer.seconds = seconds
        trainer.step(next(noise()))
        rates.append(trainer.optimiser.param_groups[0]["lr"])
    assert rates[0] == 0 < rates[1] < rates[2] > rates[3]


def test_gradients_that_are_not_finite_change_nothing(made, first):
    trainer = BooksTrainer(PRESET, "cpu", first)
    trainer.start_quantising(noise())
    trainer.step(next(noise()))
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    judge = {name: value.clone() for name, value in trainer.discriminator.state_dict().items()}
    broken = trainer.decode
    trainer.decode = lambda z: broken(z) * float("nan")
    trainer.step(next(noise()))
    assert trainer.skipped == 1
    assert all(math.isfinite(value) for value in trainer.balancer.averages.values())
    assert all(torch.equal(value, before[k]) for k, value in trainer.model.state_dict().items())
    assert all(
        torch.equal(value, judge[k]) for k, value in trainer.discriminator.state_dict().items()
    )
    trainer.decode = broken
    trainer.step(next(noise()))
    assert trainer.skipped == 0


def test_the_command_trains_exports_and_keeps_every_token(corpus, first, tmp_path):
    state = tmp_path / "resume.state"
    train_codec([corpus], tmp_path, PRESET, state, steps=1, start=first)
    train_codec([corpus], tmp_path, PRESET, state, steps=2, start=first)
    assert read_json(tmp_path / "training.json")["steps"] == 2
    old, new = (Codec.load(f, tokens.codec_ref(f)) for f in (first, tmp_path))
    wave = Waveform(0.1 * torch.randn(1, 24_000), 24_000)
    assert torch.equal(old.encode(wave), new.encode(wave))
    again = tmp_path / "again"
    again.mkdir()
    train_codec([corpus], again, PRESET, again / "state", steps=2, start=tmp_path)
    newer = Codec.load(again, tokens.codec_ref(again))
    assert torch.equal(new.encode(wave, 4), newer.encode(wave, 4))  # books that are known stay
    other = replace(PRESET, shape=replace(PRESET.shape, book_codes=8))
    with pytest.raises(RequestError, match="residual books"):
        BooksTrainer(other, "cpu", tmp_path)
    with pytest.raises(RequestError, match="3 residual blocks in a row, the preset 2"):
        BooksTrainer(replace(PRESET, shape=replace(PRESET.shape, residuals=2)), "cpu", tmp_path)


def test_a_codec_with_the_same_tokens_takes_the_place_of_one(first, made, tmp_path):
    _, _, folder = made
    old = tmp_path / "codec"
    shutil.copytree(first, old)
    before, after = (sha256(f / "model.safetensors") for f in (old, folder))
    names = [tmp_path / "config.json", tmp_path / "other.json"]
    for name, digest in zip(names, (before, "0" * 64), strict=True):
        write_json(name, {"codec": {"sha256": digest}})
    assert adopt_codec(folder, old, names) == names[:1]
    assert read_json(names[0])["codec"]["sha256"] == after == sha256(old / "model.safetensors")
    assert read_json(names[1])["codec"]["sha256"] == "0" * 64
    with pytest.raises(RequestError, match="smaller num_residual_layers"):
        check_same_tokens(old, first)


@pytest.mark.parametrize(
    "name",
    [
        "encoder.layers.0.conv.bias",
        "encoder.layers.2.block.3.conv.parametrizations.weight.original0",
        "quantizer.layers.0.codebook.embed",
    ],
)
def test_a_codec_with_other_tokens_does_not(first, made, tmp_path, name):
    _, _, folder = made
    tensors = load_file(folder / "model.safetensors")
    tensors[name].flatten()[0] += 0.25
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    shutil.copyfile(folder / "config.json", tmp_path / "config.json")
    with pytest.raises(RequestError, match="than"):
        adopt_codec(tmp_path, first, [])


def test_a_model_of_one_book_plays_the_first_of_four(made, tmp_path):
    _, codec, folder = made
    shutil.copytree(folder, tmp_path / "codec")
    ref = tokens.codec_ref(tmp_path / "codec")
    config = lm_config("simba", codec=ref.model_dump() | {"id": "../codec"})
    save_language_model(tmp_path / "simba", random_lm(config))
    pipeline = Pipeline.load(str(tmp_path / "simba"), str(tmp_path / "simba"), None, "cpu")
    request = pipeline.validate(("left",), prompt="calm piano", duration_s=2.0, seed=7)
    clip = list(pipeline.generate(request, ("left",)))[-1]
    assert clip.codes.shape == (1, 150) and clip.waveform.duration_s == 2.0
    with torch.no_grad():
        z = codec.model.quantizer.layers[0].decode(clip.codes)
        wanted = codec.model.decoder(z)[0]
    found = codec.decode(clip.codes[None])[0].samples
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
