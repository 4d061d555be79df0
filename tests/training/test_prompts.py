"""Evaluation on prompt files: what is read, what is left out and why, and a run that goes on."""

import json
import shutil

import numpy as np
import pytest

from simba_music import audio
from simba_music.audio import Waveform
from simba_music.errors import RequestError
from simba_music.generation.prompt_files import read_prompts
from simba_music.training.evaluation import clip_store as prompt_clips
from simba_music.training.evaluation import distances
from simba_music.training.evaluation import prompt_lists as prompt_evaluation
from simba_music.training.evaluation.prompt_lists import evaluate_prompt_list


def words(text):
    return len(text.split())


def read(path, **changes):
    return read_prompts(path, words, 256, **changes)


def test_lines_and_tables_are_read_and_what_is_left_out_is_told(tmp_path):
    text = tmp_path / "p.txt"
    text.write_text("calm piano\n\n  calm   piano \n" + "very " * 2500 + "long\nfast techno\n")
    found, left_out = read(text)
    assert [p.text for p in found] == ["calm piano", "fast techno"]
    assert left_out == [
        "line 2: blank",
        "line 3: the same as 0000-1",
        "line 4: 2501 text tokens, 256 at most",
    ]
    table = tmp_path / "musiccaps.csv"
    table.write_text('ytid,caption,aspects\n-0x/..,"calm, slow piano",x\nb,,y\nc,harp,z\n')
    found, left_out = read(table)
    assert [(p.id, p.text) for p in found] == [
        ("0000--0x---", "calm, slow piano"),
        ("0001-c", "harp"),
    ]
    assert left_out == ["line 3: blank"]
    assert len(read(table, limit=1)[0]) == 1


def test_other_encodings_are_read_or_explained(tmp_path):
    path = tmp_path / "p.txt"
    path.write_bytes("Größer, schöner Walzer\n".encode("utf-16"))
    assert read(path)[0][0].text == "Größer, schöner Walzer"
    path.write_bytes("\ufeffcafé\n".encode())
    assert read(path)[0][0].text == "café"
    path.write_bytes("тихо\n".encode("cp1251"))
    with pytest.raises(RequestError, match="not UTF-8.*iconv"):
        read(path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("p.csv", "id,title\n1,x\n", "columns id, title; it needs one of prompt, caption, text"),
        ("p.csv", "", "columns none"),
        ("p.txt", "\n \n", "no usable prompt. line 1: blank"),
        ("missing.txt", None, "Cannot read"),
    ],
)
def test_a_file_that_cannot_serve_says_why(tmp_path, name, content, said):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(RequestError, match=said):
        read(tmp_path / name)


@pytest.fixture
def reference(tmp_path):
    folder = tmp_path / "reference"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        import torch

        samples = torch.from_numpy(0.1 * rng.standard_normal((1, 20 * 24_000)).astype(np.float32))
        audio.write(folder / f"{i}.wav", Waveform(samples, 24_000))
    return folder


def test_a_run_fills_its_report_and_goes_on_where_it_was(
    pipeline, tmp_path, reference, monkeypatch
):
    monkeypatch.setattr(prompt_clips, "VARIED_PROMPTS", 2)
    monkeypatch.setattr(prompt_evaluation, "VARIED_PROMPTS", 2)
    monkeypatch.setattr(distances, "FEWEST_WINDOWS", 4)
    monkeypatch.setattr(distances, "HALVES", 10)
    file, out = tmp_path / "mine.txt", tmp_path / "out"
    file.write_text("calm piano\nfast techno\nslow harp\nwaltz\n\n")

    def run(**changes):
        settings = {"reference_folder": reference, "duration_s": 2.0} | changes
        evaluate_prompt_list(pipeline, file, out, tmp_path, **settings)
        return json.loads((out / "report.json").read_text())["tables"][0]

    first = run()
    names = set(pipeline.names().values())
    metrics = {(row["metric"], row["model"]) for row in first["rows"]}
    for name in names:
        for metric in ("alignment (cosine)", "FAD at infinite size", "KL of instruments (nats)",
                       "distance of seeds of one prompt"):  # fmt: skip
            assert (metric, name) in metrics
        assert len(list((out / name).glob("*.wav"))) == 4 + 2 * 2
        assert ("first draws nearly empty", name) in metrics
    assert first["left_out"] == ["line 5: blank"] and first["prompts"] == 4
    assert (out / "alignment.png").exists() and "waltz" not in (out / "report.md").read_text()
    # A run that was stopped: one clip is missing, one was never written down.
    name = sorted(names)[0]
    lost = sorted((out / name).glob("*.wav"))[0]
    kept = {p: p.stat().st_mtime_ns for p in (out / name).glob("*.wav") if p != lost}
    lost.unlink()
    again = run()
    assert lost.exists() and all(p.stat().st_mtime_ns == t for p, t in kept.items())
    drop = ("seconds of audio per second, in batches",)
    values = [
        {(r["metric"], r["model"]): r["value"] for r in made["rows"] if r["metric"] not in drop}
        for made in (first, again)
    ]
    assert values[0] == values[1]
    with pytest.raises(RequestError, match="clips of other settings"):
        run(duration_s=3.0)


