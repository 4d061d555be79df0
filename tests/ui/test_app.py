"""The app as a program sees it over HTTP: what is listed; and that a session stops itself."""

import json
import re
import urllib.request

import pytest
from conftest import serving

from simba_music.generation.stops import Stops
from simba_music.ui.api import NAMES


@pytest.fixture(scope="module")
def url(system):
    """The app in a process of its own, as `make app` starts it."""
    sides = ["--left", system / "simba", "--right", system / "transformer"]
    with serving(*sides, "--scorer", system / "clap", "--device", "cpu") as found:
        yield found


def fetched(url):
    with urllib.request.urlopen(url, timeout=60) as reply:
        return reply.read().decode()


def test_nothing_but_the_api_is_listed(url):
    named = json.loads(fetched(f"{url}/gradio_api/info"))["named_endpoints"]
    assert set(named) == {f"/{name}" for name in NAMES}


def test_the_page_fetches_nothing_from_elsewhere_and_its_own_part_is_small(url):
    config = json.loads(fetched(f"{url}/config"))
    own = config["css"] + json.dumps(config["components"])
    figures = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=]+")  # of the report, on another tab
    assert len(figures.sub("", own).encode()) < 500_000 and len(own.encode()) < 2_500_000
    (create,) = [c for c in config["components"] if c["props"].get("elem_id") == "create"]
    assert len(json.dumps(create).encode()) < 150_000
    assert "http" not in create["props"]["html_template"]


@pytest.mark.fault("G2", "a stop ends its own session alone")
def test_one_session_stops_only_itself():
    stops = Stops()
    stops.request("a")
    assert stops.wanted("a") and not stops.wanted("b")
    stops.clear("a")
    assert not stops.wanted("a")
