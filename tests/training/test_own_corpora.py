"""Own corpora: from recordings and captions to models in the app, at any size, in known layouts."""

import io
import json
import shutil
import tarfile
import tracemalloc

import numpy as np
import pytest
import soundfile
import torch
from sounds import encode, tone

from simba_music.__main__ import main
from simba_music.errors import RequestError
from simba_music.files import read_json
from simba_music.generation.clip import Clip
from simba_music.generation.pipeline import Pipeline
from simba_music.models.lm import MusicLM
from simba_music.training.corpus import store, tokens
from simba_music.training.corpus.own.layouts import LAYOUTS, tag_captions
from simba_music.training.corpus.own.recordings import REPORT, import_recordings
from simba_music.training.corpus.tokens import access, packed
from simba_music.training.lm.batches import batches
from simba_music.training.lm.loss import total_loss
from simba_music.training.lm.preset import Architecture, make_config, preset_with

RATE = 44_100
KINDS = ("calm piano", "solo flute", "drums, fast", "slow strings")


@pytest.fixture(scope="module")
def place(tmp_path_factory, system):
    """A folder with a codec, and 12 recordings that were imported and tokenised."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copytree(system / "codec", folder / "codec")
    (folder / "music").mkdir()
    lines = ["file;caption;split"]
    for i in range(12):
        soundfile.write(folder / "music" / f"m{i}.wav", tone(4 + i, 200 + 30 * i), RATE)
        lines.append(f'm{i}.wav;"{KINDS[i % 4]}, take {i}";{"valid" if i % 6 == 5 else ""}')
    (folder / "captions.csv").write_text("\n".join(lines), encoding="utf-16")
    assert run(folder, "corpus", "import", "music", "--captions", "captions.csv", "--out", "c") == 0
    assert run(folder, "corpus", "tokens", "c", "--workers", "1", "--codec", "codec") == 0
    return folder


def run(folder, *words):
    """A command of the command line, with `folder` as the working folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("SIMBA_MUSIC_DATA", str(folder / "data"))
        return main(list(words))


def train(folder, out, *words, corpus="c"):
    return run(
        folder,
        *("train", "lm", "--corpus", corpus, "--out", out, "--preset", "tiny"),
        *("--codec", "codec", "--threads", "1", *words),
    )


def test_recordings_become_a_pair_that_is_evaluated_and_played(place):
    for backbone in ("simba", "transformer"):
        assert train(place, backbone, "--backbone", backbone, "--steps", "4") == 0
        record = read_json(place / backbone / "training.json")
        assert record["steps"] == 4 and record["corpora"][0]["pieces"] == 12
    (place / "prompts.csv").write_text('id,prompt\na,"calm piano, slow"\nb,flute\n')
    sides = ("--left", "simba", "--right", "transformer", "--scorer", "none", "--threads", "1")
    words = ("--prompts", "prompts.csv", "--duration", "2", "--reference", "music", "--out", "ev")
    assert run(place, "evaluate", "prompts", *words, *sides, "--device", "cpu") == 0
    (table,) = read_json(place / "ev" / "report.json")["tables"]
    assert table["prompts"] == 2
    assert table["missing"]["FAD, KAD, KL"].startswith(
        "need 40 windows of 5 s; the reference music"
    )
    pipeline = Pipeline.load(str(place / "simba"), str(place / "transformer"), None, "cpu")
    request = pipeline.validate(prompt="calm piano", duration_s=2)
    clips = [e for e in pipeline.generate(request) if isinstance(e, Clip)]
    assert [clip.waveform.duration_s for clip in clips] == [2, 2]


def test_no_fact_of_a_composed_piece_is_assumed(place):
    data = tokens.TokenCorpus(place / "c", "train")
    assert len(data.crops) >= 8 and data.frames == sum(crop.length for crop in data.crops)
    for crop in data.crops:
        assert crop.ends and crop.captions and set(crop.facts) == {"start_s", "end_s", "ends"}
    preset = preset_with("cpu", tokens_per_batch=500)  # has beat, key and line-up
    (batch, *_) = next(batches(data, preset, 0))
    assert {"beat", "key", "line_up", "length"} <= set(batch.given.features)
    assert not batch.given.features["beat"].any() and not batch.given.features["key"].any()


def codes(folder):
    return {p.name: p.stat().st_mtime_ns for p in sorted((folder / "tokens").glob("r?????.npy"))}


