"""The Create tab on the server: what a run says, what is read, what is kept of a preference."""

import base64
import json
import shutil

import pytest

from simba_music import audio
from simba_music.errors import CheckpointError
from simba_music.generation.clip import Clip
from simba_music.generation.comparison import Comparison, Started
from simba_music.generation.recipe import stem_of
from simba_music.generation.service import Event
from simba_music.generation.stops import Stops
from simba_music.listening.tally import pools
from simba_music.listening.typed_pairs import PairMaker
from simba_music.listening.votes.open_choices import OPEN
from simba_music.scoring.score import Score
from simba_music.ui.create import view as view_module
from simba_music.ui.create.details import details, timeline
from simba_music.ui.create.example import open_example
from simba_music.ui.create.handlers import Handlers, request_of
from simba_music.ui.create.reading import chips
from simba_music.ui.create.verdict import level, rank, verdict
from simba_music.ui.create.view import View, add, grouped, written
from simba_music.ui.opening import Opening, sides_of

SETTINGS = {"duration_s": 2.0, "seed": 5, "takes": 1}
RUN = "0123456789abcdef" * 2


@pytest.fixture
def opening(pipeline, tmp_path, monkeypatch):
    monkeypatch.setenv("SIMBA_MUSIC_DATA", str(tmp_path / "data"))
    found = Opening(sides_of(pipeline))
    found.fill(lambda: pipeline)
    yield found
    found.test.result().database.close()


@pytest.fixture
def handlers(opening, tmp_path):
    def keep(path):
        return shutil.copy(path, tmp_path / path.name)

    return Handlers(opening, keep)


def asked(handlers, prompt="calm piano", run=RUN, left="left", right="right", **changes):
    sides = handlers.opening.sides
    return {
        "run": run,
        "prompt": prompt,
        "left": sides[left].source,
        "right": sides[right].source,
        "settings": SETTINGS | changes,
    }


def played(handlers, **options):
    return list(handlers.play(asked(handlers, **options)))


def last(found):
    """All messages as one."""
    whole = {}
    for message in found:
        whole = add(whole, message)
    return whole


