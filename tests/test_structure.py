import ast
import re
import tomllib
from pathlib import Path

import pytest

from simba_music.files import read_json
from simba_music.training.report import fill, fill_card, fill_corpus

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "simba_music"
MODULES = sorted(p for p in PACKAGE.rglob("*.py"))
OWNERS = {
    "gradio": "ui/",
    "soundfile": "audio.py",
    "mamba_ssm": "mamba2.py",
    "sqlalchemy": ("database.py", "vote_tables.py", "migrations/"),
    "alembic": ("database.py", "migrations/"),
    "huggingface_hub": ("hub/", "publish.py", "model_card.py", "space.py", "vote_mirror.py"),
    "spaces": ("zero_gpu.py",),
    "transformers": (
        "text_encoder.py",
        "codec.py",
        "scorer_laion.py",
        "command_pipeline.py",
        "training/",
    ),
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


def test_only_the_command_line_imports_training_and_only_the_app_imports_ui():
    for path in MODULES:
        own = str(path.relative_to(PACKAGE))
        for name in imports(path):
            if name.startswith("simba_music.training"):
                assert own.startswith(("training/", "__main__"))
            if name.startswith("simba_music.ui"):
                assert own.startswith(("ui/", "__main__"))


def test_no_module_imports_upwards():
    order = [
        "errors",
        "files",
        "hub",
        "config",
        "audio",
        "request",
        "sampling",
        "einfft",
        "mamba2",
        "cross_attention",
        "beat_clock",
        "key_signature",
        "line_up",
        "simba",
        "transformer",
        "text_encoder",
        "lm",
        "generation",
        "codec",
        "checkpoint",
        "clap",
        "scorer_bundled",
        "scorer_laion",
        "scorers",
        "loading",
        "results",
        "pipeline",
        "command_pipeline",
        "zero_gpu",
        "ballot",
        "vote_tables",
        "database",
        "migrations",
        "vote_mirror",
        "battle_clips",
        "listening_test",
        "gallery",
        "statistics",
        "vote_report",
        "study_file",
        "study",
        "study_data",
        "model_card",
        "publish",
        "space",
        "generate_command",
        "ui",
        "training",
        "options",
        "__main__",
    ]
    rank = {name: i for i, name in enumerate(order)}
    for path in MODULES:
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        for name in imports(path):
            if name.startswith("simba_music."):
                assert rank[name.split(".")[1]] <= rank[own], f"{own} imports {name}"


def test_every_module_has_its_line_in_readmes_tree():
    readme = (ROOT / "README.md").read_text()
    for path in MODULES:
        docstring = ast.get_docstring(ast.parse(path.read_text()))
        assert docstring, f"{path} has no docstring"
        if path.name == "__init__.py":
            continue
        first = docstring.splitlines()[0].rstrip(".")
        assert re.search(rf"{re.escape(path.name)} +{re.escape(first)}", readme), path


def test_modules_stay_readable():
    for path in MODULES:
        assert len(path.read_text().splitlines()) <= 300, path
    assert len((ROOT / "app.py").read_text().splitlines()) <= 40


def test_the_space_and_requirements_pin_the_same_gradio():
    readme = (ROOT / "README.md").read_text()
    space = re.search(r"^sdk_version: ['\"]?([\d.]+)", readme, re.MULTILINE)
    pin = re.search(r"^gradio==([\d.]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert space and pin and space[1] == pin[1]
    assert "torch>=2.8,<2.13.1" in (ROOT / "requirements.txt").read_text()
    assert "torchaudio" not in (ROOT / "requirements.txt").read_text()


def test_nothing_unsafe_is_loaded():
    for path in MODULES:
        text = path.read_text()
        assert "trust_remote_code=True" not in text and "weights_only=False" not in text
        if not str(path.relative_to(PACKAGE)).startswith("training/"):
            assert "torch.load" not in text, path


def test_readmes_tables_are_the_reports():
    readme = (ROOT / "README.md").read_text()
    assert readme.count("<!-- report:") >= 3
    report = read_json(ROOT / "checkpoints" / "REPORT.json")
    assert fill(readme, report) == readme
    assert fill_corpus(readme, ROOT / "docs") == readme
    for card in (ROOT / "checkpoints").glob("*/README.md"):
        assert fill_card(card, report) == card.read_text(), card
    words = read_json(ROOT / "docs" / "prompt-words.json")
    assert words["share"] >= 0.65 and all(words["left_out"].values())


def test_the_extras_hold_what_does_not_install_beside_cpu_torch():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert any(r.startswith("mamba-ssm") for r in extras["gpu"])
    assert any(r.startswith("encodec") for r in extras["encodec"])
    assert not re.search("mamba|encodec", (ROOT / "requirements.txt").read_text())
