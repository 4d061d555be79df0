"""Training records: what made a checkpoint (data, steps, hardware, seed, git commit)."""

import json
import platform
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from simba_music.files import sha256
from simba_music.hub.places import WEIGHTS


def git_commit() -> str:
    """The commit of the working tree, with `+` where it has changes; "unknown" outside git."""
    here = Path(__file__).parent
    try:
        run = [["git", "rev-parse", "--short=12", "HEAD"], ["git", "status", "--porcelain", "-uno"]]
        commit, changes = (
            subprocess.run(c, cwd=here, capture_output=True, text=True, check=True).stdout.strip()
            for c in run
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("+" if changes else "")


def core_facts() -> dict[str, str]:
    """What /proc/cpuinfo says of the first core; nothing where there is none."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().split("\n\n")[0].splitlines() if info.exists() else []
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}


def processor() -> str:
    """Name of the processor, as far as the system knows it."""
    return core_facts().get("model name") or platform.processor() or platform.machine()


def machine(device: str = "cpu") -> str:
    """The machine in words: processor, threads, accelerator."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name()
    return f"{processor()}, {torch.get_num_threads()} threads"


def describe_corpus(corpus: Path) -> dict[str, Any]:
    """Name, first seed, pieces and hours of a corpus by split, from its manifest."""
    hours, licences = dict[str, float](), Counter[str]()
    count, first = 0, None
    with (corpus / "manifest.jsonl").open() as lines:  # of millions of pieces, one at a time
        for row in map(json.loads, lines):
            first = row.get("seed") if count == 0 else first
            count += 1
            hours[row["split"]] = hours.get(row["split"], 0.0) + row["duration_s"] / 3600
            if "licence" in row:
                licences[row["licence"]] += 1
    return {
        "name": corpus.name,
        "first_seed": first,
        "pieces": count,
        "hours": {split: round(value, 2) for split, value in hours.items()},
        **({"licences": dict(licences)} if licences else {}),
    }


def lineage(record: dict[str, Any]) -> list[dict[str, Any]]:
    """A training's record and those of the trainings that led to its start, the latest first."""
    found, at = list[dict[str, Any]](), record
    while at:
        found.append(at)
        at = at.get("started_from") or {}
    return found


def began_with(record: dict[str, Any], start: dict[str, Any]) -> bool:
    """Whether a training led to a record's start; older records have no digest of the weights."""
    known = [one | {"sha256": None} for one in lineage(record)[1:]]
    return start | {"sha256": None} in known


def write_training_record(
    out: Path,
    *,
    stage: str,
    steps: int,
    seconds: float,
    device: str,
    corpora: Sequence[Path | dict[str, Any]],
    preset: dict[str, Any],
    **more: Any,
) -> None:
    """Write `training.json` beside the weights; `corpora` are folders, or described already."""
    record = {
        "stage": stage,
        "steps": steps,
        "minutes": round(seconds / 60, 1),
        "hardware": machine(device),
        "torch": torch.__version__,
        "commit": git_commit(),
        "corpora": [c if isinstance(c, dict) else describe_corpus(c) for c in corpora],
        "preset": preset,
        **more,
    }
    if (out / WEIGHTS).is_file():
        record["sha256"] = sha256(out / WEIGHTS)
    (out / "training.json").write_text(json.dumps(record, indent=2) + "\n")
