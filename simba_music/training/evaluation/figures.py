"""Figures: spectrograms side by side, loss by training step, similarity by number of books."""

import json
import re
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
import torch

from simba_music.audio import Waveform
from simba_music.models.report import ReportRow


def _draw_spectrogram(axes: Any, wave: Waveform) -> None:
    """A spectrogram of one channel on matplotlib axes, 0 to 8 kHz, 70 dB."""
    samples, rate = wave.samples[0], wave.sample_rate
    hann = torch.hann_window(1024)
    spectrum = torch.stft(samples, 1024, window=hann, return_complex=True, pad_mode="constant")
    level = spectrum.abs() / spectrum.abs().max().clamp(min=1e-5)
    axes.imshow(
        20 * level.clamp(min=10 ** (-70 / 20)).log10()[: 8000 * 1024 // rate].numpy(),
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


def draw_round_trips(x: torch.Tensor, y: torch.Tensor, step: int, rate: int, path: Path) -> None:
    """Spectrograms of the first of crops `[B, T]`, beside what a codec made of them at a step."""
    waves = {
        name: [Waveform(row[None].cpu(), rate) for row in rows]
        for name, rows in (("original", x), (f"step {step}", y))
    }
    draw_spectrograms(waves, [""] * len(x), path, rows=min(4, len(x)))


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
    axes.legend(loc="upper right")
    path.parent.mkdir(exist_ok=True)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def books_of(rows: list[ReportRow], codec: str) -> dict[str, dict[int, ReportRow]]:
    """Rows of semantic similarity of a codec, by space and by its number of books.

    Args:
        rows: of the report's table `codec` or `codec-real`.
        codec: its column; those of several books are `CODEC, K books`.
    """
    found = dict[str, dict[int, ReportRow]]()
    for row in rows:
        space = re.fullmatch(r"semantic similarity \((.+)'s space, cosine\)", row["metric"])
        books = re.fullmatch(rf"{re.escape(codec)}(?:, (\d+) books)?", row["model"])
        if space and books:
            found.setdefault(space[1], {})[int(books[1] or 1)] = row
    return found


def draw_books(report: dict[str, Any], path: Path, codec: str = "codec") -> bool:
    """Semantic similarity of originals and round trips by number of books, 95 % intervals.

    Returns:
        Whether it was drawn: nothing is, unless the report has a codec of several books.
    """
    titles = {"codec": "Renderings of the benchmark", "codec-real": "Recordings"}
    tables = {
        table["id"]: books_of(table["rows"], codec)
        for table in report["tables"]
        if table["id"] in titles
    }
    shown = {name: t for name, t in tables.items() if any(len(rows) > 1 for rows in t.values())}
    if not shown:
        return False
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, grid = pyplot.subplots(
        1, len(shown), figsize=(4.5 * len(shown), 3.6), dpi=110, squeeze=False, sharey=True
    )
    for axes, (name, spaces) in zip(grid[0], shown.items(), strict=True):
        for i, (space, rows) in enumerate(spaces.items()):
            books = sorted(rows)
            found = [rows[k] for k in books]
            value = np.array([row["value"] for row in found])
            ends = np.array([[row["lo"], row["hi"]] for row in found]).T
            places = np.array(books) + 0.05 * i  # so that intervals do not hide each other
            axes.errorbar(
                places, value, np.abs(ends - value), marker=".", capsize=3, label=f"{space}'s space"
            )
        axes.set(title=titles[name], xlabel="books", xticks=books)
        axes.grid(alpha=0.3)
        axes.legend()
    grid[0][0].set_ylabel("semantic similarity (cosine)")
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
    return True
