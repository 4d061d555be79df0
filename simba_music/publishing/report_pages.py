"""Report pages: the tables of README, docs and model cards, filled from REPORT.json."""

from pathlib import Path
from typing import Any

from simba_music.errors import RequestError
from simba_music.files import read_json, write_atomic
from simba_music.models.report import notes, source_line, table
from simba_music.publishing.modules_page import modules_page
from simba_music.publishing.settings_page import settings_page
from simba_music.training.evaluation.figures import draw_convergence

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
    """Rewrite tables of README and model cards, two pages of docs, and the convergence figure."""
    docs, found = readme.parent / "docs", read_json(report)
    text = fill_corpus(fill(readme.read_text(), found), docs)
    write_atomic(readme, text.encode())
    write_atomic(docs / "modules.md", modules_page().encode())
    write_atomic(docs / "settings.md", settings_page().encode())
    for card in report.parent.glob("*/README.md"):
        write_atomic(card, fill_card(card, found).encode())
    draw_convergence(report.parent, docs / "convergence.png")
