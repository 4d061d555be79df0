"""What is installed: bounds with reasons, the lowest versions, the Space's own pins."""

import re
import tomllib
from pathlib import Path

import pytest
from audit import affected
from lock import locked, roots
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from simba_music.publishing.space import requirements

ROOT = Path(__file__).parent.parent
RUNTIME = ROOT / "requirements.txt"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
TESTED = ("train", "postgres")  # the extras whose lower bounds tests/lowest.txt has


def named(text):
    """Requirements by name, of lines that may be comments."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {found.name: found for found in map(Requirement, lines)}


def bound(requirement, *operators):
    """The version beside one of these operators, None where there is none."""
    found = [s.version for s in requirement.specifier if s.operator in operators]
    return Version(found[0]) if found else None


def test_the_space_and_requirements_pin_the_same_gradio():
    readme = (ROOT / "README.md").read_text()
    space = re.search(r"^sdk_version: ['\"]?([\d.]+)", readme, re.MULTILINE)
    assert space and Version(space[1]) == bound(named(RUNTIME.read_text())["gradio"], "==")


def test_what_does_not_install_beside_cpu_torch_is_an_extra():
    runtime = named(RUNTIME.read_text())
    assert str(runtime["torch"].specifier) == "<2.13.1,>=2.8"
    assert not {"torchaudio", "mamba-ssm", "causal-conv1d", "encodec"} & set(runtime)
    assert "mamba-ssm" in named("\n".join(EXTRAS["gpu"]))
    assert "encodec" in named("\n".join(EXTRAS["encodec"]))


@pytest.mark.fault("S6", "upper bounds everywhere")
def test_every_requirement_has_both_bounds_and_a_reason():
    """A reason is a comment on the line above."""
    found = [RUNTIME.read_text(), (ROOT / "pyproject.toml").read_text()]
    names = {*named(found[0]), *(name for e in EXTRAS.values() for name in named("\n".join(e)))}
    for name in names - {"simba-music"}:
        lines = [
            (above, line)
            for text in found
            for above, line in zip(text.splitlines(), text.splitlines()[1:], strict=False)
            if re.match(rf'\s*"?{re.escape(name)}[\[<>=]', line)
        ]
        assert len(lines) == 1, f"{name} stands in more than one place: {lines}"
        above, line = lines[0]
        assert above.strip().startswith("#"), f"{name} has no reason above it"
        requirement = Requirement(line.strip().strip('",'))
        pinned = bound(requirement, "==")
        assert pinned or (bound(requirement, ">=") and bound(requirement, "<")), line


def test_the_lowest_versions_are_the_lower_bounds():
    bounded = named(RUNTIME.read_text())
    for extra in TESTED:
        bounded |= named("\n".join(EXTRAS[extra]))
    bounded["pytest"] = named("\n".join(EXTRAS["dev"]))["pytest"]
    lowest = named((ROOT / "tests" / "lowest.txt").read_text())
    wanted = {name: bound(found, ">=") for name, found in bounded.items()}
    del wanted["torch"], wanted["gradio"]  # as lowest.txt says, and pinned
    assert {name: bound(found, "==") for name, found in lowest.items()} == wanted


def test_setuptools_and_a_space_read_the_same_requirements():
    """Both have readers of their own, and the file has comments."""
    from setuptools.config.pyprojecttoml import read_configuration

    read = read_configuration(ROOT / "pyproject.toml")["project"]["dependencies"]
    wanted = named(RUNTIME.read_text())
    assert named("\n".join(read)) == wanted == named(requirements("cpu-basic"))
    zero = named(requirements("zero-a10g"))
    assert str(zero.pop("torch").specifier) == "<2.12,>=2.8"
    assert zero == {name: found for name, found in wanted.items() if name != "torch"}


@pytest.mark.fault("S6", "a lock file that holds all that is installed, within the bounds")
def test_the_lock_file_holds_every_requirement_within_its_bounds():
    held = locked()
    for requirement in roots():
        name = canonicalize_name(requirement.name)
        assert name in held, f"{name} is not locked: run `python tests/lock.py`"
        assert requirement.specifier.contains(held[name]), f"{name} {held[name]}"
    assert all(Version(version).local is None for version in held.values())
    run = (ROOT / ".ci" / "run").read_text()
    assert "LOCK=requirements-lock.txt" in run and "make audit" in run


@pytest.mark.fault("S6", "an audit without a network")
def test_no_locked_version_has_a_known_advisory_and_one_that_has_is_found():
    assert affected(locked()) == []
    (found,) = affected({"h11": "0.14.0", "numpy": "1.0"})
    assert "CVE-2025-43859" in found


@pytest.mark.fault("S6", "SECURITY.md says what is promised")
def test_security_md_says_what_is_promised():
    said = (ROOT / "SECURITY.md").read_text()
    for heading in ("What is promised", "What is not", "Supply chain", "Report a problem"):
        assert f"## {heading}" in said
