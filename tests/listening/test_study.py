"""Studies: what their file may say, what each listener hears, and what is left of it."""

import csv
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from ballots import ballot, tone
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import encode

from simba_music import audio
from simba_music.__main__ import main
from simba_music.errors import RequestError
from simba_music.files import read_json
from simba_music.listening.study.data import SCHEMA, agreements, export, study_summary, votes_of
from simba_music.listening.study.file import STUDY, read_study, render_study, same_words
from simba_music.listening.study.session import FAR, Study, open_study
from simba_music.listening.trials import ListeningTest
from simba_music.listening.votes.ballot import UNDO_S, VoteError

SECRET = "a secret of the tests"
FIELDS = {
    "name": "first",
    "title": "Which fits better?",
    "consent": "I am of age and take part of my own will.",
    "trials": 4,
    "repeats": 1,
    "catches": 2,
    "headphones": "asked",
}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """A study of the host's own pairs: five of them, tones of two pitches."""
    folder = tmp_path_factory.mktemp("study")
    write(folder / "study.yaml", pairs=tone_pairs(folder, 6.0))
    assert render_study(None, folder / "study.yaml", folder / "out") == 5
    return folder


def tone_pairs(folder, seconds):
    """Five pairs of tones of two pitches as sound files in `folder`, as a study file has them."""
    pairs = []
    for i in range(5):
        for side, pitch in (("left", 200 + 20 * i), ("right", 300 + 20 * i)):
            (folder / f"{side}{i}").mkdir()
            audio.write(folder / f"{side}{i}" / "clip.wav", tone(seconds, 0.1, pitch))
        pairs.append({"prompt": f"tone {i}", "left": f"left{i}/clip.wav"})
        pairs[-1]["right"] = f"right{i}/clip.wav"
    return pairs


def write(path, **changes):
    path.write_text(yaml.safe_dump({k: v for k, v in (FIELDS | changes).items() if v is not None}))
    return path


@pytest.fixture
def study(rendered, base, tmp_path):
    return Study(ListeningTest(base, tmp_path / "clips", SECRET), rendered / "out", SECRET)


def answer(study, trial, clock, preference="A"):
    clock(20)
    return study.test.vote(ballot(trial, preference=preference))


def take(study, clock, preference=lambda trial: "A", stop=None):
    """One listener's whole visit: their name, and the trials in their order."""
    name = study.listener_of(study.join(False, {"headphones": "passed"})).id
    trials = []
    while study.progress(name)["code"] is None and len(trials) != stop:
        trials.append(study.next_trial(name))
        answer(study, trials[-1], clock, preference(trials[-1]))
        clock(UNDO_S + 1)
    return name, trials


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "No Spaces"}, "name: String should match"),
        ({"prompts": ["a", "a"]}, "prompts: .*twice"),
        ({"prompts": ["a", "b"]}, "4 trials and one for practice need 5 different prompts"),
        ({"prompts": ["a", "A ", "b", "c", "d"]}, "there are 4"),
        ({"prompts": None}, "either prompts or pairs"),
        ({"prompts": list("abcde"), "repeats": 9}, "9 repeats of 4 trials"),
        ({"prompts": list("abcde"), "color": 1}, "color: Extra inputs"),
        ({"prompts": list("abcde"), "consent": None}, "consent: Field required"),
    ],
)
def test_a_study_file_that_is_wrong_says_where(tmp_path, changes, said):
    path = write(tmp_path / "s.yaml", **changes)
    with pytest.raises(RequestError, match=said):
        read_study(path)


def test_the_example_in_docs_is_a_study():
    assert read_study(Path(__file__).parents[2] / "docs" / "study-example.yaml").length == 8