def test_sound_comes_between_the_beginning_and_the_end_each_sides_in_order(handlers):
    found = played(handlers)
    assert {message["run"] for message in found} == {RUN}
    begun = next(m["started"] for m in found if "started" in m)
    assert {side: one["title"] for side, one in begun["names"].items()} == {
        "A": "SiMBA",
        "B": "Transformer",
    }
    assert (begun["seconds"], begun["rate"]) == (2.0, 24_000)
    assert "ended" in found[-1]
    for side in "AB":
        own = [c for m in found for c in m.get("chunks", []) if c["clip"] == side]
        assert [chunk["seq"] for chunk in own] == list(range(len(own))) and own[-1]["last"]
        samples = sum(len(base64.b64decode(chunk["pcm_b64"])) // 2 for chunk in own)
        assert samples == 2 * 24_000
        (clip,) = last(found)["clips"][side]
        assert audio.read(clip["file"]).duration_s == 2.0 and clip["seed"] == 5
    json.dumps(found)  # it is sent as JSON
    assert all(m["left_s"] >= 0 for m in found if "left_s" in m)


def test_what_comes_together_is_sent_together(handlers, monkeypatch):
    few = played(handlers)
    monkeypatch.setattr(view_module, "GROUP_S", 0.0)
    many = played(handlers)
    assert len(few) < len(many)
    monkeypatch.setattr(view_module, "GROUP_S", 60.0)
    fewest = played(handlers)
    # the beginning, the first sound and the clip of each side, the end
    assert len(fewest) <= 7
    firsts = [m for m in fewest if m.get("chunks")][:1]
    assert len(firsts[0]["chunks"]) == 1 and firsts[0]["chunks"][0]["seq"] == 0


def test_takes_are_ranked_and_any_two_have_a_verdict(handlers):
    whole = last(played(handlers, takes=3))
    assert {side: len(clips) for side, clips in whole["clips"].items()} == {"A": 3, "B": 3}
    assert {clip["seed"] for clip in whole["clips"]["A"]} == {5, 6, 7}
    assert sorted(whole["ended"]["ranks"]["A"]) == [0, 1, 2]
    assert len(whole["ended"]["verdicts"]) == 9
    by_take = {clip["take"]: clip["recipe"]["scorer"]["cosine"] for clip in whole["clips"]["A"]}
    order = [by_take[take] for take in whole["ended"]["ranks"]["A"]]
    assert order == sorted(order, reverse=True)


def test_the_same_model_twice_has_two_seeds_and_says_so(handlers):
    whole = last(played(handlers, right="left"))
    assert [one["about"] for one in whole["started"]["names"].values()] == ["seed 5", "seed 6"]
    assert [whole["clips"][side][0]["seed"] for side in "AB"] == [5, 6]
    assert whole["started"]["names"]["A"]["tone"] != whole["started"]["names"]["B"]["tone"]


def test_a_seed_that_is_not_given_is_drawn_and_told(handlers):
    seeds = [last(played(handlers, seed=None))["started"]["requests"]["A"]["seed"] for _ in "12"]
    assert seeds[0] != seeds[1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompt": "  "}, "prompt is empty"),
        ({"prompt": "piano " * 300}, "at most 256"),
        ({"prompt": 7}, "must be text"),
        ({"duration_s": 31.0}, "from 2 to 30"),
        ({"duration_s": 2.3}, "multiple of 0.5"),
        ({"seed": "x"}, "seed must be a whole number"),
        ({"takes": 5}, "takes must be"),
    ],
)
def test_what_is_wrong_is_said_and_ends_the_run(handlers, changes, said):
    found = played(handlers, **changes)
    assert said in found[-1]["error"] and not any("started" in m for m in found)


def test_a_model_that_is_not_there_is_said_before_any_name_is_shown(handlers):
    found = list(handlers.play(asked(handlers) | {"left": "nowhere"}))
    assert "'nowhere' not found" in found[-1]["error"]
    assert not any("started" in message for message in found)


def test_what_breaks_is_a_sentence_with_the_sound_ended(handlers, monkeypatch):
    def failing(self, *arguments, **options):
        raise FloatingPointError("NaN logits")
        yield

    monkeypatch.setattr(Comparison, "run", failing)
    assert "Try again" in played(handlers)[-1]["error"]


def test_a_run_is_stopped_by_its_own_name_and_keeps_what_was_made(handlers, monkeypatch):
    monkeypatch.setattr(view_module, "GROUP_S", 0.0)
    steps = handlers.play(asked(handlers, duration_s=30.0))
    found = []
    for message in steps:
        found.append(message)
        if len(found) == 3:
            handlers.stop({"run": RUN[::-1]})  # another's
        if len(message.get("progress", {})) and len(found) > 6:
            handlers.stop({"run": RUN})
    whole = last(found)
    assert whole["ended"]["stopped"]
    made = [clip for clips in whole["clips"].values() for clip in clips]
    assert made and all(clip["stopped"] and clip["seconds"] < 30 for clip in made)
    assert not handlers.opening.stops.wanted(RUN)  # nothing is left behind


def test_a_run_that_was_stopped_before_its_turn_does_nothing(handlers):
    handlers.stop({"run": RUN})
    assert last(played(handlers)) == {}
    assert "started" in last(played(handlers))


def test_a_side_that_began_silently_says_so_in_its_row(handlers, silence):
    begun = silence(1)
    found = played(handlers, duration_s=4.0)
    assert sorted(begun) == [0, 0, 1, 1]
    shown = [m["progress"]["A"]["again"] for m in found if "A" in m.get("progress", {})]
    assert shown == sorted(shown) and shown[-1]
    (clip,) = next(m["clips"]["A"] for m in found if "A" in m.get("clips", {}))
    assert clip["match"].endswith(" · was silent, drawn again") and clip["subseed"] == 1
    assert "Draw 2 of its seed" in clip["details"] and clip["recipe"]["request"]["subseed"] == 1


