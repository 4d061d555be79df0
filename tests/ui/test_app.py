"""The app as a program calls it: every check holds on the server, not only in the page."""

import json
import re
import urllib.request
from html import unescape
from pathlib import Path

import pytest
from conftest import serving

from simba_music import audio
from simba_music.errors import CheckpointError
from simba_music.generation.clip import Clip, Progress
from simba_music.generation.comparison import Comparison, Started
from simba_music.generation.stops import Stops
from simba_music.ui import cards, run_view

# gradio_client leaves sockets and loops to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)


@pytest.fixture(scope="module")
def client(system):
    """A client of the app in a process of its own, as `make app` starts it."""
    from gradio_client import Client

    sides = ["--left", system / "simba", "--right", system / "transformer"]
    with serving(*sides, "--scorer", system / "clap", "--device", "cpu") as url:
        yield Client(url, verbose=False, analytics_enabled=False)


def answer(url, data):
    """All events of a call by plain HTTP."""
    body = json.dumps({"data": data}).encode()
    asked = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=60) as reply:
        event = json.load(reply)["event_id"]
    with urllib.request.urlopen(f"{url}/{event}", timeout=120) as stream:
        return stream.read().decode()


def call(client, pipeline, **changes):
    settings = {
        "prompt": "calm piano",
        "duration_s": 2.0,
        "seed": 5,
        "fresh": False,
        "temperature": 1.0,
        "top_k": 100,
        "top_p": 1.0,
        "guidance": 4.5,
        "negative": "",
        "left": pipeline.models["left"].origin.id,
        "right": pipeline.models["right"].origin.id,
    } | changes
    job = client.submit(*settings.values(), api_name="/generate")
    job.result()
    final = [None] * 6  # each step holds what changed, the rest are empty updates
    for step in job.outputs():
        for i, value in enumerate(step):
            if not (isinstance(value, dict) and value.get("__type__") == "update"):
                final[i] = value
    return final


def test_two_clips_of_the_asked_length_and_the_same_again(client, pipeline):
    first, second = (call(client, pipeline) for _ in range(2))
    assert first[0] == 5 and len(first) == 6
    for side in (1, 3):
        assert "Seed 5" in first[side] and "real time" in first[side]
        wave, again = audio.read(first[side + 1]), audio.read(second[side + 1])
        assert wave.duration_s == 2.0
        assert Path(first[side + 1]).read_bytes() == Path(second[side + 1]).read_bytes()
        assert (wave.samples == again.samples).all()
    assert Path(first[2]).name == "simba-calm-piano-seed5.wav"


def test_a_fresh_seed_is_drawn_and_told(client, pipeline):
    first, second = (call(client, pipeline, fresh=True) for _ in range(2))
    assert first[0] != second[0] and f"Seed {first[0]}" in first[1]


@pytest.mark.fault("P6", "bad input by the API")
@pytest.mark.fault("P2", "1,500 characters by the API")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompt": "  "}, "prompt is empty"),
        ({"prompt": "piano " * 300}, "at most 256"),
        ({"duration_s": 31.0}, "greater than maximum"),
        ({"duration_s": 2.3}, "multiple of 0.5"),
        ({"seed": None}, "seed must be a whole number"),
        ({"left": "nowhere"}, "'nowhere' not found"),
    ],
)
def test_bad_input_is_refused_by_the_server(client, pipeline, changes, said):
    with pytest.raises(Exception, match=said):
        call(client, pipeline, **changes)


@pytest.mark.fault("P4", "HTML in prompts and in names of models")
def test_names_from_outside_are_escaped(pipeline, system, tmp_path):
    import shutil

    evil = tmp_path / "<img src=x onerror=alert(1)>"
    shutil.copytree(system / "simba", evil)
    shutil.copytree(system / "codec", tmp_path / "codec")
    held = pipeline.with_models(str(evil), str(evil))
    request = held.validate(prompt="<b>calm</b>", duration_s=2.0)
    heading = cards.title(held, "left")
    for event in held.generate(request, ("left",)):
        card = (
            cards.progress_card(heading, event)
            if isinstance(event, Progress)
            else cards.result_card(heading, event)
        )
        assert "<img" not in card and "<b>calm" not in card
    assert isinstance(event, Clip)
    assert run_view.file_name(event).endswith("-b-calm-b-seed0.wav")


