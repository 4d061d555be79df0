"""From scores to sound: synthesis and mixing everywhere, soundfonts where FluidSynth is."""

import numpy as np
import pretty_midi
import pytest

from simba_music.audio import SAMPLE_RATE, loudness_lufs
from simba_music.errors import RequestError
from simba_music.files import read_json
from simba_music.training.corpus import build, store
from simba_music.training.corpus.bench import SIZE, freeze, read_bench
from simba_music.training.corpus.captioning.coverage import write_coverage
from simba_music.training.corpus.composing.compose import compose
from simba_music.training.corpus.composing.plan import ROLES
from simba_music.training.corpus.rendering.mix import LEVEL_LUFS, active_rms, balance, limit, mix
from simba_music.training.corpus.rendering.production import LEVELS_DB, Production, produce
from simba_music.training.corpus.rendering.synthesis import PATCHES, synthesise

RATE = SAMPLE_RATE


def production(**changes):
    fields = {
        "seed": 0, "space": "dry", "quality": "clean", "wet": 0.05, "decay_s": 0.3,
        "tilt_db": 0.0, "drive": 0.0, "noise_db": 30.0, "soundfont": 0, "levels_db": LEVELS_DB,
    }  # fmt: skip
    return Production(**fields | changes)


@pytest.mark.parametrize("name", PATCHES)
def test_a_patch_plays_its_pitch_and_falls_silent(name):
    pitch = 45 if "bass" in name or name == "didgeridoo" else 69
    sound = synthesise(name, [pretty_midi.Note(100, pitch, 0.1, 1.6)], 3 * RATE, RATE)
    assert sound.shape == (3 * RATE,) and np.isfinite(sound).all()
    assert np.abs(sound[: int(0.09 * RATE)]).max() == 0 and np.abs(sound[-100:]).max() < 1e-3
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    wanted = 440 * 2 ** ((pitch - 69) / 12)
    around = [k * wanted for k in (1, 2, 3, 4)]
    freqs = np.fft.rfftfreq(len(sound), 1 / RATE)
    inside = sum(spectrum[np.abs(freqs / f - 1) < 0.04].sum() for f in around)
    if not name.startswith("fm"):
        assert inside > 0.5 * spectrum.sum()
    assert spectrum[np.abs(freqs / wanted - 1) < 0.04].max() > 0.05 * spectrum.max()


def noise(seconds, level, seed=0):
    wave = np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    return (level * wave).astype(np.float32)


def test_stems_come_to_the_level_of_their_role():
    stems = [("melody", noise(2, 0.3)), ("pad", noise(2, 0.001)), ("bass", np.zeros(48_000, "f4"))]
    levels = [active_rms(s, RATE) for s in balance(stems, production(), RATE)]
    assert 20 * np.log10(levels[1] / levels[0]) == pytest.approx(LEVELS_DB["pad"], abs=0.1)
    assert levels[2] == 0


@pytest.mark.parametrize("quality", ["clean", "lofi", "live"])
@pytest.mark.parametrize("space", ["dry", "hall"])
def test_a_mix_is_at_level_and_never_clips(quality, space):
    made = production(quality=quality, space=space, decay_s=1.5, wet=0.3, drive=0.2)
    bursts = noise(4, 0.2) * (np.arange(4 * RATE) % RATE < 2000)
    sound = mix([("melody", noise(4, 0.1, 1)), ("drums", bursts.astype("f4"))], made, RATE)
    assert np.abs(sound).max() < 0.9 and abs(sound[-1]) < 1e-4
    assert loudness_lufs(sound, RATE) == pytest.approx(LEVEL_LUFS, abs=2)


def test_the_limiter_leaves_quiet_samples_alone():
    samples = np.linspace(-2, 2, 1001).astype(np.float32)
    out = limit(samples, 0.0)
    assert np.abs(out).max() < 0.9 and (np.diff(out) >= 0).all()
    np.testing.assert_array_equal(out[np.abs(samples) < 0.5], samples[np.abs(samples) < 0.5])


def test_productions_are_repeatable_and_differ():
    plans = [compose(seed)[1] for seed in range(40)]
    made = [produce(plan) for plan in plans]
    assert made == [produce(plan) for plan in plans]
    assert {p.soundfont for p in made} == {0, 1} and len({p.space for p in made}) == 3
    assert all(set(p.levels_db) == set(ROLES) for p in made)
    lofi = [p for p in made if p.quality == "lofi"]
    assert all(p.facts()["tone"] == "dark" for p in lofi)


