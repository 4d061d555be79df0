"""Report pages: the tables of README, docs and model cards, filled from REPORT.json."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from simba_music.errors import RequestError
from simba_music.files import read_json, write_atomic
from simba_music.models.report import (
    SUMMARY_ROWS,
    notes,
    source_line,
    summary_rows,
    table,
)
from simba_music.publishing.modules_page import modules_page
from simba_music.publishing.settings_page import settings_page
from simba_music.training.benchmark.figures import draw_lengths
from simba_music.training.benchmark.gpu.report import GPU_SECTIONS, gpu_section
from simba_music.training.benchmark.report import SECTIONS, machine_text, sections
from simba_music.training.benchmark.rows import read_results
from simba_music.training.capacity.check import check_text
from simba_music.training.capacity.report import crowds_text
from simba_music.training.evaluation.figures import draw_books, draw_convergence

BEGIN, END = "<!-- report:{} -->", "<!-- /report -->"
SEARCH_BEGIN, SEARCH_END = "<!-- search -->", "<!-- /search -->"
PERFORMANCE_BEGIN, PERFORMANCE_END = "<!-- performance:{} -->", "<!-- /performance -->"
PERFORMANCE = "performance.json"  # in docs/, by `simba-music bench`
LISTS = "*-report.json"  # in docs/: of lists of prompts, by `simba-music evaluate prompts`
CORPUS_BEGIN, CORPUS_END = "<!-- corpus -->", "<!-- /corpus -->"
CAPACITY_BEGIN, CAPACITY_END = "<!-- capacity -->", "<!-- /capacity -->"
CROWDS_BEGIN, CROWDS_END = "<!-- crowds -->", "<!-- /crowds -->"
SUMMARY = "summary"  # README's own table: these rows of the report's, for these systems
CHECKS = (
    (
        "tempo, its double or half within 4 % by librosa (pieces with drums)",
        "tempo_right_or_double_or_half",
    ),
    ("key right or relative by Krumhansl's profiles on the notes", "key_right_or_relative"),
    ("tonic and third right by the same", "tonic_and_third_right"),
    ("named instruments whose stem is within 20 dB of the mix", "named_instruments_within_20_db"),
)


def _table_texts(report: dict[str, Any]) -> dict[str, str]:
    """Every table with its notes and source as Markdown, and the summary, by name."""
    tables = {made["id"]: made for made in report["tables"]}
    found = {
        name: [table(made["rows"]), notes(made), source_line(made)] for name, made in tables.items()
    }
    used = dict.fromkeys(table_id for table_id, _, _ in SUMMARY_ROWS if table_id in tables)
    if used:
        sources = dict.fromkeys(source_line(tables[name]) for name in used)
        found[SUMMARY] = [table(summary_rows(report["tables"])), *sources]
    return {name: "\n\n".join(filter(None, texts)) for name, texts in found.items()}


def fill(text: str, report: dict[str, Any], page: str = "README.md") -> str:
    """`text` with every marked table replaced by the report's; `page` is its name, for errors.

    Raises:
        RequestError: If a marker names a table that the report lacks, or is never closed.
    """
    tables = _table_texts(report)
    parts = text.split("<!-- report:")
    out = [parts[0]]
    for part in parts[1:]:
        name, _, rest = part.partition(" -->")
        _, closed, after = rest.partition(END)
        if name not in tables or not closed:
            raise RequestError(
                f"{page} asks for table {name!r}; the report has {sorted(tables)}, and every "
                f"marker needs a closing {END}."
            )
        out.append(f"{BEGIN.format(name)}\n{tables[name]}\n{END}{after}")
    return "".join(out)


def corpus_text(check: dict[str, Any], words: dict[str, Any]) -> str:
    """What `corpus check` and `corpus words` found, as docs/corpus.md says it."""
    lines = ["| what independent methods find | share | n |", "|---|---|---|"]
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


def performance_text(file: Path, section: str) -> str:
    """One of `SECTIONS` of what `simba-music bench` wrote to a file.

    A group that was measured alone has a file of its own beside it, and says on what machine.
    """
    alone = file.with_name(f"{file.stem}-{section}.json")
    if not alone.exists():
        return sections(read_results(file))[section]
    found = read_results(alone)
    return f"{sections(found)[section]}\n\n{machine_text(found)}"


def _between(text: str, begin: str, end: str, file: Path, made: Callable[[], str]) -> str:
    """`text` with what `made` gives between two markers; as it is where the first is missing.

    Raises:
        RequestError: If the first marker is there and the second is not.
    """
    before, opened, rest = text.partition(begin)
    if not opened:
        return text
    _, closed, after = rest.partition(end)
    if not closed:
        raise RequestError(f"{file} has {begin} and no closing {end}.")
    return f"{before}{begin}\n{made()}\n{end}{after}"


def fill_page(page: Path, report: dict[str, Any], docs: Path) -> str:
    """A page with the report's tables and all other figures of a file as they are now.

    Args:
        page: README, a page of docs, or a model card; `search.md` lies beside a codec's.
        report: what REPORT.json holds.
        docs: folder of the figures of corpus, benchmark and lists of prompts.

    Raises:
        RequestError: If a marker names nothing that there is, or is never closed.
    """

    def corpus() -> str:
        return corpus_text(
            read_json(docs / "corpus-check.json"), read_json(docs / "prompt-words.json")
        )

    def search() -> str:
        return (page.parent / "search.md").read_text().strip()

    lists = [table for file in sorted(docs.glob(LISTS)) for table in read_json(file)["tables"]]
    text = fill(page.read_text(), {**report, "tables": [*report["tables"], *lists]}, page.name)
    text = _between(text, CORPUS_BEGIN, CORPUS_END, page, corpus)
    for name in SECTIONS:
        begin = PERFORMANCE_BEGIN.format(name)
        made = partial(performance_text, docs / PERFORMANCE, name)
        text = _between(text, begin, PERFORMANCE_END, page, made)
    for name in GPU_SECTIONS:
        begin = PERFORMANCE_BEGIN.format(name)
        text = _between(text, begin, PERFORMANCE_END, page, partial(gpu_section, docs, name))
    text = _between(text, CAPACITY_BEGIN, CAPACITY_END, page, partial(check_text, docs))
    text = _between(text, CROWDS_BEGIN, CROWDS_END, page, partial(crowds_text, docs))
    return _between(text, SEARCH_BEGIN, SEARCH_END, page, search)


def pages(report: Path, readme: Path) -> list[Path]:
    """README, every page of docs and every model card: all that may have markers."""
    docs = readme.parent / "docs"
    return [readme, *sorted(docs.glob("*.md")), *sorted(report.parent.glob("*/README.md"))]


def write_readme(report: Path, readme: Path) -> None:
    """Rewrite all tables of README, docs and model cards, the pages made from code, and figures.

    Args:
        report: REPORT.json, the checkpoints beside it.
        readme: README, docs beside it.
    """
    docs, found = readme.parent / "docs", read_json(report)
    write_atomic(docs / "modules.md", modules_page().encode())
    write_atomic(docs / "settings.md", settings_page().encode())
    filled = {page: fill_page(page, found, docs) for page in pages(report, readme)}
    for page, text in filled.items():  # written once all are known to be whole
        write_atomic(page, text.encode())
    draw_convergence(report.parent, docs / "convergence.png")
    draw_books(found, docs / "books.png")
    if (docs / PERFORMANCE).exists():
        draw_lengths(read_results(docs / PERFORMANCE), docs / "performance.png")
