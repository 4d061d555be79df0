"""Figures: state or cache, and time a step, against the length of a clip."""

from pathlib import Path

from simba_music.training.benchmark.report import of_kind
from simba_music.training.benchmark.rows import LengthRow, Results
from simba_music.training.benchmark.tables import named

_STYLES = {"simba": "o-", "transformer": "s-"}


def draw_lengths(results: Results, path: Path) -> bool:
    """Draw a PNG of two panels; False where no length was measured."""
    rows = of_kind(results, LengthRow)
    if not rows:
        return False
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), dpi=90)
    for system in dict.fromkeys(row.system for row in rows):
        own = sorted((row for row in rows if row.system == system), key=lambda row: row.seconds)
        seconds = [row.seconds for row in own]
        style = _STYLES.get(system, "^:")
        (line,) = left.plot(seconds, [row.state_mb for row in own], style, label=named(system))
        spreads = [row.ms_per_step for row in own]
        right.plot(seconds, [s.median for s in spreads], style, color=line.get_color())
        low, high = [s.low for s in spreads], [s.high for s in spreads]
        right.fill_between(seconds, low, high, alpha=0.2, color=line.get_color())
    left.set_ylabel("state or cache (MB)")
    right.set_ylabel("ms a step, median and quartiles")
    for axes in (left, right):
        axes.set(xlabel="position in the clip (s)", xscale="log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.grid(alpha=0.3)
    left.set_yscale("log")
    left.yaxis.set_major_formatter("{x:g}")
    right.set_ylim(bottom=0)
    left.legend(fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path)
    pyplot.close(figure)
    return True