def test_a_clip_goes_on_from_the_draw_that_was_kept(handlers):
    own = {"A": {"seed": 5, "subseed": 2}, "B": {"seed": 5, "subseed": 0}}
    given = asked(handlers, duration_s=4.0, grown_s=[2.0]) | {"own": own}
    found = list(handlers.play(given))
    clips = {side: found for m in found for side, found in m.get("clips", {}).items()}
    drawn = {side: one[0]["recipe"]["request"]["subseed"] for side, one in clips.items()}
    assert drawn == {"A": 2, "B": 0}


@pytest.mark.parametrize("data", [None, {}, {"run": "../x"}, {"run": RUN, "settings": 1}])
def test_nonsense_from_outside_is_taken_calmly(handlers, data):
    found = list(handlers.play(data or {}))
    assert all("error" in message for message in found)
    assert handlers.stop(data) == {}
    assert "error" in handlers.read(data)


def test_chords_become_words_of_the_prompt():
    raw = request_of({"prompt": " funk ", "settings": {"chords": "Am F", "seed": 3, "x": 1}})
    assert raw == {"prompt": "funk, chords: Am F", "seed": 3}


def test_the_line_under_the_prompt_reads_as_the_command_does(handlers):
    data = {"prompt": "96 bpm, no drums, A minor, rap", "settings": {"seed": None}}
    found = handlers.read(data)["chips"]
    assert [(chip["kind"], chip["text"]) for chip in found][:2] == [
        ("read", "A minor"),
        ("read", "96 bpm"),
    ]
    said = {chip["kind"]: chip["text"] for chip in found}
    assert said["without"] == "no drums" and said["cannot"] == "can't do: vocals"
    assert "drawn" not in said


def test_what_a_seed_draws_is_said_only_where_there_is_one(handlers, monkeypatch):
    from simba_music.conditioning.reading.prompt import Reading

    class Drawing:
        def read(self, *_):
            return Reading(drawn={"key": "A minor"})

    monkeypatch.setattr(type(handlers.opening), "reader", lambda _: Drawing())
    for seed, kinds in ((None, []), (3, ["drawn"])):
        found = handlers.read({"prompt": "sad", "settings": {"seed": seed, "draw": True}})
        assert [chip["kind"] for chip in found["chips"]] == kinds


def test_drawn_conditions_are_said_once_the_seed_is_known():
    from simba_music.conditioning.reading.prompt import Reading

    found = chips(Reading(drawn={"tempo": 92.0, "key": "A minor"}, note="odd"))
    assert [chip["text"] for chip in found] == ["92 bpm, drawn", "A minor, drawn", "odd"]


def score(cosine, percentile, *, note="", timeline=(0.1, 0.2, 0.3)):
    return Score("one", "1", cosine, percentile, None, 200, timeline, note)


def test_a_match_is_said_in_words():
    values = [score(0.5, 99.0), score(0.4, 85.0), score(0.3, 55.0), score(0.1, 20.0), None]
    assert [level(one) for one in values] == ["strong", "good", "fair", "weak", "none"]
    assert level(score(0.9, 99.0, note="low confidence")) == "unclear"
    assert rank({0: score(0.1, 9.0), 1: None, 2: score(0.4, 9.0)}) == [2, 0, 1]