def test_a_file_that_is_no_yaml_or_no_sound_is_explained(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SIMBA_MUSIC_DATA", str(tmp_path / "data"))
    path = tmp_path / "s.yaml"
    path.write_text("name: [unclosed")
    with pytest.raises(RequestError, match="cannot be read as YAML"):
        read_study(path)
    pairs = [{"prompt": str(i), "left": "a.wav", "right": "b.wav"} for i in range(5)]
    write(path, pairs=pairs)
    with pytest.raises(RequestError, match=r"a\.wav is no file"):
        render_study(None, path, tmp_path / "out")
    assert main(["study", "report", str(tmp_path / "out")]) == 2
    assert "holds no study" in capsys.readouterr().err


def test_values_of_a_study_are_taken_as_they_are_written(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(
        "name: 2024\ntitle: off\nconsent: yes\ntrials: 1\nprompts: [no, 3]\nheadphones: off\n"
    )
    study = read_study(path)
    assert (study.name, study.title, study.consent) == ("2024", "off", "yes")
    assert study.prompts == ("no", "3") and study.trials == 1 and study.headphones == "off"
    path.write_text("name: a\nname: b\n")
    with pytest.raises(RequestError, match="'name' stands there twice"):
        read_study(path)


LEAF = st.sampled_from("off ~ 2024 [ ' !!python/name:os.system &a *a << é 1e999 a:b".split())
SHORT = st.text(max_size=9)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([*FIELDS, "prompts", "pairs", "- x", "?"]), LEAF | SHORT),
        max_size=9,
    ),
    st.sampled_from(["utf-8", "utf-16", "latin-1"]),
)  # fmt: skip
def test_no_study_file_ends_in_a_traceback(lines, encoding):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.yaml"
        text = "".join(f"{name}: {value}\n" for name, value in lines)
        path.write_bytes(text.encode(encoding, "replace"))
        try:
            read_study(path)
        except RequestError as error:
            assert "s.yaml" in str(error)


def test_clips_that_people_bring_are_read_or_refused_before_any_is_kept(tmp_path):
    loud = 1.6 * np.sin(2 * np.pi * 300 * np.arange(4 * 44_100) / 44_100)
    soundfile.write(tmp_path / "loud.wav", loud, 44_100, subtype="FLOAT")
    soundfile.write(tmp_path / "ok.wav", 0.2 * loud, 44_100)
    soundfile.write(tmp_path / "silent.wav", 0 * loud, 44_100)
    encode(tmp_path / "ok.m4a", (0.2 * loud).astype("f4"))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "é.wav").write_bytes((tmp_path / "ok.wav").read_bytes())

    def render(left, out):
        pairs = [{"prompt": "a", "left": "ok.wav", "right": "ok.wav"}]
        pairs.append({"prompt": "b", "left": left, "right": "ok.wav"})
        write(tmp_path / "s.yaml", pairs=pairs, trials=1, repeats=0)
        return render_study(None, tmp_path / "s.yaml", tmp_path / out)

    for i, left in enumerate(("loud.wav", "ok.m4a", "sub\\é.wav", "sub/é.wav")):
        assert render(left, f"out{i}") == 2
    kept, _ = soundfile.read(tmp_path / "out0" / "clips" / "001-left.wav")
    assert (np.abs(kept) > 0.999).mean() == 0
    with pytest.raises(RequestError, match=r"silent\.wav: it is silent"):
        render("silent.wav", "refused")
    assert not (tmp_path / "refused").exists()


def test_prompts_are_rendered_once_and_go_on_where_they_stopped(pipeline, tmp_path, monkeypatch):
    path = write(tmp_path / "s.yaml", prompts=[f"piano {i}" for i in range(5)], duration_s=2.0)
    monkeypatch.setattr("simba_music.listening.study.file.BATCH", 2)
    generated, whole = [], type(pipeline).generate_batch

    def counted(self, requests, side):
        if len(generated) == 2:
            raise KeyboardInterrupt
        generated.append(len(requests))
        return whole(self, requests, side)

    monkeypatch.setattr(type(pipeline), "generate_batch", counted)
    with pytest.raises(KeyboardInterrupt):
        render_study(pipeline, path, tmp_path / "out")
    with pytest.raises(RequestError, match="not finished"):
        Study(None, tmp_path / "out", SECRET)
    monkeypatch.setattr(type(pipeline), "generate_batch", whole)
    told = []
    assert render_study(pipeline, path, tmp_path / "out", lambda *now: told.append(now)) == 5
    assert told == [(i, 5) for i in range(2, 6)]
    names = {item["prompt"] for item in read_json(tmp_path / "out" / STUDY)["items"]}
    assert names == {f"piano {i}" for i in range(5)}
    with pytest.raises(RequestError, match="another study"):
        render_study(pipeline, write(path, prompts=list("abcde")), tmp_path / "out")