def test_two_clips_have_no_frechet_distance_and_the_report_says_so(pipeline, tmp_path, reference):
    file, out = tmp_path / "two.txt", tmp_path / "out"
    file.write_text("calm piano\nfast techno\n")
    evaluate_prompt_list(pipeline, file, out, tmp_path, reference, duration_s=2.0)
    made = json.loads((out / "report.json").read_text())["tables"][0]
    own = [r for r in made["rows"] if r["model"] in pipeline.names().values()]
    assert not any("FAD" in row["metric"] for row in own)
    reason = "need 40 windows of 5 s; the reference reference has 12"
    assert made["missing"] == {"FAD, KAD, KL": reason}
    assert not any("FAD" in row["metric"] for row in made["rows"])
    shutil.rmtree(out)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(RequestError, match="holds no audio"):
        evaluate_prompt_list(pipeline, file, out, tmp_path, empty, duration_s=2.0)
    assert not out.exists()  # it is found before any clip is made


def test_few_windows_have_no_distance_on_either_side(monkeypatch):
    rng = np.random.default_rng(0)

    def tagged(count):
        vectors, tags = rng.standard_normal((count, 4)), rng.random((count, 3))
        return distances.Tagged(vectors, tags)

    monkeypatch.setattr(distances, "HALVES", 5)
    assert distances.distance_rows("x", tagged(1), tagged(50)) == []
    assert distances.distance_rows("x", tagged(50), tagged(1)) == []
    assert len(distances.distance_rows("x", tagged(50), tagged(50))) == 4
    same = distances.Tagged(np.ones((50, 4)), np.ones((50, 3)))  # copies of one sound
    assert all(np.isfinite(r["value"]) for r in distances.distance_rows("x", same, same))


def test_what_cannot_be_read_of_a_reference_is_left_out_and_named(reference, caplog):
    (reference / "broken.wav").write_text("no sound")
    what, sounds = prompt_evaluation.reference_sounds(reference, reference)
    assert what == "reference" and len(sounds) == 3 and "broken.wav" in caplog.text


def test_first_draws_are_counted_and_not_made_of_clips_that_were_not_asked(tmp_path):
    store = prompt_clips.ClipStore(tmp_path)
    store.rows = {"a": {"empty": ""}, "b": {"empty": "mostly silent"}, "old": {}}
    (row,) = prompt_clips.first_draw_rows("simba", store, ["a", "b"])
    assert (row["value"], row["n"]) == (0.5, 2)
    assert prompt_clips.first_draw_rows("simba", store, ["a", "old"]) == []


def test_evaluations_keep_an_empty_first_draw(pipeline, tmp_path, monkeypatch):
    asked = list[object]()
    batch = type(pipeline).generate_batch

    def noted(self, requests, side):
        asked.extend(requests)
        return batch(self, requests, side)

    monkeypatch.setattr(type(pipeline), "generate_batch", noted)
    monkeypatch.setattr(prompt_clips, "why_empty", lambda *a: "mostly silent")
    store = prompt_clips.ClipStore(tmp_path)
    prompt_clips.make_clips(pipeline, "left", [("1", "calm piano", 0)], 2.0, store)
    assert {request.subseed for request in asked} == {0}
    assert {row["empty"] for row in store.rows.values()} == {"mostly silent"}
