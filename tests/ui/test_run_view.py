"""What a run sends to the page: sound in order and grouped, with an end, and none where unasked."""

import base64
import json

import pytest

from simba_music.generation.clip import AudioChunk, Clip
from simba_music.generation.comparison import Comparison, Started
from simba_music.generation.service import Event
from simba_music.generation.stops import Stops
from simba_music.listening.typed_pairs import PairMaker
from simba_music.ui import run_view

RAW = {"prompt": "calm piano", "duration_s": 4.0, "seed": 5}


def changes(pipeline, folder, stream=True):
    own = [pipeline.models[side].origin.id for side in ("left", "right")]
    comparison = Comparison(pipeline, Stops())
    return run_view.run_page(comparison, *own, RAW, "session", folder, stream)


def messages(found):
    return [json.loads(each["sound"]["sound"]) for each in found if "sound" in each]


def test_sound_comes_between_its_beginning_and_its_end_each_sides_in_order(pipeline, tmp_path):
    found = list(changes(pipeline, tmp_path))
    sent = messages(found)
    assert len({message["run"] for message in sent}) == 1
    begun = sent[0]["started"]
    assert begun["names"] == {"A": "simba", "B": "transformer"}
    assert (begun["seconds"], begun["rate"]) == (4.0, 24_000)
    assert sent[-1]["ended"] and "verdict" in found[-1]
    for side in "AB":
        own = [c for m in sent for c in m.get("chunks", []) if c["clip"] == side]
        assert [chunk["seq"] for chunk in own] == list(range(len(own))) and own[-1]["last"]
        samples = sum(len(base64.b64decode(chunk["pcm_b64"])) // 2 for chunk in own)
        assert samples == 4 * 24_000


def test_what_comes_together_is_sent_together(pipeline, tmp_path, monkeypatch):
    few = list(changes(pipeline, tmp_path))
    monkeypatch.setattr(run_view, "GROUP_S", 0.0)
    many = list(changes(pipeline, tmp_path))
    assert len(few) < len(many)
    monkeypatch.setattr(run_view, "GROUP_S", 60.0)
    fewest = list(changes(pipeline, tmp_path))
    # the beginning, the first sound and the clip of each side, the end
    assert len(fewest) <= 6
    firsts = [m for m in messages(fewest) if m.get("chunks")][:1]
    assert len(firsts[0]["chunks"]) == 1 and firsts[0]["chunks"][0]["seq"] == 0


def test_groups_lose_nothing(pipeline, tmp_path):
    """Every card of a side that the page shows last is that of its clip."""
    shown = {}
    for change in changes(pipeline, tmp_path):
        shown |= change
    assert all("made in" in shown[f"{side}-card"] for side in ("left", "right"))
    assert all(shown[f"{side}-player"] for side in ("left", "right"))


def test_without_a_player_no_sound_is_sent(pipeline, tmp_path):
    assert messages(changes(pipeline, tmp_path, stream=False)) == []


def test_a_run_that_fails_ends_its_sound(pipeline, tmp_path, monkeypatch):
    def failing(self, *arguments, **options):
        yield Started(pipeline.validate(**RAW), pipeline)
        raise FloatingPointError("NaN logits")

    monkeypatch.setattr(Comparison, "run", failing)
    found = changes(pipeline, tmp_path)
    assert "started" in messages([next(found)])[0]
    assert messages([next(found)])[0]["ended"]
    with pytest.raises(FloatingPointError):
        next(found)


@pytest.mark.fault("P4", "HTML in names, in the player")
def test_names_of_models_are_escaped_for_the_player(pipeline, tmp_path, monkeypatch):
    monkeypatch.setattr(type(pipeline), "names", lambda self: {"left": "<img src=x>", "right": "b"})
    view = run_view.View("left", "right", tmp_path, stream=True)
    begun = messages([view.show(Started(pipeline.validate(**RAW), pipeline))])[0]["started"]
    assert begun["names"]["A"] == "&lt;img src=x&gt;"


def test_a_blind_pair_does_not_stream(pipeline, test):
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