def test_a_listener_hears_practice_trials_catches_and_a_swapped_repeat(study, clock):
    name, trials = take(study, clock)
    kinds = [trial.kind for trial, _ in study.test.database.trials_of(name, "first")]
    assert kinds[0] == "practice" and len(trials) == 8 == study.config.length
    assert Counter(kinds) == {"practice": 1, "normal": 4, "catch": 2, "repeat": 1}
    assert kinds == study.order(name) and kinds.index("repeat") >= 4
    assert trials[0]["practice"] and not any(trial["practice"] for trial in trials[1:])
    shown = [trial for trial, _ in study.test.database.trials_of(name, "first")]
    repeat = next(trial for trial in shown if trial.kind == "repeat")
    first = next(t for t in shown if t.kind == "normal" and t.battle_id == repeat.battle_id)
    assert repeat.flipped != first.flipped
    assert abs(sum(1 if trial.first == "A" else -1 for trial in shown[1:])) <= 1
    for trial, told in zip(shown, trials, strict=True):
        sounds = {clip["audio_sha256"] for clip in trial.at(trial.battle).values()}
        assert (len(sounds) == 1) == (trial.kind == "catch")
        assert told["A"] != told["B"]  # bytes that are alike would say which is a catch
        assert not any("left" in str(v) or "right" in str(v) for k, v in told.items() if k > "Z")
    statuses = {vote.trial.kind: vote.status for vote in votes_of(study)}
    assert statuses["normal"] == "counted"
    assert {statuses[kind] for kind in ("practice", "catch", "repeat")} == {"excluded"}
    with pytest.raises(VoteError, match="answered everything"):
        study.next_trial(name)
    with pytest.raises(VoteError, match="does not tell"):
        clock(20)
        study.test.reveal(trials[1]["ticket"])


@pytest.mark.fault("V6", "a reload of a study")
def test_a_reload_gives_the_same_trial_and_a_code_comes_only_at_the_end(study, clock):
    name, trials = take(study, clock, stop=3)
    first, again = study.next_trial(name), study.next_trial(name)
    assert {k: v for k, v in first.items() if k != "ticket"} == {
        k: v for k, v in again.items() if k != "ticket"
    }
    # Practice is no answer that counts.
    assert study.progress(name) == {"done": 2, "of": 7, "given": 3, "code": None}
    assert (first["number"], first["of"], first["last"]) == (3, 7, False)
    answer(study, again, clock)
    with pytest.raises(VoteError, match="already"):
        study.test.vote(ballot(first, preference="B"))
    while study.progress(name)["done"] < 7:
        last = study.next_trial(name)
        answer(study, last, clock)
    assert last["last"] and study.progress(name)["code"] is None  # it can still be taken back
    study.test.finish(last["ticket"])
    with pytest.raises(VoteError, match="it stands"):
        study.test.undo(last["ticket"])
    code = study.progress(name)["code"]
    assert len(code) == 10 and code == study.code(name) != study.code("another")


def told_prompts(study, clock):
    """(kind, prompt) of every trial of one listener, in their order."""
    name, _ = take(study, clock)
    shown = study.test.database.trials_of(name, study.config.name)
    return [(trial.kind, trial.battle.prompt) for trial, _ in shown]


def many(tmp_path, base, **changes):
    """A study of 14 prompts, the last of which come with a second pair of clips."""
    for name, pitch in (("a", 200), ("b", 300), ("c", 400)):
        audio.write(tmp_path / f"{name}.wav", tone(6.0, 0.1, pitch))
    pairs = [{"prompt": f"tone {i}", "left": "a.wav", "right": "b.wav"} for i in range(14)]
    pairs += [{"prompt": f"Tone  {i}", "left": "a.wav", "right": "c.wav"} for i in range(10, 14)]
    path = write(tmp_path / "s.yaml", pairs=pairs, **changes)
    render_study(None, path, tmp_path / "many")
    return Study(ListeningTest(base, tmp_path / "clips", SECRET), tmp_path / "many", SECRET)


def test_no_prompt_comes_twice_where_there_are_prompts_for_all(base, tmp_path, clock):
    study = many(tmp_path, base, trials=9, repeats=0, catches=4)
    prompts = [same_words(prompt) for _, prompt in told_prompts(study, clock)]
    assert len(prompts) == len(set(prompts)) == 14


