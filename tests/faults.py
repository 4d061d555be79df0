"""tests/FAULTS.md from the markers `@pytest.mark.fault("P3", "emoji prompt")`.

`python tests/faults.py` writes the page anew. Markers are read from the sources, so that a test
that needs a browser or PostgreSQL counts where these are missing; their arguments are literals.
"""

import ast
import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).parent
MATRIX = TESTS / "data" / "faults.json"
PAGE = TESTS / "FAULTS.md"
# Markers that leave a test out of `make test`.
ELSEWHERE = (
    "gpu",
    "network",
    "browser",
    "fluidsynth",
    "postgres",
    "wheel",
    "compiled",
    "soak",
    "load",
    "slow",
)
HEAD = """# The fault matrix

Written by `python tests/faults.py` from the markers `@pytest.mark.fault("P3", "…")` of the tests;
a test compares, and fails where a row of `data/faults.json` has none. A mark in brackets says which
run has the test besides `make test`: `make system-test`, or a GPU.
"""


class Fault(NamedTuple):
    """A test that a marker gives to a row."""

    row: str
    what: str
    test: str
    where: str


def _marks(node):
    """(name, literal arguments) of every marker over a function."""
    for decorator in node.decorator_list:
        call = decorator if isinstance(decorator, ast.Call) else None
        text = ast.unparse(call.func if call else decorator)
        if text.startswith("pytest.mark."):
            arguments = call.args if call else []
            yield text.removeprefix("pytest.mark."), arguments


def _of_module(tree):
    """Markers that a module gives to all of its tests by `pytestmark`."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
            text = ast.unparse(node.value)
            yield from (name for name in ELSEWHERE if f"pytest.mark.{name}" in text)


@cache
def found() -> list[Fault]:
    """Every marker of every test, in the order of rows and files."""
    faults = []
    for path in sorted(TESTS.rglob("test_*.py")):
        tree = ast.parse(path.read_text())
        module = list(_of_module(tree))
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef):
                continue
            marks = list(_marks(node))
            where = [name for name in ELSEWHERE if name in module or name in dict(marks)]
            for name, arguments in marks:
                if name == "fault":
                    row, what = (ast.literal_eval(one) for one in arguments)
                    place = f"{path.relative_to(TESTS).as_posix()}::{node.name}"
                    faults.append(Fault(row, what, place, ", ".join(where)))
    order = list(matrix()["rows"])
    return sorted(faults, key=lambda f: (order.index(f.row) if f.row in order else -1, f.test))


def matrix() -> dict:
    """Groups, rows, and the rows that no test has yet."""
    return json.loads(MATRIX.read_text())


def page() -> str:
    """tests/FAULTS.md."""
    wanted, by_row = matrix(), {}
    for fault in found():
        by_row.setdefault(fault.row, []).append(fault)
    parts = [HEAD]
    for group, title in wanted["groups"].items():
        parts.append(f"\n## {group}: {title}\n\n| row | fault | held by |\n|---|---|---|\n")
        for row, text in wanted["rows"].items():
            if row.rstrip("0123456789") == group:
                tests = [
                    f"{f.what}: `{f.test}`" + (f" [{f.where}]" if f.where else "")
                    for f in by_row.get(row, [])
                ]
                text = text.replace("<", "&lt;").replace(">", "&gt;")
                parts.append(f"| {row} | {text} | {'<br>'.join(tests) or '**nothing yet**'} |\n")
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"{len(found())} tests of {len(matrix()['rows'])} rows")
