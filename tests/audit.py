"""Audit of what is installed and locked, without a network: `make audit`, which CI runs.

Each package that data/advisories.json names must be at least the version in which the advisory was
fixed. That list is kept by hand and ends where its last entry does: where an advisory service can
be reached, run `pip-audit -r requirements-lock.txt` as well.
"""

import json
import sys
from importlib.metadata import distributions
from pathlib import Path

from lock import locked
from packaging.utils import canonicalize_name
from packaging.version import Version

ADVISORIES = json.loads((Path(__file__).parent / "data" / "advisories.json").read_text())


def affected(versions: dict[str, str]) -> list[str]:
    """A line for every version that an advisory is about."""
    return [
        f"{name} {version}: {ADVISORIES[name]['id']}, fixed in {ADVISORIES[name]['fixed']}"
        for name, version in versions.items()
        if name in ADVISORIES and Version(version) < Version(ADVISORIES[name]["fixed"])
    ]


def installed() -> dict[str, str]:
    """Version by name of all that is installed here."""
    found = {one.metadata["Name"]: one.version.partition("+")[0] for one in distributions()}
    return {canonicalize_name(name): version for name, version in found.items() if name}


if __name__ == "__main__":
    problems = affected(locked()) + affected(installed())
    print("\n".join(problems) or f"{len(locked())} locked and {len(installed())} installed: clean")
    sys.exit(bool(problems))
