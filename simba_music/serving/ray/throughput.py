"""Throughput: clips a minute of two replicas, each pinned to a core, beside those of one."""

import hashlib
import itertools
import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from simba_music.conditioning.request import Request
from simba_music.errors import UserError
from simba_music.files import sha256, write_json
from simba_music.generation.clip import Clip
from simba_music.generation.engines.choice import EngineChoice
from simba_music.generation.service import GenerationService
from simba_music.generation.streaming.threads import cores
from simba_music.hub.places import WEIGHTS, locate
from simba_music.serving.ray.cluster import joined, put_models, remove_models
from simba_music.serving.ray.page import described
from simba_music.serving.ray.plan import Plan, stepped_together
from simba_music.serving.ray.service import Replicas
from simba_music.settings import settings

PROMPT = "calm solo piano, slow, sad"
REPLICAS = (1, 2)


@dataclass(frozen=True)
class Row:
    """So many replicas: their clips, of both models together, and how long all of them took."""

    replicas: int
    clips: int
    wall_s: float
    clips_per_minute: float
    longest_s: float  # of one run, waiting included
    cores: list[int]  # that the replicas are pinned to
    codes_sha256: str  # of the codes of every run, in the order of their seeds


class _Clients:
    """So many clients at once; each asks for the next run as soon as it has one."""

    def __init__(self, service: GenerationService, total: int, duration_s: float):
        self.service, self.total, self.duration_s = service, total, duration_s
        self.codes: dict[tuple[int, str], bytes] = {}
        self.took, self.errors = list[float](), list[Exception]()
        self._seeds = itertools.count()  # whose `next` is one step of the interpreter

    def _run(self) -> None:
        while (seed := next(self._seeds)) < self.total and not self.errors:
            began = time.monotonic()
            try:
                for event in self.service.generate(Request(PROMPT, self.duration_s, seed)):
                    if isinstance(event, Clip):
                        self.codes[seed, event.side] = event.codes.numpy().tobytes()
            except Exception as error:
                self.errors.append(error)
            self.took.append(time.monotonic() - began)

    def all(self, clients: int) -> float:
        """Have all runs made; how long it took, in s.

        Raises:
            Exception: What the first of them failed with.
        """
        began = time.monotonic()
        threads = [threading.Thread(target=self._run) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.errors:
            raise self.errors[0]
        return time.monotonic() - began


def _row(plan: Plan, clients: int, total: int, duration_s: float) -> Row:
    handle, chosen = put_models(plan), described(plan.left, plan.right, plan.choice)
    service = Replicas(handle, plan.choice.name).of(chosen)
    _Clients(service, 2 * plan.least, 2.0).all(2 * plan.least)  # every replica has run once
    made = _Clients(service, total, duration_s)
    wall_s = made.all(clients)
    digest = hashlib.sha256(b"".join(made.codes[key] for key in sorted(made.codes))).hexdigest()
    count = len(made.codes)
    minute = round(60 * count / wall_s, 2)
    longest_s = round(max(made.took), 2)
    states = handle.broadcast("state").results(timeout_s=60)
    pinned = sorted(core for process, _ in states for core in os.sched_getaffinity(process))
    remove_models()
    return Row(plan.least, count, round(wall_s, 2), minute, longest_s, pinned, digest)


def measure(
    clients: int, runs: int, duration_s: float, out: Path, machine: str, say: Callable[[str], None]
) -> dict[str, Any]:
    """Measure one replica and then two, each pinned to a core, with the same slots and seeds.

    The processes of Ray and the clients are not pinned: they use what the replicas leave. Clips are
    not scored, as the scorer would be one more process on the same cores.

    Args:
        clients: that ask at once.
        runs: of both models, of each client.
        duration_s: of a clip, in s.
        out: file that the record is written to.
        machine: in words, for the record.
        say: gets a line now and then.

    Raises:
        UserError: If there are fewer cores than replicas.
    """
    if len(cores()) < max(REPLICAS):
        raise UserError(f"This needs {max(REPLICAS)} cores, and this process may use one.")
    found, said = settings(), list[Row]()
    choice = stepped_together(EngineChoice.of_settings())
    with joined(cores=max(REPLICAS)):
        for count in REPLICAS:
            plan = Plan(
                found.left, found.right, None, "cpu", 1, choice,
                least=count, most=count, pinned=True, waiting=max(clients, 20),
            )  # fmt: skip
            said.append(_row(plan, clients, clients * runs, duration_s))
            say(f"{count}: {said[-1].clips_per_minute:g} clips a minute")
    one, two = said
    record = {
        "machine": machine,
        "weights": {n: sha256(locate(n).folder / WEIGHTS) for n in (found.left, found.right)},
        "clients": clients,
        "runs_of_a_client": runs,
        "duration_s": duration_s,
        "slots": plan.runs,
        "engine": choice.name,
        "rows": [asdict(row) for row in said],
        "times": round(two.clips_per_minute / one.clips_per_minute, 3),
        "same_tokens": one.codes_sha256 == two.codes_sha256,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, record)
    return record


def table(record: dict[str, Any]) -> str:
    """A record as Markdown."""
    lines = [
        "| replicas | clips | seconds | clips a minute | longest run, s |",
        "|---|---|---|---|---|",
    ]
    for row in record["rows"]:
        shown = (row["replicas"], row["clips"], row["wall_s"], row["clips_per_minute"])
        lines.append(f"| {' | '.join(map(str, (*shown, row['longest_s'])))} |")
    same = "the same tokens" if record["same_tokens"] else "OTHER TOKENS"
    return "\n".join([*lines, "", f"{record['times']:g} times as many, {same} for the same seeds."])