def test_tokenising_goes_on_where_it_stopped_and_takes_corrected_captions(
    place, tmp_path, monkeypatch
):
    from simba_music.models.text_encoder import TextEncoder

    monkeypatch.setattr("simba_music.training.corpus.tokens.encode.RECORDINGS", 4)
    encoder, folder = TextEncoder.load(tokens.MINILM), tmp_path / "c"
    shutil.copytree(place / "c", folder, ignore=shutil.ignore_patterns("tokens*"))
    for part in ((2, 2), (1, 2)):  # two machines that share a corpus
        tokens.encode_corpus(folder, place / "codec", 1, part=part)
        tokens.encode_captions(folder, encoder, part=part)
    whole = tokens.TokenCorpus(place / "c", "train")
    data = tokens.TokenCorpus(folder, "train")
    assert len(codes(folder)) == 3 and len(data.shards) == 3
    for index in range(len(whole.crops)):
        one, other = (each.example(index, 0) for each in (whole, data))
        assert (one.codes == other.codes).all() and one.caption == other.caption
    (folder / "tokens" / "r00001.npy").unlink()
    before = codes(folder)
    rows = list(store.read_rows(folder / store.CAPTIONS))
    rows[0]["captions"] = [["corrected"]]
    store.write_rows(folder / store.CAPTIONS, rows)
    tokens.encode_corpus(folder, place / "codec", 1)
    tokens.encode_captions(folder, encoder)
    after = codes(folder)
    assert {name: after[name] for name in before} == before and len(after) == 3
    said = {c.piece: c.captions for c in tokens.TokenCorpus(folder, "train").crops}
    assert said["m0.wav"] == ("corrected",)


def fake_shards(folder, name, crops, seed=0, frames=50):
    """A tokenised corpus of random codes: two shards, every fifth crop held out."""
    rng = np.random.default_rng(seed)
    (folder / name / "tokens").mkdir(parents=True)
    ref = tokens.codec_ref(folder / "codec")
    (folder / name / access.STAMP).write_text(json.dumps(ref.model_dump()))
    for shard in range(2):
        rows = [
            {
                "id": f"{shard}-{i}",
                "split": "valid" if i % 5 == 4 else "train",
                "duration_s": 1.0,
                "crops": [{"start_s": 0.0, "end_s": 1.0}],
            }
            for i in range(crops)
        ]
        texts = {f"caption {i}": rng.standard_normal((4, 384)).astype("f2") for i in range(3)}
        said = {row["id"]: [[f"caption {i % 3}"]] for i, row in enumerate(rows)}
        place = folder / name / "tokens"
        data = rng.integers(64, size=(1, crops * frames)).astype(np.uint16)
        store.write_array(place / f"r{shard:05d}.npy", data)
        with (folder / name / store.MANIFEST).open("a") as manifest:
            manifest.writelines(json.dumps(row) + "\n" for row in rows)
        packed.write_packed(place, f"r{shard:05d}", rows, said, [frames] * crops, texts, {})
    return folder / name


@pytest.fixture(scope="module")
def fake(tmp_path_factory, system):
    folder = tmp_path_factory.mktemp("fake")
    shutil.copytree(system / "codec", folder / "codec")
    return folder


def test_the_papers_preset_runs_dry_on_two_shards(fake):
    """Shapes alone: 300 million parameters are not allocated."""
    folder = fake_shards(fake, "paper", 20)
    data, preset = tokens.TokenCorpus(folder, "train"), preset_with("paper")
    config = make_config(Architecture(), preset, tokens.codec_ref(fake / "codec"))
    parts = next(batches(data, preset_with("paper", tokens_per_batch=1600), 0))
    assert len(parts) == preset.accumulate == 8 and all(p.n_targets >= 200 for p in parts)
    with torch.device("meta"):
        model = MusicLM(config)
    assert 290e6 < sum(p.numel() for p in model.parameters()) < 400e6
    assert total_loss(model, parts[0].to("meta")).shape == ()


def test_corpora_are_pooled_and_their_codecs_must_agree(fake, tmp_path):
    first, second = (fake_shards(fake, f"pool{i}", 10, i) for i in range(2))
    data = tokens.TokenCorpus([first, second], "train")
    assert len(data.crops) == 32 and len(data.shards) == 4
    alone = tokens.TokenCorpus(second, "train")
    assert (data.example(16, 0).codes == alone.example(0, 0).codes).all()
    words = ("--also", str(second), "--steps", "2")
    assert train(fake, "pooled", *words, corpus=str(first)) == 0
    record = read_json(fake / "pooled" / "training.json")
    assert record["architecture"] == "simba-mlp-prefix"
    stamp = read_json(second / access.STAMP) | {"sha256": "other"}
    (second / access.STAMP).write_text(json.dumps(stamp))
    with pytest.raises(RequestError, match="different codecs"):
        tokens.TokenCorpus([first, second], "train")


