"""Study data: what a study's listeners did, as a summary and as a dataset with a card."""

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simba_music.files import write_atomic
from simba_music.files.inert import front_value, inert, one_line
from simba_music.listening.statistics import wilson
from simba_music.listening.study.file import StudyConfig
from simba_music.listening.study.session import CHECKS, Study
from simba_music.listening.tables import Listener, Vote
from simba_music.listening.tally import pool_tally, share_text, sides_at
from simba_music.listening.votes.ballot import DIMENSIONS, seconds

SCHEMA = {
    "vote": "random name of the vote",
    "listener": "random name of the listener",
    "given": "when, UTC",
    "place": "place in the listener's order, from 0",
    "kind": "normal, practice, repeat (of an earlier pair, sides swapped) or catch (A is B)",
    "prompt": "what both clips were made for",
    "seed": "of both clips",
    "A": "checkpoint at A, and the first digits of its sha256",
    "B": "checkpoint at B",
    "clip_A": "sha256 of the clip at A",
    "clip_B": "sha256 of the clip at B",
    "first": "which was to be played first",
    "preference": "A, B, TIE or BOTH_BAD",
    **{f"{d} {s}": f"rating of {s}, 1 to 5, or empty" for s in "AB" for d in DIMENSIONS},
    "remark": "in the listener's words; an apostrophe stands before what begins like a formula",
    "heard_A_s": "seconds of A that were heard, repeats counted once",
    "heard_B_s": "the same of B",
    "switches": "how often the listener switched",
    "seconds_to_vote": "since the pair was shown",
    "status": "counted, pending or excluded",
    "reasons": "why it does not count",
    "local": "given at the host's own machine",
}


def votes_of(study: Study) -> list[Vote]:
    """Every vote of a study, oldest first."""
    name = study.config.name
    return [v for v in study.test.database.votes() if v.trial.battle.study == name]


def _row(vote: Vote, local: set[str]) -> dict[str, Any]:
    trial, at = vote.trial, sides_at(vote)
    clips = trial.at(trial.battle)
    rated = {f"{d} {s}": vote.ratings.get(s, {}).get(d, "") for s in "AB" for d in DIMENSIONS}
    return {
        "vote": vote.id,
        "listener": vote.listener_id,
        "given": vote.created.isoformat(timespec="seconds"),
        "place": trial.place,
        "kind": trial.kind,
        "prompt": trial.battle.prompt,
        "seed": trial.battle.seed,
        **at,
        **{f"clip_{s}": clips[s]["audio_sha256"] for s in "AB"},
        "first": trial.first,
        "preference": vote.preference,
        **rated,
        "remark": vote.remark,
        **{f"heard_{s}_s": round(seconds(vote.heard[s]), 2) for s in "AB"},
        "switches": vote.switches,
        "seconds_to_vote": vote.seconds_to_vote,
        "status": vote.status,
        "reasons": "; ".join(vote.reasons),
        "local": vote.listener_id in local,
    }


def agreements(votes: Sequence[Vote]) -> tuple[int, int]:
    """(how many repeats were answered as the first time, how many there are).

    The same answer is the same clip, whichever letter it stood at; ties must be ties again.
    """
    firsts = {(v.listener_id, v.trial.battle_id): v for v in votes if v.trial.kind == "normal"}
    same = total = 0
    for vote in votes:
        first = firsts.get((vote.listener_id, vote.trial.battle_id))
        if vote.trial.kind != "repeat" or first is None:
            continue
        total += 1
        swapped = {"A": "B", "B": "A"}.get(vote.preference, vote.preference)
        same += first.preference == swapped
    return same, total


def _careful(votes: Sequence[Vote]) -> list[Vote]:
    """Votes of listeners who called at least half of their catch pairs alike."""
    alike = Counter(
        v.listener_id for v in votes if v.trial.kind == "catch" and v.preference == "TIE"
    )
    given = Counter(v.listener_id for v in votes if v.trial.kind == "catch")
    return [v for v in votes if 2 * alike[v.listener_id] >= given[v.listener_id]]


def checked(listeners: Sequence[Listener], name: str) -> str:
    """How many listeners a check ended in which way for, those who skipped it among them."""
    found = Counter((one.checks or {}).get(name, "not asked") for one in listeners)
    return ", ".join(f"{found[how]} {how}" for how in (*CHECKS[name], "not asked") if found[how])


def study_summary(study: Study) -> str:
    """What the votes say so far, as Markdown: everyone's, and those of careful listeners."""
    votes, listeners = votes_of(study), study.test.database.listeners(study.config.name)
    done = sum(study.progress(one.id)["code"] is not None for one in listeners)
    catches = [v for v in votes if v.trial.kind == "catch"]
    alike = sum(v.preference == "TIE" for v in catches)
    lines = [
        f"# {study.config.title}",
        "",
        "| | |",
        "|---|---|",
        f"| listeners who joined / finished | {len(listeners)} / {done} |",
        *(f"| {name} check | {checked(listeners, name)} |" for name in CHECKS),
        f"| catch pairs called alike | {share_text(wilson(alike, len(catches)))} |",
        f"| repeats answered as before | {share_text(wilson(*agreements(votes)))} |",
        "",
        "## All listeners",
        "",
        pool_tally(votes) if votes else "No votes yet.",
    ]
    careful = _careful(votes)
    if len(careful) < len(votes):
        lines += ["## Listeners who called at least half of their catch pairs alike", ""]
        lines += [pool_tally(careful)]
    return "\n".join(lines) + "\n"


def _csv(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: inert(value) for name, value in row.items()} for row in rows)
    return text.getvalue().encode()


def _listener(one: Listener, study: Study) -> dict[str, Any]:
    progress = study.progress(one.id)
    return {
        "listener": one.id,
        "joined": one.created.isoformat(timespec="seconds"),
        "done": progress["done"],
        "of": progress["of"],
        "code": progress["code"] or "",
        "checks": json.dumps(one.checks or {}, sort_keys=True),
        "local": one.local,
    }


def card(config: StudyConfig, votes: int, listeners: int) -> str:
    """README of the dataset: licence, schema and what was asked."""
    fields = "\n".join(f"| `{name}` | {text} |" for name, text in SCHEMA.items())
    return f"""---
license: {front_value(config.licence.lower())}
pretty_name: {front_value(config.title)}
tags: [music, listening-test]
configs:
- config_name: votes
  data_files: votes.csv
- config_name: listeners
  data_files: listeners.csv
---

# {one_line(config.title)}

{votes} votes of {listeners} listeners on pairs of clips, blind, side by side, from the study
`{config.name}` of SiMBA Music. `votes.csv` has a row a vote, `listeners.csv` a row a listener.
No addresses and no accounts are known; names are random.

Each listener gave {config.length} answers: 1 for practice, {config.trials} on pairs,
{config.repeats} repeats and {config.catches} pairs of a clip with itself.

## Consent

{config.consent.strip()}

## Columns of votes.csv

| column | meaning |
|---|---|
{fields}
"""


def export(study: Study, out: Path) -> None:
    """Write `votes.csv`, `listeners.csv` and the dataset's README into `out`."""
    votes, listeners = votes_of(study), study.test.database.listeners(study.config.name)
    local = study.test.database.local_listeners()
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / "votes.csv", _csv(list(SCHEMA), [_row(vote, local) for vote in votes]))
    rows = [_listener(one, study) for one in listeners]
    columns = ["listener", "joined", "done", "of", "code", "checks", "local"]
    write_atomic(out / "listeners.csv", _csv(columns, rows))
    text = card(study.config, len(votes), len(listeners))
    write_atomic(out / "README.md", text.encode())
