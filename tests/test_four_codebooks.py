"""Four books of codes through everything: models, decoding, batches, codec, gallery, training."""

import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import CODES, lm_config, random_lm, write_codec
from model_checks import codes, given

from simba_music.audio import Waveform
from simba_music.errors import CheckpointError, RequestError
from simba_music.files import read_json, sha256, write_json
from simba_music.generation.clip import Clip, pack_codes, unpack_codes
from simba_music.generation.engines.reference import ReferenceEngine
from simba_music.generation.pipeline import Pipeline
from simba_music.generation.sampling import Sampling, draw_noise
from simba_music.listening import gallery
from simba_music.models.checkpoint import load_language_model, save_language_model
from simba_music.models.codebook_pattern import pattern
from simba_music.models.codec import Codec
from simba_music.models.text_encoder import TextEncoder
from simba_music.training.corpus import store, tokens
from simba_music.training.evaluation.clip_store import ClipStore, make_clips
from simba_music.training.evaluation.report import write_metrics
from simba_music.training.lm import trainer
from simba_music.training.lm.average import average_training
from simba_music.training.lm.preset import PRESETS, Architecture
from simba_music.training.lm.start import exported_start

K = 4
PATTERNS = ("delay", "flat")


def config(backbone, name, codec=None, **changes):
    own = {"codec": codec} if codec else {}
    return lm_config(backbone, n_codebooks=K, codebook_pattern=name, **own, **changes)


