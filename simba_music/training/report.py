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


def write_readme(report: Path, readme: Path) -> None:
    """Rewrite README's tables, and draw the convergence figure beside it."""
    write_atomic(readme, fill(readme.read_text(), read_json(report)).encode())
    draw_convergence(report.parent, readme.parent / "docs" / "convergence.png")


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
