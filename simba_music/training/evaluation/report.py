"""Report: REPORT.json's tables, written a subcommand at a time, and metrics.json beside weights."""

import json
from pathlib import Path
from typing import Any

from simba_music.files import read_json, write_json
from simba_music.hub.places import WEIGHTS
from simba_music.models.checkpoint import read_config
from simba_music.training.benchmark.memory_floor import MB, clip_state_bytes
from simba_music.training.evaluation.measures import Row, row_of, share_row
from simba_music.training.record import git_commit, machine


def update_report(
    report: Path,
    tables: dict[str, list[Row]],
    weights: dict[str, str],
    missing: dict[str, str] | None = None,
    remarks: list[str] | None = None,
) -> None:
    """Replace some tables of the report and the `metrics.json` beside the weights it names.

    Each table says by itself on what machine, from which commit and with which `weights` (name ->
    sha256) it was made; `missing` says which systems are not in it, and why; `remarks` say it in
    words.
    """
    kept = {t["id"]: t for t in read_json(report)["tables"]} if report.exists() else {}
    source = {
        "machine": machine(),
        "commit": git_commit(),
        "checkpoints": dict(sorted(weights.items())),
        "missing": missing or {},
        **({"notes": remarks} if remarks else {}),
    }
    fresh = {name: {"id": name, **source, "rows": rows} for name, rows in tables.items()}
    report.parent.mkdir(parents=True, exist_ok=True)
    write_json(report, {"schema": 2, "tables": list((kept | fresh).values())})
    write_metrics(report)


def write_metrics(report: Path) -> None:
    """Copy each model's rows into `metrics.json` beside its weights."""
    rows = [
        {"table": table["id"], **row}
        for table in read_json(report)["tables"]
        for row in table["rows"]
    ]
    for folder in (p.parent for p in report.parent.glob(f"*/{WEIGHTS}")):
        own = [row for row in rows if row["model"] == folder.name]
        history = folder / "history.jsonl"
        record = folder / "training.json"
        training = read_json(record) if record.exists() else {}
        if (
            history.exists()
            and training
            and "valid" in (last := json.loads(history.read_text().splitlines()[-1]))
        ):
            own += _loss_rows(folder.name, last, training["held_out_crops"])
            own += _state_rows(folder)
        if "held_out_recall_at_5_of_100" in training:
            recall = round(100 * training["held_out_recall_at_5_of_100"])
            own.append(share_row("right caption in the top 5 of 100", folder.name, recall, 100))
        if "held_out_macro_auc" in training:
            auc, count = training["held_out_macro_auc"], training["held_out_windows"]
            own.append(row_of("instrument AUC (macro)", folder.name, auc, auc, auc, count))
        write_json(folder / "metrics.json", {"rows": own})


def _loss_rows(model: str, last: dict[str, Any], count: int) -> list[Row]:
    """Held-out loss of a language model and, if it has several books, of each."""
    named = {"held-out loss (nats a token)": last["valid"]}
    for book, loss in enumerate(last.get("valid_books", ()), 1):
        named[f"held-out loss, book {book} (nats a token)"] = loss
    return [row_of(name, model, loss, loss, loss, count) for name, loss in named.items()]


def _state_rows(folder: Path) -> list[Row]:
    """What a language model holds at the end of clips, guidance on, in float32."""
    config, _ = read_config(folder)
    found = list[Row]()
    for seconds in (10.0, config.max_trained_s):
        held = clip_state_bytes(config, seconds) / MB
        found.append(row_of(f"state after {seconds:g} s (MB)", folder.name, held, held, held, 1))
    return found
