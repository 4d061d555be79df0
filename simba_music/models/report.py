"""Results: tables of REPORT.json as Markdown, what they were made of, and what they do not show."""

from collections.abc import Sequence
from pathlib import Path
from typing import NotRequired, TypedDict

from simba_music.files import read_json
from simba_music.hub.places import BUNDLED

REPORT = BUNDLED / "REPORT.json"
FIGURES = {  # file in docs/: what it shows
    "convergence.png": "Held-out loss of both models against training step",
    "experiment.png": "Held-out loss of every architecture against steps, FLOPs and, apart, time",
    "experiment-clips.png": "What the clips of every architecture are like, at three steps",
    "spectrograms.png": "Real pieces, codec round trips, and both models on the same captions",
}
HEADINGS = {
    "clips": (
        "Does the clip fit its prompt?",
        "Captions of held-out pieces, a clip each; the scorer ranks the right caption among 20. "
        "Chance is 25 %.",
    ),
    "scorer": (
        "The scorer",
        "Pieces of the frozen benchmark with distinct facts. It ranks the right caption among 100, "
        "and chooses between two captions of which one has one fact wrong (chance is 50 %).",
    ),
    "health": (
        "Are the clips healthy, and how far from the real pieces?",
        "The same clips beside the real pieces. Degenerate: a silence of more than 3 s, or one "
        "token repeated 1.5 times as long as in 99 % of the real pieces. Nearly empty: at least "
        "half of it 40 dB below the whole. Pulse clarity: best autocorrelation of onset strength "
        "at 40 to 240 bpm. Key clarity: best correlation of the chroma with a key profile. "
        "Repetition: chroma similarity at the best lag of 1 to 4 s less the mean over these lags.",
    ),
    "prompts": (
        "Do the clips have what their prompts ask for?",
        "200 prompts made from facts of held-out pieces, a third in words that no training caption "
        "has, a clip of 10 s each. Tempo: right, double or half within 8 %. All else: how often a "
        "clip shows more of what was asked than clips that were asked for none of it, or for the "
        "opposite (an area under the ROC curve; chance is 0.5).",
    ),
    "takes": (
        "What several takes add",
        "Four takes of 60 prompts of the table before; the scorer keeps the one that fits best. "
        "Alignment is its own; instruments are judged by a tagger that did not choose.",
    ),
    "convergence": (
        "The paper's experiment",
        "Small models, the same batches, optimiser and steps. Intervals are over training seeds.",
    ),
    "codec": (
        "The codec",
        "Renderings of the frozen benchmark, which it was not trained on. It bounds everything "
        "that is played here.",
    ),
    "codec-real": (
        "The codec on real recordings",
        "Music that it was not trained on, free licences.",
    ),
    "speed": ("Speed", "One prompt at a time, guidance on, codec included."),
}
SUMMARY_ROWS = (  # what is said first: table of the report, its metric, what it is called
    ("prompts", "instruments", "instruments as asked (AUC)"),
    ("prompts", "drums", "drums as asked (AUC)"),
    ("prompts", "mode", "mode as asked, such as minor (AUC)"),
    ("prompts", "tempo", "tempo, half or double within 8 % (share)"),
    ("prompts", "alignment (cosine)", "alignment with the prompt (cosine)"),
    ("health", "KAD (our tagger's space)", "KAD to real pieces (lower is nearer)"),
)
SYSTEMS = ("simba", "transformer", "codec round trip of the real piece", "real piece")
LIMITS = """
**What these numbers do not show.** The scorer, the instrument classifier and the space of the FAD
were all trained on music that this project composes and renders, by the same hands as the models:
they say how well a clip fits *that* music, and cannot be compared with LAION CLAP or with figures
of other projects. No figure here says whether anyone likes a clip. Intervals cover the choice of
pieces, not of training seeds, as each model was trained once; only the paper's experiment has
several seeds, and its intervals cover them.
"""


class ReportRow(TypedDict):
    """A figure of a table: a measure of a model over n pieces, with its 95 % interval."""

    metric: str
    model: str
    value: float
    lo: float
    hi: float
    n: int


