"""Pages that are read by people: short, linked to what is there, with commands that exist."""

import ast
import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml

from simba_music import __version__
from simba_music.cli.commands import root
from simba_music.files import read_json
from simba_music.models.report import summary_rows

ROOT = Path(__file__).parent.parent
WRITTEN = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "checkpoints").rglob("*.md")),
]
MADE = [ROOT / "docs" / name for name in ("modules.md", "settings.md")]  # from code
EACH = pytest.mark.parametrize("page", WRITTEN, ids=lambda p: str(p.relative_to(ROOT)))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
OPEN = re.compile(  # words that the field has others for
    r"\btold\b|\bhears\b|heard by (?:the|a|both) model|model hears|half (?:that|which) guidance"
    r"|writes? a pair|Hub that is away",
    re.IGNORECASE,
)


def prose(page):
    """A page without its blocks of code."""
    return FENCE.sub("", page.read_text())


def anchors(page):
    """Anchors of a page's headings, as the usual renderers make them."""
    heads = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", head.lower()) for head in heads)
    return {head.strip().replace(" ", "-") for head in plain}


def commands(page):
    """Every `simba-music` command in a page's blocks of code, as words."""
    for _, block in FENCE.findall(page.read_text()):
        for line in block.splitlines():
            if re.match(r"(\S*/)?simba-music ", line):
                yield shlex.split(line, comments=True)[1:]


def parse(words):
    """Parse a command's words with the Typer app, and run nothing."""
    command, context = typer.main.get_command(root), None
    named = ["simba-music"]
    while hasattr(command, "commands"):
        assert words[0] in command.commands, f"no command {' '.join([*named, words[0]])}"
        command, named, words = command.commands[words[0]], [*named, words[0]], words[1:]
    context = command.make_context(" ".join(named), list(words))
    return context.params


def test_readme_is_read_in_a_minute_or_two():
    assert len((ROOT / "README.md").read_bytes()) <= 10_240


@EACH
def test_every_link_and_image_of_a_page_is_there(page):
    for target in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            assert target.startswith("https://"), target
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{page.name} links to {target}"
        assert found.is_relative_to(ROOT), target
        if anchor:
            assert anchor in anchors(found), f"{page.name} links to {target}"


@EACH
def test_every_command_of_a_page_is_one_that_there_is(page):
    for words in commands(page):
        try:
            parse(words)
        except Exception as error:
            pytest.fail(f"{page.name}: {shlex.join(words)}: {error}")


def test_pages_show_commands_of_every_kind():
    shown = {words[0] for page in WRITTEN for words in commands(page)}
    there = set(typer.main.get_command(root).commands)
    assert there - shown <= {"app"}  # make app


def test_a_command_that_there_is_not_is_found():
    with pytest.raises(AssertionError, match="no command simba-music compose"):
        parse(["compose", "--hours", "1"])
    with pytest.raises(Exception, match="No such option"):
        parse(["corpus", "caption", "runs/corpus", "--hours", "1"])


@EACH
def test_pages_use_the_words_of_the_field(page):
    if page not in MADE:
        found = OPEN.search(re.sub(r"\s+", " ", prose(page)))
        assert not found, f"{page.name}: {found}"


def test_docstrings_and_help_use_them_too():
    for path in (ROOT / "simba_music").rglob("*.py"):
        tree = ast.parse(path.read_text())
        texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        for text in texts:
            found = isinstance(text, str) and OPEN.search(re.sub(r"\s+", " ", text))
            assert not found, f"{path.relative_to(ROOT)}: {found}"


@EACH
def test_every_page_of_docs_is_linked_to(page):
    if page.parent != ROOT / "docs":
        return
    linked = {
        (other.parent / target.partition("#")[0]).resolve()
        for other in WRITTEN
        if other != page
        for target in LINK.findall(prose(other))
        if ":" not in target
    }
    assert page in linked


def test_the_python_lines_of_readme_run(system, tmp_path, monkeypatch):
    (code,) = (block for kind, block in FENCE.findall((ROOT / "README.md").read_text()) if kind)
    assert len([line for line in code.splitlines() if line]) == 5
    (tmp_path / "checkpoints").symlink_to(system)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "simba.wav").stat().st_size > 1000


def test_the_finding_is_what_the_report_says():
    report = read_json(ROOT / "checkpoints" / "REPORT.json")
    tables = {table["id"]: table for table in report["tables"]}
    faster = [n for n in tables["convergence"]["notes"] if "SiMBA converges faster" in n]
    assert len(faster) == 2 and all("**held**" in note for note in faster)
    ends = {
        row["model"]: row["value"]
        for row in tables["convergence"]["rows"]
        if row["metric"] == "held-out loss (nats a token), step 600"
    }
    for way in ("prefix", "cross"):
        gap = ends[f"transformer-{way}"] - ends[f"simba-mlp-{way}"]
        assert f"{gap:.1f} nats" in (ROOT / "README.md").read_text().replace("\n", " ")
    apart = set()
    for simba, transformer in _pairs(summary_rows(report["tables"])):
        if simba["lo"] > transformer["hi"] or transformer["lo"] > simba["hi"]:
            apart.add(simba["metric"])
            assert simba["value"] < transformer["value"]  # a distance, so SiMBA is nearer
    assert len(apart) == 1 and all(name.startswith("KAD") for name in apart)
    losses = [
        row["value"]
        for name in ("simba", "transformer")
        for row in read_json(ROOT / "checkpoints" / name / "metrics.json")["rows"]
        if row["metric"].startswith("held-out loss")
    ]
    said = " and ".join(f"{loss:.2f}" for loss in losses)
    assert f"losses are {said}" in (ROOT / "README.md").read_text().replace("\n", " ")


def _pairs(rows):
    for row in rows:
        if row["model"] == "simba":
            metric = row["metric"]
            (other,) = (r for r in rows if (r["metric"], r["model"]) == (metric, "transformer"))
            yield row, other


def test_version_and_citation_agree():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == __version__
    assert f"## {__version__}\n" in (ROOT / "CHANGELOG.md").read_text()
    assert f"| {__version__} |" in (ROOT / "docs" / "history.md").read_text()


def test_hooks_and_templates_are_read_as_what_they_are():
    (hooks,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert hooks["repo"] == "local" and len(hooks["hooks"]) == 3
    templates = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.md"))
    assert len(templates) == 2
    for template in templates:
        head = yaml.safe_load(template.read_text().split("---\n")[1])
        assert {"name", "about"} <= set(head)
