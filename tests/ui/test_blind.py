"""The blind test over HTTP: nothing leaks before the vote, and an attacker is refused."""

import base64
import json
import random
import re
import time
import urllib.request

import numpy as np
import pytest
import torch
from conftest import serving
from leaks import tell_apart

from simba_music.audio import Waveform, loudness_lufs
from simba_music.listening.database import Database
from simba_music.listening.pairs import Side
from simba_music.listening.trials import ListeningTest

TRIALS, EACH, RATE, SECONDS = 400, 5, 24_000, 1.0
WAV_HEADER = 44
MODELS = {"left": "simba", "right": "transformer", "scorer": "clap"}


SECRET = "a secret of the tests"


@pytest.fixture(scope="module")
def test(in_memory):
    """Pairs of which the left is dull and quiet, the right bright and loud, before matching."""
    folder = in_memory / "blind"
    folder.mkdir()
    base = Database(f"sqlite:///{folder / 'votes.sqlite3'}")
    found = ListeningTest(base, folder / "clips", SECRET)
    torch.manual_seed(0)
    for i in range(40):
        noise = torch.randn(1, round(SECONDS * RATE)) * 0.1
        dull = torch.nn.functional.avg_pool1d(noise[None], 9, 1, 4)[0]
        sides = {
            "left": Side(Waveform(0.1 * dull, RATE), {"checkpoint": "simba", "seconds": 3.0}),
            "right": Side(
                Waveform(noise.roll(7, -1), RATE), {"checkpoint": "transformer", "seconds": 9.0}
            ),
        }
        found.add_battle(f"prompt {i}", sides, "gallery", i, {})
    yield found
    base.close()


class Client:
    """What a browser, or an attacker, sends and gets."""

    def __init__(self, url, component):
        self.url, self.component = url, component

    def ask(self, name, data, headers=None):
        """(response headers, answer, seconds it took)."""
        body = {
            "data": data,
            "component_id": self.component,
            "fn_name": name,
            "session_hash": "x" + str(random.random()),
        }
        request = urllib.request.Request(
            f"{self.url}/gradio_api/component_server",
            json.dumps(body).encode(),
            {"content-type": "application/json"} | (headers or {}),
        )
        started = time.perf_counter()
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        return dict(answer.headers), json.loads(text), time.perf_counter() - started

    def listener(self):
        return self.ask("hello", {"listener": None})[1]["listener"]


@pytest.fixture(scope="module")
def client(test, system):
    """The app as `make app` starts it, on the same votes."""
    models = [f"--{name}={system / folder}" for name, folder in MODELS.items()]
    data = {"SIMBA_MUSIC_DATA": str(test.clips.folder.parent), "SIMBA_MUSIC_SECRET": SECRET}
    with serving(*models, environment=data) as url:
        config = get(f"{url}/config")
        found = [c for c in config["components"] if c["props"].get("elem_id") == "blind"]
        yield Client(url, found[0]["id"])


