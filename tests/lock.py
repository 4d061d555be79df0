"""requirements-lock.txt: the versions that the tests passed on, of all that is installed with us.

`.venv-ray/bin/python tests/lock.py` writes it from what is installed there and beneath, in .venv;
CI installs on it (`make LOCK=requirements-lock.txt test`). It is for the newest tested versions
what lowest.txt is for the oldest.
"""

import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements-lock.txt"
EXTRAS = ("train", "postgres", "scores", "ray", "dev")
HEAD = """\
# Written by `python tests/lock.py`: versions that the tests passed on, as constraints for
# `pip install -e .[dev] --constraint requirements-lock.txt`. CI installs these.
"""


def roots() -> list[Requirement]:
    """What the package and the extras that CI installs ask for."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [line for line in lines if line and not line.startswith("#")]
    wanted += [line for extra in EXTRAS for line in project["optional-dependencies"][extra]]
    return [r for r in map(Requirement, wanted) if canonicalize_name(r.name) != "simba-music"]


def closure() -> dict[str, str]:
    """Version by name of the roots and all that they ask for, as they are installed here."""
    found, seen, waiting = dict[str, str](), set(), roots()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if (name, *sorted(requirement.extras)) in seen:
            continue
        seen.add((name, *sorted(requirement.extras)))
        try:
            here = distribution(name)
        except PackageNotFoundError:
            continue  # for another system or Python
        found[name] = here.version.partition("+")[0]
        for needed in map(Requirement, here.requires or []):
            asked = requirement.extras or {""}
            if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in asked):
                waiting.append(needed)
    return dict(sorted(found.items()))


def locked() -> dict[str, str]:
    """Version by name, as the file has them."""
    lines = [line for line in LOCK.read_text().splitlines() if line and line[0] != "#"]
    return dict(line.split("==") for line in lines)


if __name__ == "__main__":
    LOCK.write_text(HEAD + "".join(f"{name}=={version}\n" for name, version in closure().items()))
    print(f"{len(closure())} versions in {LOCK.name}")