def test_a_verdict_is_given_where_the_difference_is_clear():
    better = score(0.5, 99.0, timeline=(0.5, 0.6, 0.55))
    worse = score(0.1, 50.0, timeline=(0.1, 0.15, 0.12))
    assert verdict(("SiMBA", "Transformer"), better, worse)["text"].startswith("SiMBA fits")
    assert verdict(("SiMBA", "Transformer"), worse, better)["text"].startswith("Transformer fits")
    close = verdict(("SiMBA", "Transformer"), better, score(0.5, 99.0, timeline=(0.6, 0.5, 0.56)))
    assert close["text"] == "Too close to call." and "95 % interval" in close["numbers"]
    assert verdict(("a", "b"), None, better)["numbers"] == ""


def test_the_alignment_over_time_is_drawn_and_said():
    from xml.etree import ElementTree

    drawn = ElementTree.fromstring(timeline(score(0.4, 90.0, timeline=(0.5, -0.1, 2.0))))
    heights = [float(bar.get("height")) for bar in drawn.iter("rect")]
    assert heights == [40.0, 8.0, 80.0]  # of the scale from -0.25 to 1; beyond it is cut
    assert drawn.get("aria-label").endswith("every 2.5 s: 0.50, -0.10, 2.00")
    assert timeline(Score("clap", "1", None, None, "silent")) == ""


def test_names_from_outside_are_escaped_in_the_details(pipeline, system, tmp_path):
    evil = tmp_path / "<img src=x onerror=alert(1)>"
    shutil.copytree(system / "simba", evil)
    shutil.copytree(system / "codec", tmp_path / "codec")
    held = pipeline.with_models(str(evil), str(evil))
    request = held.validate(prompt="<b>calm</b>", duration_s=2.0)
    clip = list(held.generate(request, ("left",)))[-1]
    assert isinstance(clip, Clip)
    said = details(clip, clip.name, "<i>notice</i>")
    assert "<img" not in said and "<i>" not in said
    assert stem_of(clip.recipe, clip.name).startswith("b-calm-b-img-src-x")


def test_a_host_that_forbids_other_models_is_obeyed(pipeline, monkeypatch):
    monkeypatch.setenv("SIMBA_MUSIC_ANY_MODEL", "0")
    monkeypatch.setenv("SIMBA_MUSIC_MODELS", "org/offered")
    comparison = Comparison(pipeline, Stops())
    own = pipeline.models["left"].origin.id
    raw = {"prompt": "calm piano", "duration_s": 2.0}
    with pytest.raises(CheckpointError, match="is not offered here. Choose one of: .*org/of"):
        next(comparison.run(own, "/etc", raw, "session"))
    assert isinstance(next(comparison.run(own, own, raw, "session")), Started)


def test_the_time_that_is_left_is_that_of_both_sides(pipeline, tmp_path, monkeypatch):
    request = pipeline.validate(prompt="x", duration_s=4.0)
    view = View(RUN, written(tmp_path))
    view.show(Started(request, pipeline))
    view._frames, view._begun, view._total = {"left": 50}, {"left": 0.0}, 200
    monkeypatch.setattr(type(pipeline), "at_once", lambda *_: False)
    assert view.left_s(10.0) == pytest.approx(30 + 40)  # this side's rest, and the other whole
    monkeypatch.setattr(type(pipeline), "at_once", lambda *_: True)
    assert view.left_s(10.0) == pytest.approx(30)


def test_events_of_a_failed_run_that_were_grouped_are_not_lost(pipeline, tmp_path):
    view = View(RUN, written(tmp_path))
    request = pipeline.validate(prompt="x", duration_s=2.0)
    found = list(grouped(view, iter([Started(request, pipeline), *pipeline.generate(request)])))
    assert {side: len(clips) for side, clips in last(found)["clips"].items()} == {"A": 1, "B": 1}


# ---- Preferences. ----


class Visitor:
    """A request of Gradio's, from this machine."""

    headers: dict[str, str] = {}

    class client:
        host = "127.0.0.1"


def chosen(handlers, heard=3.0, pair=f"{RUN}:0-0", **changes):
    heard = {side: [[0.0, heard]] for side in "AB"}
    data = {"pair": pair, "preference": "A", "heard": heard, "switches": 1, "listener": None}
    return handlers.prefer(data | changes, Visitor())