class ReportTable(TypedDict):
    """A table of REPORT.json, and on what machine, from which commit and weights it was made."""

    id: str
    machine: str
    commit: str
    checkpoints: dict[str, str]
    missing: dict[str, str]
    notes: NotRequired[list[str]]
    rows: list[ReportRow]


def _cell(row: ReportRow | None) -> str:
    if row is None:
        return ""
    spread = "" if row["lo"] == row["hi"] else f" ({row['lo']:.4g} to {row['hi']:.4g})"
    return f"{row['value']:.4g}{spread}"


def table(rows: list[ReportRow]) -> str:
    """A Markdown table of report rows: a line a metric, a column a model, 95 % intervals."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    cells = {(row["metric"], row["model"]): row for row in rows}
    lines = [f"| measure | {' | '.join(models)} | n |", "|---" * (len(models) + 2) + "|"]
    for metric in dict.fromkeys(row["metric"] for row in rows):
        found = [cells.get((metric, model)) for model in models]
        counts = dict.fromkeys(str(row["n"]) for row in found if row)
        line = " | ".join(_cell(row) for row in found)
        lines.append(f"| {metric} | {line} | {', '.join(counts)} |")
    return "\n".join(lines)


def notes(made: ReportTable) -> str:
    """What a table's figures say in words, as a list; "" if there is nothing."""
    return "\n".join(f"- {note}" for note in made.get("notes", []))


def source_line(made: ReportTable) -> str:
    """On what machine, from which commit and with which weights a table was made."""
    source = f"Machine: {made['machine']}. Commit {made['commit']}. Weights: "
    source += ", ".join(f"{k} {v[:8]}" for k, v in made["checkpoints"].items()) + "."
    return source + "".join(f" {k}: {v}." for k, v in made.get("missing", {}).items())


def report_tables(report: Path = REPORT) -> list[tuple[str, str, ReportTable]]:
    """(heading, explanation, table) of every table that there is, the listener's questions first.

    Nothing where there is no report, as with checkpoints that were never measured.
    """
    if not report.exists():
        return []
    tables = {t["id"]: t for t in read_json(report)["tables"]}
    known = [name for name in HEADINGS if name in tables]
    others = [name for name in tables if name not in HEADINGS]
    return [(*HEADINGS.get(name, (name, "")), tables[name]) for name in (*known, *others)]


def summary_rows(tables: Sequence[ReportTable]) -> list[ReportRow]:
    """`SUMMARY_ROWS` of both models and, where they were measured, of the real pieces."""
    found = {made["id"]: made["rows"] for made in tables}
    return [
        {**row, "metric": name}
        for table_id, metric, name in SUMMARY_ROWS
        for system in SYSTEMS
        for row in found.get(table_id, ())
        if (row["metric"], row["model"]) == (metric, system)
    ]


def ahead(tables: Sequence[ReportTable]) -> dict[str, list[str]]:
    """In which of `SUMMARY_ROWS` each model is ahead: their 95 % intervals do not overlap.

    Returns:
        A model's name -> the measures; under "" those in which the intervals overlap.
    """
    models = SYSTEMS[:2]
    found: dict[str, list[str]] = {name: [] for name in (*models, "")}
    rows = {(row["metric"], row["model"]): row for row in summary_rows(tables)}
    for _, metric, name in SUMMARY_ROWS:
        both = [rows[name, model] for model in models if (name, model) in rows]
        if len(both) < len(models):
            continue
        low, high = sorted(both, key=lambda row: row["value"])
        best = low if metric.startswith("KAD") else high
        found[best["model"] if low["hi"] < high["lo"] else ""].append(name)
    return found


def stale(made: ReportTable, loaded: dict[str, str]) -> list[str]:
    """Names of loaded checkpoints (name -> sha256) that are not the ones a table measured."""
    measured = {row["model"] for row in made["rows"]}
    return [
        name
        for name, digest in loaded.items()
        if name in measured and made["checkpoints"].get(name) != digest
    ]


def unmeasured(loaded: dict[str, str], report: Path = REPORT) -> list[str]:
    """Names of loaded checkpoints that no table speaks of."""
    spoken = {row["model"] for _, _, made in report_tables(report) for row in made["rows"]}
    return [name for name in loaded if name not in spoken]
