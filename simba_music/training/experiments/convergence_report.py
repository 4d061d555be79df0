"""Convergence report: what the experiment's figures say of the paper's claims, and their curves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simba_music.files import write_json
from simba_music.listening.statistics import mean_of
from simba_music.training.evaluation.measures import Row, row_of

Runs = dict[str, list[dict[str, Any]]]  # by architecture, a run a seed: `history`, `clips`
OURS, THEIRS = "simba-mlp", "transformer"  # what the paper compares, with either conditioning
MEASURES = {  # key of a run's figures: (what it is, whether more is better)
    "valid": ("held-out loss (nats a token)", False),
    "instruments": ("instruments recognised", True),
    "drums": ("drums as asked", True),
    "alignment": ("alignment (cosine)", True),
    "kad": ("KAD (our tagger's space)", False),
}
ACROSS = {  # key of a history's row: what it is
    "step": "training step",
    "flops": "training FLOPs",
    "seconds": "seconds on this machine (says nothing of other hardware)",
}


def _value(run: dict[str, Any], key: str, step: int) -> float:
    """A figure of a run at a step."""
    if key != "valid":
        return float(run["clips"][str(step)][key])
    return float(next(row["valid"] for row in run["history"] if row["step"] == step))


def _gap(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    """Mean difference of held-out loss over all validations of two runs with the same batches."""
    return float(
        np.mean(
            [
                a["valid"] - b["valid"]
                for a, b in zip(ours["history"], theirs["history"], strict=True)
            ]
        )
    )


def verdict(low: float, high: float, more_is_better: bool) -> str:
    """Whether a difference, ours minus theirs, is in our favour by its interval."""
    if low <= 0 <= high:
        return "undecided"
    return "held" if (low > 0) == more_is_better else "not held"


def summary(
    runs: Runs, steps: Sequence[int], measured: Sequence[int]
) -> tuple[list[Row], list[str]]:
    """Report rows of every architecture at `steps`, and a verdict on each claim.

    Clips were `measured` at some of the steps, the last among them.
    Intervals are over seeds; differences pair runs of one seed, which saw the same batches.
    """
    rows, notes = list[Row](), list[str]()
    for key, (what, _) in MEASURES.items():
        for step in steps if key == "valid" else measured:
            for name, own in runs.items():
                values = [_value(run, key, step) for run in own]
                rows.append(row_of(f"{what}, step {step}", name, *mean_of(values)))
    last = measured[-1]
    for conditioning in ("prefix", "cross"):
        ours, theirs = runs[f"{OURS}-{conditioning}"], runs[f"{THEIRS}-{conditioning}"]
        claims = [("converges faster", "valid", "held-out loss, mean over the training")]
        claims += [("ends closer to the ground truth", key, MEASURES[key][0]) for key in MEASURES]
        for i, (claim, key, what) in enumerate(claims):
            pairs = [
                _gap(a, b) if i == 0 else _value(a, key, last) - _value(b, key, last)
                for a, b in zip(ours, theirs, strict=True)
            ]
            mean, low, high, _ = mean_of(pairs)
            found = verdict(low, high, MEASURES[key][1])
            notes.append(
                f"SiMBA {claim} than the Transformer ({conditioning}, by {what}): **{found}**. "
                f"SiMBA minus Transformer is {mean:+.3g} ({low:+.3g} to {high:+.3g}, "
                f"{len(pairs)} seeds)."
            )
    return rows, notes


def _plot(axes: Any, runs: Runs, key: str, measure: str, steps: Sequence[int]) -> None:
    """A measure at `steps` against a key of the history: mean and range over seeds."""
    for name, own in runs.items():
        rows = [[row for row in run["history"] if row["step"] in steps] for run in own]
        across = np.mean([[row[key] for row in history] for history in rows], axis=0)
        values = np.array([[_value(run, measure, step) for step in steps] for run in own])
        style = "--" if name.endswith("cross") else "-"
        (line,) = axes.plot(across, values.mean(0), style, label=name)
        axes.fill_between(across, values.min(0), values.max(0), alpha=0.2, color=line.get_color())
    axes.set_xlabel(ACROSS[key])
    axes.grid(alpha=0.3)


def draw(runs: Runs, measured: Sequence[int], path: Path) -> None:
    """Draw held-out loss against steps, FLOPs and, apart, seconds, as a PNG.

    Beside it, `-clips` in its name, are the figures of clips at the `measured` steps against
    steps and FLOPs, and every run's figures, as JSON.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path.with_suffix(".json"), runs)
    validated = [row["step"] for row in next(iter(runs.values()))[0]["history"]]
    figure, grid = pyplot.subplots(1, 3, figsize=(15, 4.5), dpi=90, sharey=True)
    for axes, key in zip(grid, ACROSS, strict=True):
        _plot(axes, runs, key, "valid", validated)
        axes.set_xscale("log" if key == "flops" else "linear")
    grid[0].set_ylabel(MEASURES["valid"][0])
    grid[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path)
    heard = [measure for measure in MEASURES if measure != "valid"]
    figure, grid = pyplot.subplots(2, len(heard), figsize=(15, 7.5), dpi=90, sharey="col")
    for line, key in zip(grid, ("step", "flops"), strict=True):
        for axes, measure in zip(line, heard, strict=True):
            _plot(axes, runs, key, measure, measured)
            axes.set_title(MEASURES[measure][0], fontsize=10)
    grid[0][0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path.with_stem(f"{path.stem}-clips"))
    pyplot.close("all")
