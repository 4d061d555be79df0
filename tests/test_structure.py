import ast
import re
from pathlib import Path

import pytest

from simba_music.errors import RequestError
from simba_music.files import read_json
from simba_music.models.report import summary_rows
from simba_music.publishing.modules_page import modules_page
from simba_music.publishing.report_pages import fill_page, pages
from simba_music.publishing.settings_page import settings_page

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "simba_music"
MODULES = sorted(p for p in PACKAGE.rglob("*.py"))
ROOMS = (  # a room imports from itself and from those after it
    "__main__",
    "cli",
    "serving",
    "ui",
    "publish",
    "publishing",
    "training",
    "listening",
    "generation",
    "scoring",
    "models",
    "conditioning",
    "hub",
    "audio",
    "files",
    "settings",
    "errors",
)
OWNERS = {
    "gradio": "ui/",
    "soundfile": "audio/",
    "av": "audio/",
    "mamba_ssm": "models/mamba2.py",
    "causal_conv1d": "models/mamba2.py",
    "numba": "generation/engines/",
    "triton": "generation/engines/graph/",
    "ray": "serving/",
    "sqlalchemy": "listening/",
    "alembic": "listening/",
    "huggingface_hub": ("hub/", "publishing/", "listening/mirror.py"),
    "spaces": ("generation/zero_gpu.py",),
    "transformers": ("models/", "scoring/", "training/", "cli/pipeline.py"),
    "pretty_midi": "training/",
    "librosa": "training/",
}


def imports(path):
    """Top-level names of every module that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_each_heavy_library_has_one_owner(path):
    own = str(path.relative_to(PACKAGE))
    for name in imports(path):
        owners = OWNERS.get(name.split(".")[0])
        if owners is not None:
            assert own.startswith(owners), f"{own} imports {name}"


def test_no_room_imports_from_one_above_it():
    for path in MODULES:
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        for name in imports(path):
            if name.startswith("simba_music."):
                room = name.split(".")[1]
                assert ROOMS.index(room) >= ROOMS.index(own), f"{own} imports {name}"


def test_only_the_command_line_and_publishing_import_training():
    for path in MODULES:
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for name in imports(path):
            if name.startswith("simba_music.training"):
                assert own in ("training", "publishing", "cli"), f"{path} imports {name}"


def test_a_folder_is_taken_in_at_a_glance():
    for folder in (PACKAGE, *(p for p in PACKAGE.rglob("*") if p.is_dir())):
        if folder.name != "__pycache__":
            entries = [p for p in folder.iterdir() if p.name not in ("__pycache__", "py.typed")]
            assert len(entries) <= (18 if folder == PACKAGE else 15), folder


def test_every_module_says_what_it_is_and_stands_in_the_modules_page():
    for path in MODULES:
        assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no docstring"
    page = (ROOT / "docs" / "modules.md").read_text()
    assert page == modules_page(), "run `simba-music report` to write docs/modules.md again"


def test_the_settings_page_is_made_from_the_settings():
    page = (ROOT / "docs" / "settings.md").read_text()
    assert page == settings_page(), "run `simba-music report` to write docs/settings.md again"


def test_only_the_settings_touch_the_environment():
    for path in [*MODULES, ROOT / "app.py"]:
        if path.parent == PACKAGE / "settings":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            named = {node.attr} if isinstance(node, ast.Attribute) else set()
            if isinstance(node, ast.ImportFrom) and node.module == "os":
                named = {alias.name for alias in node.names}
            assert not named & {"environ", "environb", "getenv", "putenv"}, path


def test_readme_shows_every_room():
    readme = (ROOT / "README.md").read_text()
    for room in (p for p in PACKAGE.iterdir() if p.is_dir() and p.name != "__pycache__"):
        assert re.search(rf"^  (\w+/ +)?{room.name}/ +\S", readme, re.MULTILINE), room


def test_modules_and_functions_stay_readable():
    for path in MODULES:
        text = path.read_text()
        assert len(text.splitlines()) <= 300, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                assert length <= 60, f"{path}: {node.name} has {length} lines"
    assert len((ROOT / "app.py").read_text().splitlines()) <= 40


def _annotations(function):
    spec = function.args
    every = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs, spec.vararg, spec.kwarg]
    return [a.annotation for a in every if a is not None and a.annotation] + [function.returns]


@pytest.mark.parametrize("room", ["conditioning", "generation", "models"])
def test_public_signatures_are_typed(room):
    for path in (PACKAGE / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            public = isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
            if public or (isinstance(node, ast.FunctionDef) and node.name == "__init__"):
                for annotation in filter(None, _annotations(node)):
                    names = {n.id for n in ast.walk(annotation) if isinstance(n, ast.Name)}
                    assert "Any" not in names, f"{path}: {node.name}"


def test_nothing_unsafe_is_loaded():
    for path in MODULES:
        text = path.read_text()
        assert "trust_remote_code=True" not in text and "weights_only=False" not in text
        if not str(path.relative_to(PACKAGE)).startswith("training/"):
            assert "torch.load" not in text, path


def test_readmes_tables_are_the_reports():
    report = read_json(ROOT / "checkpoints" / "REPORT.json")
    everywhere = pages(ROOT / "checkpoints" / "REPORT.json", ROOT / "README.md")
    marked = dict[str, list[str]]()
    for page in everywhere:
        text = page.read_text()
        assert fill_page(page, report, ROOT / "docs") == text, f"{page}: run `simba-music report`"
        for name in re.findall(r"<!-- report:(\S+) -->", text):
            marked.setdefault(name, []).append(page.relative_to(ROOT).as_posix())
    assert marked["summary"] == ["README.md"]
    assert {table["id"] for table in report["tables"]} <= set(marked), "a table is on no page"
    cards = {"codec": "codec", "codec-real": "codec", "scorer": "clap"}
    for name, card in cards.items():
        assert f"checkpoints/{card}/README.md" in marked[name]
    assert "<!-- corpus -->" in (ROOT / "docs" / "corpus.md").read_text()
    assert "<!-- search -->" in (ROOT / "checkpoints" / "codec" / "README.md").read_text()
    words = read_json(ROOT / "docs" / "prompt-words.json")
    assert words["share"] >= 0.65 and all(words["left_out"].values())


def test_readmes_summary_has_six_rows_of_both_models_and_of_real_pieces():
    report = read_json(ROOT / "checkpoints" / "REPORT.json")
    rows = summary_rows(report["tables"])
    measured = {}
    for row in rows:
        measured.setdefault(row["metric"], []).append(row["model"])
    assert len(measured) == 6
    for systems in measured.values():
        assert systems[:2] == ["simba", "transformer"] and len(systems) >= 3
    source = {
        (r["model"], r["value"], r["lo"], r["hi"]) for t in report["tables"] for r in t["rows"]
    }
    assert {(r["model"], r["value"], r["lo"], r["hi"]) for r in rows} <= source


def test_a_marker_that_names_no_table_or_is_not_closed_is_an_error(tmp_path):
    report = read_json(ROOT / "checkpoints" / "REPORT.json")
    page = tmp_path / "page.md"
    for text in (
        "<!-- report:nothing -->\n<!-- /report -->",
        "<!-- report:speed -->",
        "<!-- corpus -->",
    ):
        page.write_text(text)
        with pytest.raises(RequestError, match=r"page\.md"):
            fill_page(page, report, ROOT / "docs")
    page.write_text("no marker")
    assert fill_page(page, report, tmp_path) == "no marker"
