import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from simba_music.__main__ import main
from simba_music.cli.commands import root

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "gradio", "numpy", "huggingface_hub", "sqlalchemy")


def walk(command, path=()):
    """Every command and group, with the words that lead to it."""
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from walk(inner, (*path, name))


COMMANDS = dict(walk(typer.main.get_command(root)))
LEAVES = {path: found for path, found in COMMANDS.items() if not hasattr(found, "commands")}


def in_a_process(code, **environment):
    kept = {name: said for name, said in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=kept | environment, check=True
    ).stdout


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_ends_with_an_example_that_the_command_takes(path, capsys):
    for option in ("-h", "--help"):
        assert main([*path, option]) == 0
        last = capsys.readouterr().out.rstrip().splitlines()[-1].strip()
    assert last.startswith(" ".join(["Example: simba-music", *path]))
    _, *words = shlex.split(last.removeprefix("Example: "))
    named = path
    while named not in LEAVES:  # the example of a group is one of its commands
        named = (*named, words[len(named)])
    assert words[: len(named)] == list(named)
    LEAVES[named].make_context("simba-music", words[len(named) :])


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_option_says_its_default_and_range(path):
    command = LEAVES[path]
    context = command.make_context("simba-music", [], resilient_parsing=True)
    for option in command.get_params(context):
        if "--help" in option.opts:
            continue
        _, said = option.get_help_record(context)
        assert option.help, option.name
        assert "required" in said or "default" in said, f"{option.name}: {said}"
        if getattr(option, "min", None) is not None:
            assert "<=" in said or ">=" in said, f"{option.name}: {said}"


def test_help_loads_nothing_heavy():
    code = (
        "import sys\n"
        "from simba_music.__main__ import main\n"
        f"for path in {[*COMMANDS]!r}:\n"
        "    assert main([*path, '--help']) == 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    assert in_a_process(code).splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "words",
    [
        ["generate", "calm", "--threads", "3"],
        ["train", "lm", "--corpus", "c", "--out", "o", "--threads", "3"],
    ],
    ids=lambda words: words[0],
)
@pytest.mark.parametrize("said", [{}, {"OMP_NUM_THREADS": "2"}], ids=["unset", "set"])
def test_openmp_is_told_before_torch_is_imported(words, said):
    code = (
        "import os, sys\n"
        "class Spy:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch':\n"
        "            print(os.environ.get('OMP_NUM_THREADS'), flush=True)\n"
        "            os._exit(0)\n"
        "sys.meta_path.insert(0, Spy())\n"
        "from simba_music.__main__ import main\n"
        f"main({words!r})\n"
    )
    assert in_a_process(code, **said) == said.get("OMP_NUM_THREADS", "3") + "\n"


@pytest.mark.parametrize("words", [[], ["study"], ["hub"], ["corpus"]])
def test_a_bare_group_prints_its_help(words, capsys):
    assert main(words) == 2
    printed = capsys.readouterr()
    assert "Commands:" in printed.out + printed.err and "Example:" in printed.out + printed.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["generat"], "No such command 'generat'"),
        (["app", "--colour", "red"], "No such option"),
        (["app", "--port", "70000"], "'--port'"),
        (["app", "--threads", "0"], "'--threads'"),
        (["app", "--device", "gpu"], "'gpu' is none of auto, cpu, cuda, cuda:N and mps"),
        (["search", "runs", "--device", "auto"], "'auto' is none of cpu, cuda, cuda:N and mps"),
        (["generate", "calm", "--seed", "one"], "'--seed'"),
        (["corpus", "render", "runs", "--sample-rate", "44100"], "'24000', '32000'"),
        (["train", "lm", "--corpus", "runs"], "Missing option '--out'"),
        (["study", "report"], "Missing argument"),
    ],
)
def test_a_usage_error_exits_with_2_and_says_what_is_wrong(words, said, capsys):
    assert main(words) == 2
    printed = capsys.readouterr()
    assert said in printed.err and "-h" in printed.err and "Traceback" not in printed.err


def test_an_unknown_preset_of_training_names_those_there_are(tmp_path, capsys):
    for stage in ("codec", "lm", "tagger"):
        assert main(["train", stage, "--corpus", "c", "--out", str(tmp_path), "--preset", "x"]) == 2
        assert "No preset 'x'; there are" in capsys.readouterr().err
