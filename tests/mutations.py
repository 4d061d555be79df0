"""Mutation check: each guard is broken in turn, in a copy, and a test must fail.

`make mutation-test` runs all; `python tests/mutations.py 3 7` the third and the seventh, and
`every 3 1` of every three the one after the first. A guard whose words have changed is an error:
write it here anew.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
AT_ONCE = 2


class Mutation(NamedTuple):
    """Words of a guard in a module, what is put in their place, and tests that must notice."""

    module: str
    guard: str
    broken: str
    tests: str


MUTATIONS = (
    Mutation(
        "hub/fetch.py",
        "if digest_like(path, file.digest) == file.digest:",
        "if True:",
        "hub/test_hub.py -k damaged_bytes",
    ),
    Mutation(
        "hub/lookup.py",
        'if ".." in parts or',
        'if "..." in parts or',
        "hub/test_hub.py -k cannot_leave",
    ),
    Mutation(
        "hub/lookup.py",
        "if remote.size > largest_download():",
        "if remote.size < 0:",
        "hub/test_hub.py -k size_is_limited",
    ),
    Mutation(
        "hub/lookup.py",
        'if not any(n.endswith(".safetensors") for n in names):',
        "if not names:",
        "hub/test_hub.py -k pickled",
    ),
    Mutation(
        "hub/patience.py",
        "if self.left_s <= 0:",
        "if self.left_s <= -60:",
        "hub/test_hub_faults.py -k hangs_is_given_up",
    ),
    Mutation(
        "hub/weights.py",
        'if start.startswith(mark) and not (len(start) > 8 and start[8:9] == b"{"):',
        "if not start:",
        "models/test_checkpoint_kinds.py -k no_weights_is_named",
    ),
    Mutation(
        "hub/weights.py",
        "    if found != wanted:",
        "    if not found:",
        "models/test_damage.py -k flipped",
    ),
    Mutation(
        "files/__init__.py",
        "    if found != expected:",
        "    if not found:",
        "models/test_codec.py -k altered",
    ),
    Mutation(
        "models/checkpoint.py",
        "if not torch.isfinite(tensor.float()).all():",
        "if tensor is None:",
        "models/test_checkpoint.py -k nan_weights",
    ),
    Mutation(
        "models/text_encoder.py",
        "and ref.max_tokens > places:",
        "and ref.max_tokens < 0:",
        "models/test_damage.py -k more_text_tokens",
    ),
    Mutation(
        "files/texts.py",
        'if kind == "Cs" or (kind == "Cc" and character not in _SPACES):',
        'if kind == "Cs" and not character:',
        "files/test_texts.py -k cannot_be_stored",
    ),
    Mutation(
        "generation/request.py",
        "if isinstance(value, bool) or not isinstance(value, int | float):",
        "if not isinstance(value, int | float):",
        "generation/test_request.py",
    ),
    Mutation(
        "generation/request.py",
        "if count > limits.max_text_tokens:",
        "if count < 0:",
        "generation/test_request.py",
    ),
    Mutation(
        "generation/comparison.py",
        "        check_memory()\n",
        "",
        "generation/test_watch.py -k ceilings",
    ),
    Mutation(
        "generation/streaming/ending.py",
        "                arrived.set()\n                ending.run()\n",
        "                arrived.set()\n",
        "listening/test_ending.py -k whatever",
    ),
    Mutation(
        "listening/votes/ballot.py",
        "if seconds(stretches) < needed:",
        "if seconds(stretches) < 0:",
        "listening/test_trials.py -k without_listening",
    ),
    Mutation(
        "listening/votes/ballot.py",
        "if total > waited_s + CLOCK_SLACK_S:",
        "if total < 0:",
        "listening/test_trials.py -k without_listening",
    ),
    Mutation(
        "listening/trials.py",
        "or not hmac.compare_digest(binding, self._binding(name, trial.flipped))",
        "or not binding",
        "listening/test_trials.py -k forged",
    ),
    Mutation(
        "listening/trials.py",
        "and not final and not is_final(self.database, vote):",
        "and vote.id is None:",
        "listening/test_trials.py -k revealed",
    ),
    Mutation(
        "errors/logs.py",
        "        text = pattern.sub(instead, text)\n",
        "        pass\n",
        "errors/test_logs.py -k nobodys_business",
    ),
)


def check() -> None:
    """Every guard stands in its module, once.

    Raises:
        AssertionError: Names the one that does not.
    """
    for each in MUTATIONS:
        count = (ROOT / "simba_music" / each.module).read_text().count(each.guard)
        assert count == 1, f"{each.module} has {each.guard!r} {count} times, not once"


def copied(folder: Path) -> None:
    """What the tests of a guard need, without what they only read."""
    skip = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in ("simba_music", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=skip)
    shutil.copyfile(ROOT / "pyproject.toml", folder / "pyproject.toml")
    for name in ("checkpoints", "docs"):
        (folder / name).symlink_to(ROOT / name)


def survives(each: Mutation) -> bool:
    """Whether the tests pass although the guard is broken."""
    with tempfile.TemporaryDirectory(prefix="simba-music-mutation-") as name:
        folder = Path(name)
        copied(folder)
        module = folder / "simba_music" / each.module
        module.write_text(module.read_text().replace(each.guard, each.broken))
        file, *rest = each.tests.split(" ", 1)
        chosen = rest[0].split(" ", 1) if rest else []
        line = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-n0"]
        done = subprocess.run(
            [*line, f"tests/{file}", *chosen],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": name, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=600,
        )
    # 1: a test has failed. Any other code says that none was run.
    assert done.returncode in (0, 1), f"{each.module}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.returncode == 0


def main(numbers: list[str]) -> int:
    """Break the guards; 0 if a test noticed each."""
    check()
    if numbers[:1] == ["every"]:
        step, number = map(int, numbers[1:])
        chosen = list(MUTATIONS[number % step :: step])
    else:
        chosen = [MUTATIONS[int(n) - 1] for n in numbers] or list(MUTATIONS)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        alive = [
            each for each, lives in zip(chosen, pool.map(survives, chosen), strict=True) if lives
        ]
    for each in alive:
        print(f"NOBODY NOTICED: {each.module}: {each.guard}")
    print(f"{len(chosen) - len(alive)} of {len(chosen)} broken guards were noticed")
    return bool(alive)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