def test_the_alignment_over_time_is_drawn_and_said():
    from xml.etree import ElementTree

    from simba_music.scoring.score import Score
    from simba_music.ui.cards import timeline

    score = Score("clap", "1", 0.4, 90.0, timeline=(0.5, -0.1, 2.0))
    drawn = ElementTree.fromstring(timeline(score).partition("<div")[0])
    heights = [float(bar.get("height")) for bar in drawn.iter("rect")]
    assert heights == [40.0, 8.0, 80.0]  # of the scale from -0.25 to 1; beyond it is cut
    assert drawn.get("aria-label").endswith("every 2.5 s: 0.50, -0.10, 2.00")
    assert timeline(Score("clap", "1", None, None, "silent")) == ""


@pytest.mark.fault("G2", "a stop ends its own session alone")
def test_one_session_stops_only_itself():
    stops = Stops()
    stops.request("a")
    assert stops.wanted("a") and not stops.wanted("b")
    stops.clear("a")
    assert not stops.wanted("a")


def page(pipeline, tmp_path, stops=None, **raw):
    comparison = Comparison(pipeline, stops or Stops())
    own = [pipeline.models[side].origin.id for side in ("left", "right")]
    raw = {"prompt": "calm piano", "duration_s": 2.0, "seed": 5} | raw
    return run_view.run_page(comparison, *own, raw, "session", tmp_path)


def test_a_run_changes_the_page_step_by_step_and_names_each_file_once(
    pipeline, tmp_path, monkeypatch
):
    monkeypatch.setattr("simba_music.generation.pipeline.usable_cores", lambda: 2)
    changes = list(page(pipeline, tmp_path))
    assert changes[0]["seed"] == 5 and changes[0]["left-player"] is None
    assert "Starting" in changes[0]["right-card"]
    paths = {n: v for change in changes for n, v in change.items() if n.endswith("-player") and v}
    files = {n: Path(path).name for n, path in paths.items()}
    assert files["left-player"].startswith("simba-calm-piano-seed5")
    found = re.search(r'data-both="([^"]*)"', changes[-1]["verdict"])
    both = json.loads(unescape(found[1]))
    assert both["files"] == {"A": files["left-player"], "B": files["right-player"]}
    # no sound beside these files: the player of both fetches them from the page
    assert len(changes[-1]["verdict"]) < 2000


def test_a_side_waits_for_its_turn_where_one_follows_the_other(pipeline, tmp_path, monkeypatch):
    monkeypatch.setenv("SIMBA_MUSIC_AT_ONCE", "0")
    first = next(page(pipeline, tmp_path))
    assert "Starting" in first["left-card"] and "Waiting for its turn" in first["right-card"]


def test_a_run_that_was_stopped_says_what_there_is(pipeline, tmp_path, monkeypatch):
    monkeypatch.setenv("SIMBA_MUSIC_AT_ONCE", "0")
    monkeypatch.setattr("simba_music.ui.run_view.GROUP_S", 0.0)
    stops, texts = Stops(), []
    for change in page(pipeline, tmp_path, stops, duration_s=10.0):
        texts += [value for name, value in change.items() if name.endswith("-card")]
        if "tokens/s, about" in texts[-1]:
            stops.request("session")
    assert any("Stopped early" in text for text in texts)
    assert "Stopped before it began" in texts[-1]


def test_a_stop_keeps_what_was_made_of_both_sides(pipeline, tmp_path, monkeypatch):
    monkeypatch.setattr("simba_music.generation.pipeline.usable_cores", lambda: 2)
    stops, cards = Stops(), {}
    for change in page(pipeline, tmp_path, stops, duration_s=30.0):
        cards |= {name: value for name, value in change.items() if name.endswith("-card")}
        if all("tokens/s, about" in cards[f"{side}-card"] for side in ("left", "right")):
            stops.request("session")
    assert all("Stopped early" in text for text in cards.values())


