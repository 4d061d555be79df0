"""Tables of a benchmark: numbers and names as its pages write them."""

from collections.abc import Iterable, Sequence

from simba_music.training.benchmark.rows import Spread

NAMES = {"simba": "SiMBA", "transformer": "Transformer"}


def named(system: str) -> str:
    """A system as it is written in a table."""
    first, comma, rest = system.partition(",")
    return NAMES.get(first, first) + comma + rest


def short(value: float) -> str:
    """A number with three digits that count, and no exponent."""
    return f"{float(f'{value:.3g}'):,.10g}"


def spread_text(spread: Spread) -> str:
    """Median and quartiles."""
    if spread.n == 1:
        return short(spread.median)
    return f"{short(spread.median)} ({short(spread.low)} to {short(spread.high)})"


def table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
