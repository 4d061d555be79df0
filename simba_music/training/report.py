"""Report: README's tables and figures from REPORT.json and the training histories."""

import json
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np

from simba_music.audio import Waveform
from simba_music.checkpoint import WEIGHTS
from simba_music.errors import RequestError
from simba_music.files import read_json, write_atomic, write_json
from simba_music.results import notes, source_line, table
from simba_music.training.measures import Row, row_of, share_row
from simba_music.training.record import git_commit, machine

BEGIN, END = "<!-- report:{} -->", "<!-- /report -->"
SEARCH_BEGIN, SEARCH_END = "<!-- search -->", "<!-- /search -->"
CORPUS_BEGIN, CORPUS_END = "<!-- corpus -->", "<!-- /corpus -->"
CHECKS = (
    (
        "tempo, its double or half within 4 % by librosa (pieces with drums)",
        "tempo_right_or_double_or_half",
    ),
    ("key right or relative by Krumhansl's profiles on the notes", "key_right_or_relative"),
    ("tonic and third right by the same", "tonic_and_third_right"),
    ("named instruments whose stem is within 20 dB of the mix", "named_instruments_within_20_db"),
)


def fill(text: str, report: dict[str, Any]) -> str:
    """`text` with every marked table replaced by the report's.

    Raises:
        RequestError: If a marker names a table that the report lacks, or is never closed.
    """
    tables = {t["id"]: t for t in report["tables"]}
    parts = text.split("<!-- report:")
    out = [parts[0]]
    for part in parts[1:]:
        name, _, rest = part.partition(" -->")
        _, closed, after = rest.partition(END)
        if name not in tables or not closed:
            raise RequestError(
                f"README asks for table {name!r}; the report has {sorted(tables)}, and every "
                f"marker needs a closing {END}."
            )
        made = tables[name]
        texts = [table(made["rows"]), notes(made), source_line(made)]
        found = "\n\n".join(text for text in texts if text)
        out.append(f"{BEGIN.format(name)}\n{found}\n{END}{after}")
    return "".join(out)


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
        training = read_json(folder / "training.json")
        if history.exists() and "valid" in (
            last := json.loads(history.read_text().splitlines()[-1])
        ):
            name, loss = "held-out loss (nats a token)", last["valid"]
            own.append(row_of(name, folder.name, loss, loss, loss, training["held_out_crops"]))
        if "held_out_recall_at_5_of_100" in training:
            recall = round(100 * training["held_out_recall_at_5_of_100"])
            own.append(share_row("right caption in the top 5 of 100", folder.name, recall, 100))
        if "held_out_macro_auc" in training:
            auc, count = training["held_out_macro_auc"], training["held_out_windows"]
            own.append(row_of("instrument AUC (macro)", folder.name, auc, auc, auc, count))
        write_json(folder / "metrics.json", {"rows": own})


def corpus_text(check: dict[str, Any], words: dict[str, Any]) -> str:
    """What `corpus check` and `corpus words` found, as README says it."""
    lines = ["| what an independent ear finds | share | n |", "|---|---|---|"]
    for text, key in CHECKS:
        found = check[key]
        lines.append(f"| {text} | {100 * found['share']:.1f} % | {found['n']} |")
    corpus = check["corpus"]
    return (
        "\n".join(lines)
        + f"\n\n{check['checked']} pieces of {corpus['pieces']} ({corpus['hours']:g} h, first seed "
        f"{corpus['first_seed']}): {check['silent']} silent, {check['clipped']} clipped; in all, "
        f"{check['same_as_another']} the same as another. Machine: {check['machine']}.\n\n"
        f"The captions can say {words['covered']} of the {words['words']} most frequent content "
        f"words of `{words['prompts']}`."
    )


def fill_corpus(text: str, docs: Path) -> str:
    """`text` with its corpus figures as the reports in `docs` have them."""
    before, _, rest = text.partition(CORPUS_BEGIN)
    _, _, after = rest.partition(CORPUS_END)
    found = corpus_text(
        read_json(docs / "corpus-check.json"), read_json(docs / "prompt-words.json")
    )
    return f"{before}{CORPUS_BEGIN}\n{found}\n{CORPUS_END}{after}"