@pytest.mark.fault("S1", "a host's list of models is obeyed by the handler")
def test_a_host_that_forbids_other_models_is_obeyed_by_the_handler(pipeline, monkeypatch):
    monkeypatch.setenv("SIMBA_MUSIC_ANY_MODEL", "0")
    monkeypatch.setenv("SIMBA_MUSIC_MODELS", "org/offered")
    comparison = Comparison(pipeline, Stops())
    own = pipeline.models["left"].origin.id
    raw = {"prompt": "calm piano", "duration_s": 2.0}
    with pytest.raises(CheckpointError, match="is not offered here. Choose one of: .*org/of"):
        next(comparison.run(own, "/etc", raw, "session"))
    assert isinstance(next(comparison.run(own, own, raw, "session")), Started)


def test_the_api_answers_plain_http(client, pipeline):
    """As curl does: an update that is no JSON would end the stream with an error."""
    own = [pipeline.models[side].origin.id for side in ("left", "right")]
    data = ["calm piano", 2.0, 5, False, 1.0, 100, 1.0, 4.5, "", *own]
    events = answer(f"{client.src.rstrip('/')}/gradio_api/call/generate", data)
    assert "event: complete" in events and "event: error" not in events
    answers = [json.loads(line[6:]) for line in events.splitlines() if line.startswith("data: [")]
    assert {len(answer) for answer in answers} == {6} and "pcm_b64" not in events
    assert "simba-calm-piano-seed5.wav" in events


def test_the_api_reads_a_prompt_as_the_command_does(client):
    found = client.predict("flute, 96 bpm, no drums, A minor, rap", api_name="/read")
    assert (found["tempo"], found["key"], found["denied"]) == (96, "A minor", ["drums"])
    assert found["cannot"] == ["vocals"] and found["drawn"] == {}
    with pytest.raises(Exception, match="seed must be"):
        client.predict("flute", "x", api_name="/read")


GIVEN = ["calm piano", 2.0, 5, False, 1.0, 100, 1.0, 4.5, ""]


@pytest.mark.fault("P5", "dict, list, null and other types by raw HTTP")
@pytest.mark.fault("P6", "a duration in letters, a seed out of range, by raw HTTP")
@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (0, {"text": "x"}, "Prompt must be a text or a number, got dict"),
        (0, ["calm piano"], "got list"),
        (0, None, "prompt must be text, got NoneType"),
        (0, "\u200b", "prompt is empty"),
        (0, "a \u0000 b", r"U\+0000"),
        (1, "x", "Duration|duration_s"),
        (1, [2], "got list"),
        (2, "x", "Seed|seed"),
        (2, -1, "[Ss]eed|minimum"),
        (4, {}, "got dict"),
        (9, 3, "'3' not found|not in the list|got int|3"),
    ],
)
def test_values_of_other_types_are_refused_with_a_sentence(client, pipeline, place, value, said):
    own = [pipeline.models[side].origin.id for side in ("left", "right")]
    data = [*GIVEN, *own]
    data[place] = value
    text = answer(f"{client.src.rstrip('/')}/gradio_api/call/generate", data)
    assert text.rstrip().splitlines()[-2] == "event: error", text
    found = json.loads(text.rstrip().splitlines()[-1].removeprefix("data: "))
    found = found["error"] if isinstance(found, dict) else found
    assert found and re.search(said, found), text


@pytest.mark.fault("S1", "file=/etc/passwd, the database, the key")
def test_files_of_the_machine_are_not_served(client):
    import urllib.error

    for path in ("/etc/passwd", "/proc/self/environ", "../../etc/passwd", "votes.sqlite3"):
        for route in ("file=", "gradio_api/file="):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"{client.src.rstrip('/')}/{route}{path}", timeout=30)
            assert refused.value.code in (403, 404)
            refused.value.close()