@pytest.mark.parametrize("conditioning", ["prefix", "cross"])
@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("backbone", ["simba", "transformer"])
def test_forward_equals_steps_of_tokens(backbone, name, conditioning):
    lm, order = random_lm(config(backbone, name, conditioning=conditioning)), pattern(name)
    known = codes(3, K, 12)
    conditions = given(lm, 12)
    together = lm(known, conditions)
    assert together.shape == (3, K, 12, CODES)
    steps = order.steps(12, K)
    laid_out = order.apply(known, CODES)
    plane = lm.plane(conditions)[:, order.frame_of(0, steps, K, 12)]
    state, previous, found = lm.init_state(conditions, steps), torch.full((3, K, 1), CODES), []
    for i in range(steps):
        logits, state = lm.step(previous, plane[:, i : i + 1], state)
        found.append(logits)
        previous = laid_out[..., i : i + 1]
    stepped = torch.cat(found, 2)
    for book in range(K):
        at = order.places(12, K)[book]
        torch.testing.assert_close(stepped[:, book, at], together[:, book], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", PATTERNS)
def test_no_code_sees_one_that_its_pattern_has_later(name):
    lm = random_lm(config("simba", name))
    known, conditions = codes(3, K, 20), given(lm, 20)
    before = lm(known, conditions)
    places = pattern(name).places(20, K)
    for book, frame in ((0, 10), (3, 7)):
        changed = known.clone()
        changed[:, book, frame] = (changed[:, book, frame] + 1) % CODES
        moved = (lm(changed, conditions) - before).abs().amax((0, 3)) > 1e-5
        assert not moved[places <= places[book, frame]].any()
        assert moved[places > places[book, frame]].any()


@pytest.mark.parametrize("name", PATTERNS)
def test_special_tokens_stand_where_the_pattern_has_no_code_and_nowhere_else(name):
    lm, order = random_lm(config("simba", name)), pattern(name)
    engine, conditions, steps = ReferenceEngine(lm), given(lm, 6), order.steps(6, K)
    plane = engine.plane(conditions)[:, order.frame_of(0, steps, K, 6)]
    active = order.active(K, 0, steps, 6)
    generators = [torch.Generator().manual_seed(i) for i in range(3)]
    noise = draw_noise(generators, steps, (K, CODES))
    state = engine.prefill(conditions, steps)
    found, _ = engine.decode_n(state, plane, noise, active, Sampling())
    assert torch.equal(found == CODES, ~active.expand(3, -1, -1))


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    """SiMBA with a delay and a Transformer with a flat pattern, on a codec of four books."""
    root = tmp_path_factory.mktemp("four")
    codec = lm_config("simba").codec.model_dump() | {"sha256": write_codec(root / "codec", K)}
    for seed, (backbone, name) in enumerate(zip(("simba", "transformer"), PATTERNS, strict=True)):
        save_language_model(root / backbone, random_lm(config(backbone, name, codec), seed))
    return root


@pytest.fixture(scope="module")
def pipeline(system):
    return Pipeline.load(str(system / "simba"), str(system / "transformer"), None, "cpu")


def test_clips_have_four_books_and_blocks_change_nothing(pipeline):
    request = pipeline.validate(prompt="calm piano", duration_s=2.5, seed=3)
    for side in ("left", "right"):
        (clip,) = [e for e in pipeline.generate(request, (side,)) if isinstance(e, Clip)]
        assert clip.codes.shape == (K, 125) and clip.codes.max() < CODES
        assert clip.waveform.duration_s == 2.5 and clip.tokens_per_s > 0
        (alone,) = pipeline.generate_batch([request], side)
        assert torch.equal(alone.codes, clip.codes)
        other = pipeline.validate(prompt="loud drums", duration_s=2.0, seed=9)
        both = pipeline.generate_batch([other, request], side)
        assert (both[1].codes == clip.codes).float().mean() > 0.9


def test_stopping_keeps_the_frames_that_are_complete(pipeline):
    request = pipeline.validate(prompt="calm piano", duration_s=2.5, seed=3)
    for side, steps, frames in (("left", 60, 57), ("right", 60, 15)):
        calls = iter(range(10_000))
        events = pipeline.generate(request, (side,), lambda calls=calls: next(calls) >= 6)
        (clip,) = [e for e in events if isinstance(e, Clip)]
        order = pattern(PATTERNS[0] if side == "left" else PATTERNS[1])
        assert order.complete(steps, K) == frames and clip.codes.shape == (K, frames)
        assert clip.stopped_early


def test_the_codec_streams_and_each_book_matters(system):
    codec = Codec.load(system / "codec", lm_config("simba").codec)
    assert codec.n_codebooks == K
    known = codes(2, K, 60)
    whole = codec.decode(known)
    state, parts = codec.decode_init(2, K), []
    for start in range(0, 60, 13):
        waves, state = codec.decode_step(known[..., start : start + 13], state)
        parts.append(waves)
    parts.append(codec.decode_flush(state))
    for row in range(2):
        streamed = torch.cat([waves[row].samples for waves in parts], -1)
        torch.testing.assert_close(streamed, whole[row].samples, atol=1e-5, rtol=0)
    fewer = [codec.decode(known[:, :books])[0].samples for books in range(1, K + 1)]
    assert all(not torch.equal(a, fewer[-1]) for a in fewer[:-1])
    wave = Waveform(0.1 * torch.randn(1, 24_000), 24_000)
    found = codec.encode(wave, K)
    assert found.shape == (1, K, 50) and torch.equal(found[:, :1], codec.encode(wave))
    with pytest.raises(ValueError, match="1 to 4 codebooks"):
        codec.decode(codes(1, 5, 10))
    with pytest.raises(ValueError, match="no bandwidth with 5"):
        codec.encode(wave, 5)


def test_a_codec_with_too_few_books_is_refused(system, tmp_path):
    write_codec(tmp_path / "codec")
    codec = lm_config("simba").codec.model_dump()
    codec |= {"sha256": sha256(tmp_path / "codec" / "model.safetensors")}
    save_language_model(tmp_path / "simba", random_lm(config("simba", "delay", codec)))
    with pytest.raises(CheckpointError, match="generates 4 codebooks, and its codec .* has 1"):
        Pipeline.load(str(tmp_path / "simba"), str(tmp_path / "simba"), None, "cpu")
    raw = read_json(tmp_path / "simba" / "config.json") | {"codebook_pattern": "single"}
    write_json(tmp_path / "simba" / "config.json", raw)
    with pytest.raises(CheckpointError, match="has one codebook, not 4"):
        Pipeline.load(str(tmp_path / "simba"), str(tmp_path / "simba"), None, "cpu")


def test_the_gallery_keeps_all_books(test, pipeline, tmp_path):
    gallery.write_gallery(pipeline, ["calm piano"], 2.0, tmp_path / "gallery.json")
    side = read_json(tmp_path / "gallery.json")["items"][0]["sides"]["left"]
    known = unpack_codes(side["codes_b64"], side["n_codebooks"])
    assert known.shape == (K, 100) and pack_codes(known) == side["codes_b64"]
    gallery.open_gallery(test, pipeline, tmp_path / "gallery.json")
    listener = test.listener_id_of(test.new_listener(local=False))
    assert test.next_pair(listener)["duration_s"] == 2.0


def test_evaluation_keeps_all_books(pipeline, tmp_path):
    store = ClipStore(tmp_path)
    make_clips(pipeline, "left", [("0000-a", "calm piano", 0)], 2.0, store)
    rows = ClipStore(tmp_path).rows.values()
    assert all(len(row["codes"]) == K and len(row["codes"][0]) == 100 for row in rows)


@pytest.fixture(scope="module")
def tokenised(corpus, system, tmp_path_factory):
    """The corpus of the tests as codes of four books, at 50 Hz."""
    folder = tmp_path_factory.mktemp("four") / "corpus"
    shutil.copytree(corpus, folder, ignore=shutil.ignore_patterns("tokens*", "text*"))
    tokens.encode_corpus(folder, system / "codec", workers=1, n_codebooks=K)
    tokens.encode_captions(folder, TextEncoder.load(tokens.MINILM))
    return folder


def test_a_corpus_of_four_books_gives_as_many_as_are_asked_for(tokenised, system):
    example = tokens.TokenCorpus(tokenised, "train", K).example(0, 0)
    assert example.codes.shape == (K, math.ceil(example.duration_s * 50))
    first = tokens.TokenCorpus(tokenised, "train").example(0, 0)
    assert (first.codes == example.codes[:1]).all()
    with pytest.raises(RequestError, match="codes of 4 codebooks, and 8 are needed"):
        tokens.TokenCorpus(tokenised, "train", 8)
    with pytest.raises(RequestError, match="holds codes of 4 codebooks, not 1"):
        tokens.encode_corpus(tokenised, system / "codec", workers=1)


@pytest.mark.parametrize("name", PATTERNS)
def test_a_model_of_four_books_learns(tokenised, system, tmp_path, name):
    ref, books = tokens.codec_ref(system / "codec"), tokens.codebooks_of(system / "codec", K)
    preset = replace(
        PRESETS["tiny"], n_codebooks=K, codebook_pattern=name, steps=8, validate_every=4
    )
    trainer.train_lm(tokenised, tmp_path, Architecture(), preset, ref, books)
    losses = [row["valid"] for row in store.read_rows(tmp_path / "history.jsonl")]
    assert losses[-1] < losses[0]


SIZES = (CODES, 40, 40, 24)


@pytest.fixture(scope="module")
def one_book(tokenised, system, tmp_path_factory):
    """A trained model of the first book, and the codec, which says that the others are smaller."""
    root = tmp_path_factory.mktemp("one")
    shutil.copytree(system / "codec", root / "codec")
    known = read_json(root / "codec" / "config.json")
    write_json(root / "codec" / "config.json", known | {"codes_per_book": SIZES})
    ref, books = tokens.codec_ref(root / "codec"), tokens.codebooks_of(root / "codec")
    preset = replace(PRESETS["tiny"], steps=3)
    trainer.train_lm(tokenised, root / "simba", Architecture(), preset, ref, books)
    return root


@pytest.fixture(scope="module")
def grown(tokenised, one_book):
    """A model of four books that began with it, after no step, and after four."""
    made = small_books(tokenised, one_book)
    ref = tokens.codec_ref(one_book / "codec")
    books = tokens.codebooks_of(one_book / "codec", K)
    preset = replace(
        PRESETS["tiny"], n_codebooks=K, codebook_pattern="delay", steps=4, validate_every=2
    )
    begun = trainer.LMTrainer(Architecture(), preset, ref, books, "cpu")
    begun.start_from(one_book / "simba")
    out, start = one_book / "simba-4", one_book / "simba"
    trainer.train_lm(made, out, Architecture(), preset, ref, books, start=start)
    return begun.average.eval(), out


def small_books(corpus, folder):
    """A tokenised corpus whose codes are all among those that their books have."""
    copied = folder / "corpus"
    shutil.copytree(corpus, copied)
    for path in (copied / "tokens").glob("[0-9]*.npy"):
        if path.stem.isdigit():
            found = np.load(path)
            np.save(path, found % np.array(SIZES, found.dtype)[:, None])
    return copied


def test_a_model_that_gets_books_says_of_the_first_what_it_said(one_book, grown):
    first, _ = load_language_model(str(one_book / "simba"))
    lm, _ = grown
    assert lm.config.codes_per_book == SIZES and first.config.codes_per_book == SIZES[:1]
    known, conditions = codes(3, K, 20), given(first, 20)
    torch.testing.assert_close(lm(known, conditions)[:, :1], first(known[:, :1], conditions))
    other = known.clone()
    other[:, 1:] = 5
    torch.testing.assert_close(lm(other, conditions), lm(known, conditions))


def test_it_learns_and_reports_every_book(one_book, grown):
    _, folder = grown
    history = list(store.read_rows(folder / "history.jsonl"))
    assert [row["step"] for row in history] == [0, 2, 4]  # its own, not of one book's losses
    before = list(store.read_rows(one_book / "simba" / "history.jsonl"))[-1]["valid"]
    assert history[0]["valid_books"][0] == pytest.approx(before, abs=2e-3)
    assert history[-1]["valid"] < history[0]["valid"]
    for row in history[1:]:
        assert len(row["train_books"]) == K
        assert sum(row["valid_books"]) / K == pytest.approx(row["valid"], abs=1e-3)
    write_json(folder.parent / "REPORT.json", {"tables": []})
    write_metrics(folder.parent / "REPORT.json")
    named = {row["metric"]: row for row in read_json(folder / "metrics.json")["rows"]}
    assert named["held-out loss, book 4 (nats a token)"]["value"] == history[-1]["valid_books"][3]
    assert named["state after 10 s (MB)"]["value"] > 0


def test_its_clips_and_their_mixed_batches_use_no_code_that_a_book_lacks(grown):
    _, folder = grown
    made = Pipeline.load(str(folder), str(folder), None, "cpu")
    requests = [
        made.validate(prompt=text, duration_s=seconds, seed=seed, temperature=2, guidance=1)
        for text, seconds, seed in (("calm piano", 3, 1), ("loud drums", 2, 2))
    ]
    together = made.generate_batch(requests, "left")
    for request, clip in zip(requests, together, strict=True):
        assert (clip.codes.amax(1) < torch.tensor(SIZES)).all()
        (alone,) = made.generate_batch([request], "left")
        assert clip.codes.shape == alone.codes.shape
        assert (clip.codes == alone.codes).float().mean() > 0.9


def test_a_start_of_other_books_is_refused(one_book, grown, tokenised):
    _, folder = grown
    lm, _ = load_language_model(str(folder))
    with pytest.raises(RequestError, match="another shape or codec"):
        exported_start(folder, load_language_model(str(one_book / "simba"))[0].config)
    with pytest.raises(RequestError, match="fewer than 5 codebooks"):
        tokens.codebooks_of(one_book / "codec", 5)
    with pytest.raises(RequestError, match="books that .* has no weights for"):
        average_training(one_book / "simba", folder, 0.5, tokenised, folder / "average")
    assert lm.sizes == SIZES