def get(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.loads(answer.read())


def wave_of(text):
    data = base64.b64decode(text)
    return data[:WAV_HEADER], np.frombuffer(data[WAV_HEADER:], "<i2") / 32767


def beside_the_sound(headers, answer, seconds):
    """All of a response but the samples: header bytes, lengths and levels stay."""
    told = {key: value for key, value in answer.items() if key not in ("A", "B", "prompt")}
    for side in "AB":
        header, samples = wave_of(answer[side])
        level = round(float(loudness_lufs(samples, RATE)), 1)
        told[side] = {"header": header, "samples": len(samples), "level": level}
    order = list(answer)
    headers = {k: v for k, v in headers.items() if k.lower() != "date"}
    return {"order": {k: order.index(k) for k in "AB"}, "headers": headers, "told": told} | {
        "seconds": seconds
    }


@pytest.fixture(scope="module")
def trials(test, client):
    """What every trial gave a browser, and which way round it was."""
    seen, flipped, rng = [], [], random.Random(0)
    pairs = test.database.battles("gallery")
    while len(seen) < TRIALS:
        # One from the gallery, the others as a listener is shown those that they typed.
        listener = client.listener()
        name = test.listener_id_of(listener)
        for battle in (None, *rng.sample(pairs, EACH - 1)):
            question = {"listener": listener}
            if battle is None:
                got = client.ask("next_pair", question)
            else:
                got = client.ask("show_pair", question | {"battle": test.offer(battle)})
            seen.append(beside_the_sound(*got))
            shown = {t.battle_id: t.flipped for t, _ in test.database.trials_of(name)}
            flipped.append(shown[battle.id] if battle else next(iter(shown.values())))
    return seen, flipped


@pytest.mark.fault("V4", "a classifier of 400 showings is at chance")
def test_nothing_but_the_sound_tells_the_sides_apart(trials):
    seen, flipped = trials
    accuracy, p, _ = tell_apart(seen, flipped)
    assert p > 0.001, f"a classifier names {accuracy:.0%} of the sides"


def plant(leak, got, flipped, rng):
    """One leak, such as other tests of this kind have had."""
    names = ["simba", "transformer"][:: -1 if flipped else 1]
    if leak == "file name":
        return got | {"file": {"A": f"/tmp/{names[0]}-1.wav", "B": f"/tmp/{names[1]}-1.wav"}}
    if leak == "mtime":
        late = 1.7e9 + rng.uniform(0, 600)
        times = [late, late + 5][:: -1 if flipped else 1]
        return got | {"mtime": dict(zip("AB", times, strict=True))} | {"later": times[0] > times[1]}
    if leak == "order":
        places = {"A": 4 + flipped, "B": 5 - flipped}
        return got | {"order": places}
    if leak == "loudness":
        told = {k: dict(v) if isinstance(v, dict) else v for k, v in got["told"].items()}
        told["B" if flipped else "A"]["level"] -= 1.0
        return got | {"told": told}
    if leak == "timing":
        return got | {"seconds": got["seconds"] + 0.05 * flipped}
    assert leak == "metadata"
    told = {k: dict(v) if isinstance(v, dict) else v for k, v in got["told"].items()}
    for side, name in zip("AB", names, strict=True):
        told[side]["header"] = told[side]["header"] + b"LIST INFO " + name.encode()
    return got | {"told": told}


@pytest.mark.parametrize("leak", ["file name", "mtime", "order", "loudness", "timing", "metadata"])
def test_a_planted_leak_is_found(trials, leak):
    seen, flipped = trials
    rng = np.random.default_rng(0)
    planted = [plant(leak, got, f, rng) for got, f in zip(seen, flipped, strict=True)]
    accuracy, _, p = tell_apart(planted, flipped)
    assert p < 1e-6, f"{leak}: only {accuracy:.0%} found"


def test_the_page_itself_names_no_side(client):
    components = get(f"{client.url}/config")["components"]
    (part,) = (c for c in components if c["id"] == client.component)
    assert not part["props"].get("battle")
    listed = get(f"{client.url}/gradio_api/info")["named_endpoints"]
    assert not {"/write_pair", "/votes"} & set(listed)


def ballot(pair, **changes):
    heard = {side: [[0.0, pair["duration_s"]]] for side in "AB"}
    return {"ticket": pair["ticket"], "preference": "A", "heard": heard} | changes


@pytest.mark.fault("V4", "handlers called out of turn")
def test_attackers_are_refused_readably(test, client):
    listener, before = client.listener(), len(test.database.votes())
    pair = client.ask("next_pair", {"listener": listener})[1]
    refused = {
        "reveal": {"ticket": pair["ticket"]},
        "undo": {"ticket": pair["ticket"]},
        "vote": ballot(pair),  # nothing was heard yet: the clock says so
        "next_pair": {"listener": listener + "x"},
        "show_pair": {"listener": listener, "battle": test.database.battles("gallery")[0].id},
    }
    for name, data in refused.items():
        answer = client.ask(name, data)[1]
        assert set(answer) == {"error"} and answer["error"].endswith("."), (name, answer)
    for data in (None, [], "x", 3, {"ticket": None}, {"ticket": {"$ne": 1}}):
        assert set(client.ask("vote", data)[1]) == {"error"}
    assert len(test.database.votes()) == before


@pytest.mark.fault("V2", "a vote that is sent three times")
def test_a_vote_over_http_is_kept_once_however_often_it_is_sent(test, client):
    listener, before = client.listener(), len(test.database.votes())
    pair = client.ask("next_pair", {"listener": listener})[1]
    time.sleep(2 * SECONDS)  # as long as hearing both takes
    for _ in range(3):
        assert client.ask("vote", ballot(pair))[1] == {"undo_s": 10.0}
    changed = client.ask("vote", ballot(pair, preference="B"))[1]
    assert "already" in changed["error"]
    for early in ({}, {"final": 1}, {"final": "yes"}):
        refused = client.ask("reveal", {"ticket": pair["ticket"]} | early)[1]
        assert "can be undone" in refused["error"] and "simba" not in str(refused)
    assert len(test.database.votes()) == before + 1
    again = client.ask("next_pair", {"listener": listener})[1]
    assert again["prompt"] != pair["prompt"]


TELLING = re.compile("simba|transformer|clap|left|right|score|checkpoint|sha256|seconds|created")


def test_no_answer_tells_of_the_sides_before_the_vote_is_final(test, client):
    listener, told = client.listener(), []

    def ask(name, data):
        answer = client.ask(name, data)[1]
        told.append(json.dumps({k: v for k, v in answer.items() if k not in ("A", "B", "ticket")}))
        return answer

    pair = ask("next_pair", {"listener": listener})
    ask("left_open", {"listener": listener})
    ticket = {"ticket": pair["ticket"]}
    time.sleep(2 * SECONDS)
    ask("vote", ballot(pair))
    ask("hello", {"listener": listener})
    ask("reveal", ticket)
    assert ask("undo", ticket) == {"undone": True}
    ask("reveal", ticket | {"final": True})
    ask("vote", ballot(pair, preference="B"))
    assert not TELLING.findall("".join(told))
    shown = client.ask("reveal", ticket | {"final": True})[1]
    assert {shown[side]["checkpoint"] for side in "AB"} == {"simba", "transformer"}
    assert shown["preference"] == "B" and sum(shown["own"].values()) == 1
    assert "share" not in shown["crowd"]
    assert "stands" in ask("undo", ticket)["error"]


@pytest.mark.fault("V6", "a reload over HTTP")
def test_a_reload_shows_the_same_trial_again(test, client):
    listener = client.listener()
    name = test.listener_id_of(listener)
    battle = test.database.battles("gallery")[3]
    offer = {"listener": listener, "battle": test.offer(battle)}
    first, second = (client.ask("show_pair", offer)[1] for _ in range(2))
    assert first["A"] == second["A"] and len(test.database.trials_of(name)) == 1


def test_only_a_visitor_at_the_machine_itself_is_local(test, client):
    near = client.ask("hello", {"listener": None})[1]["listener"]
    far = client.ask("hello", {"listener": None}, {"X-Forwarded-For": "203.0.113.9"})[1]["listener"]
    assert test.database.find_listener(test.listener_id_of(near)).local
    assert not test.database.find_listener(test.listener_id_of(far)).local