def test_a_frozen_set_is_never_frozen_again(tmp_path):
    (tmp_path / "bench").mkdir()
    store.write_rows(tmp_path / "bench" / "items.jsonl", [])
    with pytest.raises(RequestError, match="frozen already|is frozen"):
        freeze(tmp_path, tmp_path / "bench")


def test_the_frozen_benchmark_is_whole(frozen):
    assert len(frozen) == 200 and len({item.id for item in frozen}) == 200
    for split, count in SIZE.items():
        assert sum(item.split == split for item in frozen) == count
    for item in frozen:
        assert item.duration_s <= 30 and len(item.captions) == 6
        tracks = {part.name for part in item.score.instruments}
        named = {f"{role}:{name}" for role, name in item.facts["roles"].items()}
        assert named <= tracks and item.score.get_end_time() < item.duration_s


@pytest.fixture(scope="module")
def frozen():
    from pathlib import Path

    return list(read_bench(Path(__file__).parents[1] / "data" / "bench_v1"))


def test_coverage_wants_a_reason_for_every_missing_word(tmp_path):
    prompts = tmp_path / "prompts.csv"
    prompts.write_text("id,caption\n1,calm piano piano\n2,zither zither stereo\n")
    store.write_rows(
        tmp_path / store.CAPTIONS, [{"id": "1", "captions": [["calm piano"], ["zither"]]}]
    )
    write_coverage(tmp_path, prompts, tmp_path / "words.json")
    report = read_json(tmp_path / "words.json")
    assert report["covered"] == 3 and list(report["left_out"]) == ["stereo"]
    prompts.write_text("id,caption\n1,calm glockenspiel\n")
    with pytest.raises(RequestError, match="glockenspiel"):
        write_coverage(tmp_path, prompts, tmp_path / "words.json")
    prompts.write_text("id,text\n1,calm\n")
    with pytest.raises(RequestError, match="column `caption`"):
        write_coverage(tmp_path, prompts, tmp_path / "words.json")


@pytest.mark.fluidsynth
def test_a_corpus_renders_repeatably_resumes_and_agrees_with_its_facts(tmp_path, system):
    from simba_music.training.corpus import tokens
    from simba_music.training.corpus.check import check_corpus
    from simba_music.training.corpus.inspect import write_page

    build.compose_corpus(0.1, 50, tmp_path, workers=2)
    build.caption_corpus(tmp_path)
    rows = list(store.read_rows(tmp_path / store.MANIFEST))
    store.write_rows(tmp_path / store.MANIFEST, [r | {"shard": i // 3} for i, r in enumerate(rows)])
    # Tokens of what has no audio are made by rendering it on the way, and are the same.
    tokens.encode_corpus(tmp_path, system / "codec", workers=2)

    def codes():
        return np.concatenate(
            [np.load(p) for p in sorted((tmp_path / "tokens").glob("????.npy"))], 1
        )

    streamed = codes()
    for path in (tmp_path / "tokens").iterdir():
        path.unlink()
    build.render_corpus(tmp_path, workers=2, hours=0.03)
    some = sorted((tmp_path / "audio").iterdir())
    assert 0 < len(some) < (len(rows) + 2) // 3
    tokens.encode_corpus(tmp_path, system / "codec", workers=2)
    np.testing.assert_array_equal(codes(), streamed)
    first = np.load(some[0])
    some[0].unlink()
    build.render_corpus(tmp_path, workers=2)
    np.testing.assert_array_equal(np.load(some[0]), first)
    for path in (tmp_path / "tokens").iterdir():
        path.unlink()
    tokens.encode_corpus(tmp_path, system / "codec", workers=2)
    np.testing.assert_array_equal(codes(), streamed)
    found = list(store.piece_audio(tmp_path))
    assert len(found) == len(rows)
    for row, samples in found:
        sound = store.to_float(samples)
        assert len(sound) == row["duration_s"] * RATE and np.abs(sound).max() < 0.95
        assert loudness_lufs(sound, RATE) == pytest.approx(LEVEL_LUFS, abs=3)
    with pytest.raises(RequestError, match="another folder"):
        build.render_corpus(tmp_path, workers=1, sample_rate=32_000)
    check_corpus(tmp_path, len(rows), tmp_path / "check.json")
    report = read_json(tmp_path / "check.json")
    assert report["named_instruments_within_20_db"]["share"] >= 0.98
    assert report["silent"] == report["clipped"] == report["same_as_another"] == 0
    write_page(tmp_path)
    page = (tmp_path / "inspect.html").read_text()
    assert page.count("<audio") == min(10, len(rows)) and "piano roll" in page