def fill_card(card: Path, report: dict[str, Any]) -> str:
    """A model card with the report's tables and, of a codec, the search's (`search.md`)."""
    before, marker, rest = fill(card.read_text(), report).partition(SEARCH_BEGIN)
    if not marker:
        return before
    _, _, after = rest.partition(SEARCH_END)
    found = (card.parent / "search.md").read_text().strip()
    return f"{before}{SEARCH_BEGIN}\n{found}\n{SEARCH_END}{after}"


def write_readme(report: Path, readme: Path) -> None:
    """Rewrite the tables of README and of the model cards; draw the convergence figure."""
    docs, found = readme.parent / "docs", read_json(report)
    text = fill_corpus(fill(readme.read_text(), found), docs)
    write_atomic(readme, text.encode())
    for card in report.parent.glob("*/README.md"):
        write_atomic(card, fill_card(card, found).encode())
    draw_convergence(report.parent, docs / "convergence.png")


def _draw_spectrogram(axes: Any, wave: Waveform) -> None:
    """A spectrogram of one channel on matplotlib axes, 0 to 8 kHz, 70 dB."""
    import librosa

    samples, rate = wave.samples[0].numpy(), wave.sample_rate
    level = np.abs(librosa.stft(samples, n_fft=1024)) / np.sqrt(np.mean(samples**2) + 1e-9)
    axes.imshow(
        librosa.amplitude_to_db(level, ref=np.max, top_db=70)[: 8000 * 1024 // rate],
        origin="lower",
        aspect="auto",
        extent=(0, len(samples) / rate, 0, 8),
    )


def draw_pairs(pairs: list[tuple[str, Waveform, Waveform]], path: Path) -> None:
    """A sheet of spectrograms, each original above what a codec makes of it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    across = (len(pairs) + 1) // 2
    figure, grid = pyplot.subplots(4, across, figsize=(3 * across, 7), dpi=80, squeeze=False)
    for i, (title, original, other) in enumerate(pairs):
        row, column = 2 * (i // across), i % across
        _draw_spectrogram(grid[row][column], original)
        _draw_spectrogram(grid[row + 1][column], other)
        grid[row][column].set_title(title, fontsize=9)
        if column == 0:
            grid[row][0].set_ylabel("original, kHz", fontsize=8)
            grid[row + 1][0].set_ylabel("codec, kHz", fontsize=8)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def draw_spectrograms(
    sources: dict[str, list[Waveform]], captions: list[str], path: Path, rows: int = 4
) -> None:
    """Spectrograms of the first `rows` captions, one column a system, 0 to 8 kHz, in dB."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, grid = pyplot.subplots(
        rows, len(sources), figsize=(3.2 * len(sources), 2 * rows), dpi=80, squeeze=False
    )
    for column, (name, waves) in enumerate(sources.items()):
        for row in range(rows):
            axes = grid[row][column]
            _draw_spectrogram(axes, waves[row])
            if row == 0:
                axes.set_title(name, fontsize=9)
            if column == 0:
                axes.set_ylabel("\n".join(wrap(captions[row], 32)), fontsize=6)
    path.parent.mkdir(exist_ok=True)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def draw_convergence(checkpoints: Path, path: Path) -> None:
    """Held-out loss of both language models against training step, from `history.jsonl`.

    A step that stands there twice is where a training went on from the weights of another, maybe
    on another corpus, held-out crops included: the line breaks there. A star is what `average`
    made of a training's two ends.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), dpi=110)
    for name in ("simba", "transformer"):
        history = (checkpoints / name / "history.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in history]
        trained = [[row["step"], row["valid"]] for row in rows if "averaged" not in row]
        steps, losses = np.array(trained).T
        (again,) = np.nonzero(np.diff(steps) == 0)
        (line,) = axes.plot(
            np.insert(steps, again + 1, np.nan),
            np.insert(losses, again + 1, np.nan),
            marker=".",
            label=name,
        )
        for row in rows:
            if "averaged" in row:
                axes.plot(row["step"], row["valid"], "*", color=line.get_color(), markersize=10)
    for step in steps[again]:
        axes.axvline(step, color="grey", linestyle=":")
        axes.text(step, axes.get_ylim()[1], "went on ", color="grey", va="top", rotation=90)
    axes.set(
        xlabel="training step",
        ylabel="held-out loss (nats a token)",
        title="Bundled pair, one seed, same batches in the same order",
    )
    axes.grid(alpha=0.3)
    axes.legend()
    path.parent.mkdir(exist_ok=True)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
