"""Visits of a soak: what one visitor of the page does over HTTP, and how each visit ended."""

import json
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

ASK_S = 180.0  # longest wait for an answer, in s
HEARD_S = 5.0  # of each clip before a vote counts, as `listening.votes.ballot` has it
PROMPTS = (
    "calm solo piano, slow, sad",
    "energetic rock with distorted guitar, fast",
    "jazz with saxophone and double bass, 120 bpm",
    "chiptune lead, joyful 🎮",
)
WRONG: tuple[dict[str, Any], ...] = (
    {"prompt": ""},
    {"prompt": "\u200b"},
    {"prompt": {"a": 1}},
    {"duration_s": 2.3},
    {"duration_s": "x"},
    {"seed": -1},
    {"temperature": 1e9},
)


@dataclass(frozen=True)
class Visit:
    """One visit: kind, seconds, outcome (`done`, `refused`, `error`) and what was said."""

    kind: str
    seconds: float
    outcome: str
    said: str = ""


@dataclass
class Page:
    """What a page offers: its address, parameters of `generate` by name, the blind test's id."""

    url: str
    parameters: dict[str, Any]
    blind: int

    @classmethod
    def of(cls, url: str) -> "Page":
        """Read from a page that is served.

        Raises:
            KeyError: If it has no such endpoint.
        """
        info = _get(f"{url}/gradio_api/info")["named_endpoints"]["/generate"]["parameters"]
        parts = _get(f"{url}/config")["components"]
        blind = next(p["id"] for p in parts if p["props"].get("elem_id") == "blind")
        given = {p["parameter_name"]: p.get("parameter_default") for p in info}
        return cls(url, given, blind)


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=ASK_S) as answer:
        return json.loads(answer.read())


def _post(url: str, body: dict[str, Any]) -> Any:
    asked = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=ASK_S) as answer:
        return json.loads(answer.read())


class Visitor:
    """Does one thing after another until it is stopped; the same by the same seed."""

    def __init__(self, page: Page, seed: int, keep: Callable[[Visit], None]):
        self.page, self.rng, self.keep = page, random.Random(seed), keep
        self.listener: str | None = None
        self.kinds: dict[str, tuple[float, Callable[[], str]]] = {
            "generate": (0.5, self.generate),
            "cancel": (0.15, self.cancel),
            "vote": (0.15, self.vote),
            "reload": (0.1, self.reload),
            "wrong": (0.1, self.wrong),
        }

    def run(self, stop: threading.Event) -> None:
        """Visit until `stop`."""
        names, weights = list(self.kinds), [weight for weight, _ in self.kinds.values()]
        while not stop.is_set():
            (name,) = self.rng.choices(names, weights)
            self.keep(self.visit(name))

    def visit(self, name: str) -> Visit:
        """One visit of a kind."""
        started = time.monotonic()
        try:
            said = self.kinds[name][1]()
            outcome = "refused" if said else "done"
        except urllib.error.HTTPError as error:
            said = f"HTTP {error.code}"
            outcome = "refused" if error.code in (413, 429, 503) else "error"
            error.close()
        except Exception as error:
            said, outcome = f"{type(error).__name__}: {error}", "error"
        return Visit(name, time.monotonic() - started, outcome, said)

    def _ask(self, **changes: Any) -> str:
        """The id of a call of `generate`."""
        own = {
            "prompt": self.rng.choice(PROMPTS),
            "duration_s": 2.0,
        }
        known = self.page.parameters
        given = known | own | changes
        if given.keys() != known.keys():
            raise KeyError(f"generate takes no {', '.join(given.keys() - known.keys())}")
        data = list(given.values())
        return str(_post(f"{self.page.url}/gradio_api/call/generate", {"data": data})["event_id"])

    def _events(self, event: str) -> Iterator[tuple[str, Any]]:
        """(kind, data) of everything that a call sends."""
        url = f"{self.page.url}/gradio_api/call/generate/{event}"
        with urllib.request.urlopen(url, timeout=ASK_S) as stream:
            kind = ""
            for raw in stream:
                line = raw.decode().rstrip("\n")
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    yield kind, json.loads(line.removeprefix("data: "))

    def _outcome(self, event: str) -> str:
        """What a call refuses, "" if it is done.

        Raises:
            RuntimeError: If it ends without a word, or in another way.
        """
        kind, data = "", None
        for event_kind, event_data in self._events(event):
            kind, data = event_kind, event_data
            if kind in ("complete", "error"):
                break
        if kind == "complete":
            return ""
        said = data.get("error") if isinstance(data, dict) else data
        if kind == "error" and said:
            return str(said)
        raise RuntimeError(f"a call ended with {kind or 'nothing'}: {data!r}")

    def generate(self) -> str:
        """A clip of both models, whole."""
        return self._outcome(self._ask())

    def cancel(self) -> str:
        """A clip that is left after a few events."""
        left = self.rng.randint(1, 4)
        for kind, data in self._events(self._ask(duration_s=10.0)):
            left -= 1
            if kind == "error":
                return str(data.get("error") if isinstance(data, dict) else data)
            if left <= 0:
                break
        return ""

    def wrong(self) -> str:
        """A request that must be refused with a sentence.

        Raises:
            RuntimeError: If it is not.
        """
        change = self.rng.choice(WRONG)
        try:
            said = self._outcome(self._ask(**change))
        except urllib.error.HTTPError as error:
            said = f"HTTP {error.code}" if error.code < 500 else ""
            error.close()
        if not said:
            raise RuntimeError(f"{change} was not refused")
        return ""

    def reload(self) -> str:
        """The page and its settings, anew."""
        with urllib.request.urlopen(self.page.url, timeout=ASK_S) as answer:
            answer.read()
        _get(f"{self.page.url}/config")
        return ""

    def _question(self, name: str, data: dict[str, Any]) -> dict[str, Any]:
        body = {
            "data": data,
            "component_id": self.page.blind,
            "fn_name": name,
            "session_hash": f"{self.rng.random()}",
        }
        found = _post(f"{self.page.url}/gradio_api/component_server", body)
        return found if isinstance(found, dict) else {"error": f"answered {found!r}"}

    def vote(self) -> str:
        """A pair, heard for as long as must be, and a vote, sent twice."""
        hello = self._question("hello", {"listener": self.listener})
        if "error" in hello:
            return str(hello["error"])
        self.listener = str(hello["listener"])
        pair = self._question("next_pair", {"listener": self.listener})
        if "error" in pair:
            self.listener = None  # every pair was voted on: somebody else comes
            return str(pair["error"])
        time.sleep(2 * HEARD_S)
        stretch = [[0.0, min(HEARD_S, float(pair["duration_s"]))]]
        ballot = {
            "ticket": pair["ticket"],
            "preference": self.rng.choice(["A", "B", "TIE", "BOTH_BAD"]),
            "heard": {"A": stretch, "B": stretch},
        }
        answers = [self._question("vote", ballot) for _ in range(2)]
        errors = [str(answer["error"]) for answer in answers if "error" in answer]
        return errors[0] if errors else ""