def test_millions_of_crops_take_little_memory(fake, monkeypatch):
    folder = fake_shards(fake, "many", 5)
    count = 200_000
    rows = np.load(folder / "tokens" / "r00000.crops.npy")
    many = np.resize(rows, count)
    many["split"] = 0
    np.save(folder / "tokens" / "r00000.crops.npy", many)
    opened = []
    real = packed.Shard.open.__func__
    monkeypatch.setattr(
        packed.Shard, "open", classmethod(lambda cls, *a: opened.append(a[1]) or real(cls, *a))
    )
    tracemalloc.start()
    data = tokens.TokenCorpus(folder, "train")
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(data.crops) == count + 4 and kept < 20 * count
    assert opened == ["r00000"]  # to see how many books there are
    assert data.example(count + 1, 0).codes.shape == (1, 50) and opened[1:] == ["r00001"]


def jamendo(folder):
    (folder / "data" / "splits" / "split-0").mkdir(parents=True)
    head = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\n"
    rows = {
        "14/214.mp3": "genre---punkrock",
        "41/241.mp3": "genre---rock\tinstrument---electricguitar\tmood/theme---happy",
        "82/382.mp3": "genre---classical\tinstrument---piano",
        "90/390.mp3": "genre---jazz",
    }
    lines = [
        f"track_{i}\tartist_{i // 2}\talbum_1\t{path}\t2.0\t{tags}\n"
        for i, (path, tags) in enumerate(rows.items())
    ]
    (folder / "data" / "autotagging.tsv").write_text(head + "".join(lines))
    split = folder / "data" / "splits" / "split-0"
    (split / "autotagging-train.tsv").write_text(head + lines[0])
    (split / "autotagging-validation.tsv").write_text(head + lines[1])
    for i, path in enumerate(list(rows)[:3]):
        file = folder / "audio" / path.replace(".mp3", ".low.mp3")
        file.parent.mkdir(parents=True)
        encode(file.with_suffix(".mp3"), tone(2, 300 + 40 * i))
    return {
        "audio/14/214.low.mp3": ("train", ["punk rock"]),
        "audio/41/241.low.mp3": (
            "valid",
            ["happy, rock, electric guitar", "happy rock with electric guitar"],
        ),
        "audio/82/382.low.mp3": (None, ["classical, piano", "classical with piano"]),
    }, "90/390.mp3"


def musiccaps(folder):
    (folder / "clips").mkdir()
    (folder / "musiccaps-public.csv").write_text(
        "ytid,start_s,end_s,audioset_positive_labels,aspect_list,caption,author_id,"
        "is_balanced_subset,is_audioset_eval\n"
        "-0Gj8-vB1q4,30,40,/m/0,\"['slow', 'sad piano']\",\"Calm, slow.\nNo voice.\",4,False,True\n"
        "abc_efghijk,0,10,/m/0,\"['fast']\",Fast.,4,False,False\n"
        "gone_______,0,10,/m/0,x,Gone.,4,False,False\n"
    )
    soundfile.write(folder / "clips" / "-0Gj8-vB1q4.wav", tone(2), RATE)
    soundfile.write(folder / "clips" / "abc_efghijk_0_10.wav", tone(2, 500), RATE)
    return {
        "clips/-0Gj8-vB1q4.wav": ("test", ["Calm, slow. No voice.", "slow, sad piano"]),
        "clips/abc_efghijk_0_10.wav": (None, ["Fast.", "fast"]),
    }, "gone_______"


def webdataset(folder):
    for split, pitch in (("train", 300), ("valid", 400)):
        with tarfile.open(folder / f"{split}-00000.tar", "w") as archive:

            def add(name, data, archive=archive):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))

            for i, (kind, text) in enumerate(
                (("json", '{"caption": "calm", "license": "CC0-1.0"}'), ("txt", "loud\n"))
            ):
                file = encode(folder.parent / f"x{i}.flac", tone(2, pitch + 25 * i))
                add(f"a/{i}.flac", file.read_bytes())
                add(f"a/{i}.{kind}", text.encode())
            add("a/9.txt", b"alone")
    return {
        f"{split}-00000.tar/a/{i}.flac": (split, [text])
        for split in ("train", "valid")
        for i, text in enumerate(("calm", "loud"))
    }, "train-00000.tar/a/9.txt"