def test_a_preference_is_kept_as_open_and_counted_nowhere(handlers):
    played(handlers)
    answer = chosen(handlers)
    test = handlers.opening.test.result()
    (vote,) = test.database.votes()
    assert (vote.status, vote.preference) == (OPEN, "A")
    battle = vote.trial.battle
    assert (battle.origin, battle.prompt, battle.seed) == (OPEN, "calm piano", 5)
    assert battle.sides["left"]["checkpoint"] == "simba"
    assert pools([vote], set()) == {}
    # the browser that says who it is stays one listener
    chosen(handlers, listener=answer["listener"], preference="TIE")
    assert len({one.listener_id for one in test.database.votes()}) == 1
    # and its choices are no part of the blind test
    assert test.left_open(test.listener_id_of(answer["listener"])) is None


def test_a_preference_needs_a_pair_that_was_made_here_and_heard(handlers):
    assert "no longer held" in chosen(handlers)["error"]
    played(handlers)
    assert "Listen to at least" in chosen(handlers, heard=0.4)["error"]
    assert "preference" in chosen(handlers, preference="C")["error"]
    assert handlers.opening.test.result().database.votes() == []


# ---- The example. ----


def gallery_of(pipeline, path):
    from simba_music.listening.gallery import write_gallery

    write_gallery(pipeline, ["calm piano", "loud drums", "slow flute"], 3.0, path)
    return path


def test_the_example_is_made_once_and_read_after(pipeline, tmp_path, monkeypatch):
    path = gallery_of(pipeline, tmp_path / "gallery.json")
    made = open_example(pipeline, tmp_path / "kept", path)
    assert made.shown["request"]["prompt"] == "slow flute"
    assert [audio.read(made.files[side]).duration_s for side in "AB"] == [3.0, 3.0]
    assert made.shown["names"]["A"]["title"] == "SiMBA" and made.shown["verdict"]["text"]
    monkeypatch.setattr("simba_music.ui.create.example.decoded", None)  # nothing is decoded again
    assert open_example(pipeline, tmp_path / "kept", path) == made
    json.dumps(made.shown)


def test_there_is_no_example_of_other_models(pipeline, tmp_path):
    path = gallery_of(pipeline, tmp_path / "gallery.json")
    other = pipeline.with_models(*[pipeline.models["left"].origin.id] * 2)
    assert open_example(other, tmp_path / "kept", path) is None
    assert open_example(pipeline, tmp_path / "kept", tmp_path / "none.json") is None


def test_the_page_asks_for_the_example_until_it_is_there(pipeline, tmp_path, monkeypatch):
    monkeypatch.setenv("SIMBA_MUSIC_DATA", str(tmp_path / "data"))
    opening = Opening(sides_of(pipeline))
    waiting = Handlers(opening, lambda path: path)
    assert waiting.example({}) == {"waiting": True}
    path = gallery_of(pipeline, tmp_path / "gallery.json")
    opening.example.set_result(open_example(pipeline, tmp_path / "kept", path))
    assert set(waiting.example({})["files"]) == {"A", "B"}


def test_a_blind_pair_does_not_stream(pipeline, test):
    from simba_music.generation.clip import AudioChunk

    seen: list[Event] = []
    maker = PairMaker(pipeline, test)

    class Watched:
        def __getattr__(self, name):
            return getattr(pipeline, name)

        def generate(self, *arguments, **options):
            for event in pipeline.generate(*arguments, **options):
                seen.append(event)
                yield event

    maker.service = Watched()
    shares = [step for step in maker.make("calm piano") if isinstance(step, float)]
    assert not any(isinstance(event, AudioChunk) for event in seen)
    assert len([event for event in seen if isinstance(event, Clip)]) == 2
    assert shares == sorted(shares) and shares[-1] == 1.0