def test_what_comes_again_is_far_from_the_first_time(base, tmp_path, clock):
    study = many(tmp_path, base, trials=13, repeats=2, catches=2)
    for _ in range(2):
        told = told_prompts(study, clock)
        assert Counter(kind for kind, _ in told)["normal"] == 13
        prompts = [same_words(prompt) for _, prompt in told]
        assert max(Counter(prompts).values()) == 2
        for place, (kind, _) in enumerate(told):
            before = [i for i in range(place) if prompts[i] == prompts[place]]
            assert bool(before) == (kind in ("repeat", "catch"))
            assert all(place - i > FAR * place for i in before)
            assert not before or told[before[0]][0] == "normal"


def test_sides_are_balanced_over_listeners(study, clock):
    for _ in range(10):
        take(study, clock)
    for battle, (shown, flips) in study.test.database.showings(
        [pair.id for pair in study.pairs[1:]]
    ).items():
        normal = [
            vote.trial.flipped
            for vote in votes_of(study)
            if vote.trial.battle_id == battle and vote.trial.kind == "normal"
        ]
        assert len(normal) == 10 and abs(sum(normal) - 5) <= 2, (shown, flips)


def test_headphones_and_consent_come_first(study, rendered, base, tmp_path):
    object.__setattr__(study.config, "headphones", "required")
    for checks in ({}, {"headphones": "failed"}, {"headphones": "skipped"}):
        with pytest.raises(VoteError, match="needs headphones"):
            study.join(False, checks)
    one = study.listener_of(study.join(True, {"headphones": "passed"}))
    assert one.consent == study.config.consent and one.checks == {"headphones": "passed"}
    outsider = study.test.new_listener(local=False)
    with pytest.raises(VoteError, match="not joined"):
        study.listener_of(outsider)


def prefers(wave_of):
    """A listener who prefers the clip of the lower pitch, and knows when both are the same."""
    import base64
    import io

    import soundfile

    def pitch(text):
        samples, rate = soundfile.read(io.BytesIO(base64.b64decode(text)))
        return np.abs(np.fft.rfft(samples[:rate])).argmax()

    def choose(trial):
        a, b = pitch(trial["A"]), pitch(trial["B"])
        return "TIE" if a == b else "A" if (a < b) == wave_of else "B"

    return choose


def table(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_the_summary_knows_careful_listeners_and_the_export_says_all(study, clock, tmp_path):
    assert "No votes yet" in study_summary(study)
    for _ in range(2):
        take(study, clock, prefers(True))
    take(study, clock, lambda trial: "A")
    votes = votes_of(study)
    same, total = agreements(votes)
    assert total == 3 and same == 2  # the third listener always says A
    study.join(False, {"headphones": "skipped", "volume": "skipped"})
    study.join(False, {"headphones": "failed", "volume": "set"})
    text = study_summary(study)
    assert "| headphones check | 3 passed, 1 failed, 1 skipped |" in text
    assert "| volume check | 1 set, 1 skipped, 3 not asked |" in text
    assert "joined / finished | 5 / 3 |" in text
    assert "catch pairs called alike | 67 %" in text
    assert "at least half of their catch pairs" in text
    export(study, tmp_path / "data")
    rows = table(tmp_path / "data" / "votes.csv")
    assert len(rows) == 24 and list(rows[0]) == list(SCHEMA)
    assert {row["kind"] for row in rows} == {"practice", "normal", "catch", "repeat"}
    listeners = table(tmp_path / "data" / "listeners.csv")
    done = [row for row in listeners if row["done"] == "7"]
    assert len(done) == 3 and all(row["code"] == study.code(row["listener"]) for row in done)
    assert [row["code"] for row in listeners if row not in done] == ["", ""]
    card = (tmp_path / "data" / "README.md").read_text()
    assert "license: cc-by-4.0" in card and study.config.consent in card
    assert all(f"`{name}`" in card for name in SCHEMA)


def test_an_export_goes_to_a_private_dataset(hub, rendered, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_writes")
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'v.sqlite3'}")
    command = ["study", "export", str(rendered / "out"), "--out", str(tmp_path / "data")]
    assert main([*command, "--hub", "tester/votes"]) == 0
    assert "/datasets/tester/votes/tree/" in capsys.readouterr().out
    files = hub.repos["tester/votes"].commits[hub.repos["tester/votes"].refs["main"]]
    assert {"votes.csv", "listeners.csv", "README.md"} <= set(files)
    open_study(rendered / "out").test.database.close()
