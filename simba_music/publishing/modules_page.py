"""Modules page: docs/modules.md, the first line of every module, by room."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
HEAD = """# Modules

Written by `simba-music report` from the first line of each module. A room imports from itself and
from the rooms below it in this list of layers: cli, serving, ui, publishing, training, listening,
generation, scoring, models, conditioning, hub, then audio, files, settings and errors.
"""


def _first_line(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    return docstring.split("\n", 1)[0]


def modules_page(package: Path = PACKAGE) -> str:
    """The page as Markdown: a heading a folder, a line a module."""
    folders = sorted({path.parent for path in package.rglob("*.py")})
    parts = [HEAD]
    for folder in folders:
        name = folder.relative_to(package.parent).as_posix()
        parts.append(f"## {name}/\n\n{_first_line(folder / '__init__.py')}\n")
        modules = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
        rows = [f"| `{path.name}` | {_first_line(path)} |" for path in modules]
        if rows:
            parts.append("\n".join(["| module | what it is |", "|---|---|", *rows]) + "\n")
    return "\n".join(parts)
