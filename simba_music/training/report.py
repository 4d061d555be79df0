"""Report: README's tables and figures from REPORT.json and the training histories."""

import json
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np

from simba_music.audio import Waveform
from simba_music.errors import RequestError
from simba_music.files import read_json, write_atomic

BEGIN, END = "<!-- report:{} -->", "<!-- /report -->"
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


def table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table of report rows; the interval is 95 %."""
    lines = ["| measure | of | value | 95 % interval | n |", "|---|---|---|---|---|"]
    for row in rows:
        spread = "" if row["lo"] == row["hi"] else f"{row['lo']:g} to {row['hi']:g}"
        lines.append(
            f"| {row['metric']} | {row['model']} | {row['value']:g} | {spread} | {row['n']} |"
        )
    return "\n".join(lines)


def fill(text: str, report: dict[str, Any]) -> str:
    """`text` with every marked table replaced by the report's.

    Raises:
        RequestError: If a marker names a table that the report lacks, or is never closed.
    """
    tables = {t["id"]: t["rows"] for t in report["tables"]}
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
        source = (
            f"Machine: {report['machine']}. Weights: "
            + ", ".join(f"{k} {v[:8]}" for k, v in report["checkpoints"].items())
            + "."
        )
        out.append(f"{BEGIN.format(name)}\n{table(tables[name])}\n\n{source}\n{END}{after}")
    return "".join(out)


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


def write_readme(report: Path, readme: Path) -> None:
    """Rewrite README's tables, and draw the convergence figure beside it."""
    docs = readme.parent / "docs"
    text = fill_corpus(fill(readme.read_text(), read_json(report)), docs)
    write_atomic(readme, text.encode())
    draw_convergence(report.parent, docs / "convergence.png")


def draw_spectrograms(
    sources: dict[str, list[Waveform]], captions: list[str], path: Path, rows: int = 4
) -> None:
    """Spectrograms of the first `rows` captions, one column a system, 0 to 8 kHz, in dB."""
    import librosa
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, grid = pyplot.subplots(
        rows, len(sources), figsize=(3.2 * len(sources), 2 * rows), dpi=80, squeeze=False
    )
    for column, (name, waves) in enumerate(sources.items()):
        for row in range(rows):
            samples, rate = waves[row].samples[0].numpy(), waves[row].sample_rate
            level = np.abs(librosa.stft(samples, n_fft=1024)) / np.sqrt(np.mean(samples**2) + 1e-9)
            axes = grid[row][column]
            axes.imshow(
                librosa.amplitude_to_db(level, ref=np.max, top_db=70)[: 8000 * 1024 // rate],
                origin="lower",
                aspect="auto",
                extent=(0, len(samples) / rate, 0, 8),
            )
            if row == 0:
                axes.set_title(name, fontsize=9)
            if column == 0:
                axes.set_ylabel("\n".join(wrap(captions[row], 32)), fontsize=6)
    path.parent.mkdir(exist_ok=True)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def draw_convergence(checkpoints: Path, path: Path) -> None:
    """Held-out loss of both language models against training step, from `history.jsonl`."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), dpi=110)
    for name in ("simba", "transformer"):
        history = (checkpoints / name / "history.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in history]
        axes.plot([r["step"] for r in rows], [r["valid"] for r in rows], marker=".", label=name)
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