@pytest.mark.parametrize(
    ("layout", "make"),
    [("mtg-jamendo", jamendo), ("musiccaps", musiccaps), ("webdataset", webdataset)],
)
def test_known_layouts_are_read_by_name(tmp_path, layout, make):
    folder = tmp_path / "set"
    folder.mkdir()
    expected, missing = make(folder)
    import_recordings(folder, None, tmp_path / "out", 24_000, layout)
    rows = {row["id"]: row for row in store.read_rows(tmp_path / "out" / store.MANIFEST)}
    texts = {r["id"]: r["captions"] for r in store.read_rows(tmp_path / "out" / store.CAPTIONS)}
    assert set(rows) == set(expected)
    for name, (split, captions) in expected.items():
        assert split is None or rows[name]["split"] == split
        assert texts[name] == [captions]
    if layout == "webdataset":
        assert rows["train-00000.tar/a/0.flac"]["licence"] == "CC0-1.0"
    listed = {row["file"] for row in store.read_rows(tmp_path / "out" / REPORT)}
    assert missing in listed
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match="holds no"):
        import_recordings(tmp_path / "empty", None, tmp_path / "out2", 24_000, layout)


def test_the_layouts_of_the_command_are_those_that_there_are(capsys):
    with pytest.raises(SystemExit):
        raise SystemExit(main(["corpus", "import", "x", "--out", "y", "--layout", "none"]))
    said = capsys.readouterr().err
    assert all(name in said for name in LAYOUTS)


def test_tags_are_put_in_words():
    assert tag_captions(["genre---drumnbass", "instrument---drums", "instrument---bass"]) == [
        "drum and bass, drums, bass",
        "drum and bass with drums and bass",
    ]
    assert tag_captions(["mood/theme---calm"]) == ["calm", "calm music"]
    assert tag_captions(["x", ""]) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("corpus", "caption", "bare"), "holds recordings, and writing captions needs the notes"),
        (("corpus", "render", "bare"), "holds recordings, and rendering"),
        (("corpus", "check", "bare"), "holds recordings, and comparing facts"),
        (("train", "tagger", "--corpus", "bare", "--out", "t"), "and the tagger needs"),
        (("train", "lm", "--corpus", "bare", "--out", "l", "--codec", "codec"), "no captions"),
        (("train", "lm", "--corpus", "one", "--out", "l", "--codec", "codec"), r'"valid" \(1'),
        (("train", "lm", "--corpus", "nowhere", "--out", "l"), "nowhere has no tokens"),
        (("train", "lm", "--corpus", "empty", "--out", "l"), "empty has no tokens.*corpus tokens"),
        (("train", "codec", "--corpus", "empty", "--out", "l"), "empty holds no audio"),
        (("train", "codec", "--corpus", "empty", "--out", "l", "--preset", "x"), "No preset 'x'"),
        (("train", "clap", "--corpus", "empty", "--out", "l"), "empty has no tokens"),
        (("train", "tagger", "--corpus", "empty", "--out", "l"), "manifest.jsonl is missing"),
        (("corpus", "tokens", "empty"), "manifest.jsonl is missing"),
        (("corpus", "tokens", "bare", "--part", "3/2"), "--part must be I/N"),
        (("corpus", "tokens", "bare", "--device", "cuda:99"), "no device 'cuda:99'"),
        (("corpus", "compose", "--out", "x", "--hours", "inf"), "no number to count with"),
    ],
)  # fmt: skip
def test_a_missing_stage_is_one_sentence_before_work_begins(place, capsys, words, said):
    import re

    if not (place / "bare").exists():
        (place / "empty").mkdir()
        assert run(place, "corpus", "import", "music", "--out", "bare") == 0
        (place / "one.csv").write_text("file,caption,split\nm1.wav,calm,train\n")
        assert run(place, "corpus", "import", "music", "--captions", "one.csv", "--out", "one") == 0
        for corpus in ("bare", "one"):
            assert run(place, "corpus", "tokens", corpus, "--workers", "1", "--codec", "codec") == 0
    capsys.readouterr()
    assert run(place, *words) == 2
    assert re.search(said, re.sub(r"[\s│]+", " ", capsys.readouterr().err))
