"""The release command: all that the bundled weights stand behind, made anew in one go."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from simba_music.cli.options import example, new_group
from simba_music.errors import RequestError, UserError
from simba_music.files import read_json, sha256, write_json

commands = new_group()
PROMPTS = Path("docs/gallery-prompts.txt")


def plan(
    corpus: Path | None, real: Path | None, runs: tuple[Path, Path] | None
) -> dict[str, list[str]]:
    """The commands of a release in their order, by the name of what they make.

    Args:
        corpus: rendered corpus for the codec's mel floor.
        real: imported recordings, for the codec.
        runs: of SiMBA and of the Transformer, whose snapshots become `steps.json`.
    """
    codec = [
        *(["--corpus", str(corpus)] if corpus else []),
        *(["--real", str(real)] if real else []),
    ]
    found = {
        "gallery": ["gallery", str(PROMPTS)],
        "codec": ["evaluate", "codec", *codec],
        "scorer": ["evaluate", "scorer"],
        "prompts": ["evaluate", "prompts"],
        "takes": ["evaluate", "takes"],
        "clips": ["evaluate", "clips"],  # with samples and their spectrograms
    }
    if runs:
        simba, transformer = map(str, runs)
        own = ["--simba", simba, "--transformer", transformer]
        found["steps"] = ["steps", str(PROMPTS), *own]
    return found | {"report": ["report"]}


def weights(folder: Path) -> dict[str, str]:
    """SHA-256 of all weights in a folder of checkpoints, by name.

    Raises:
        RequestError: If there are none.
    """
    found = {path.parent.name: sha256(path) for path in sorted(folder.glob("*/model.safetensors"))}
    if not found:
        raise RequestError(f"{folder} has no checkpoints. Run this where README.md and app.py are.")
    return found


def carry_out(steps: dict[str, list[str]], made: dict[str, str], state: Path) -> None:
    """Run commands, but for those that `state` says were done with the same weights and words.

    Args:
        steps: of `plan`.
        made: of `weights`.
        state: file that a step is added to once it is done.

    Raises:
        UserError: If a command fails; a later run begins with it.
    """
    done = read_json(state) if state.exists() else {}
    for name, words in steps.items():
        stamp = {"words": words, "weights": made}
        if name != "report" and done.get(name) == stamp:
            print(f"{name}: done before, with these weights")
            continue
        print(f"{name}: simba-music {' '.join(words)}", flush=True)
        began = time.monotonic()
        run(words)
        done[name] = stamp
        state.parent.mkdir(parents=True, exist_ok=True)
        write_json(state, done)
        print(f"{name}: {(time.monotonic() - began) / 60:.1f} min", flush=True)


def run(words: Sequence[str]) -> None:
    """One command in a process of its own, so that its memory is freed.

    Raises:
        UserError: If it fails.
    """
    ended = subprocess.run([sys.executable, "-m", "simba_music", *words], check=False)
    if ended.returncode:
        raise UserError(
            f"`simba-music {' '.join(words)}` ended with {ended.returncode}; its own lines above "
            "say why. What was done before it is kept: mend it and run the release again."
        )


@commands.command(epilog=example("release --real runs/mine --dry-run"))
def release(
    *,
    corpus: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Rendered corpus for the codec's mel floor; default none."
        ),
    ] = None,
    real: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Imported recordings for the codec; default none."),
    ] = None,
    simba: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help="A train lm --out, of SiMBA, for the clips by step; default none."
        ),
    ] = None,
    transformer: Annotated[
        Path | None, typer.Option(metavar="RUN", help="The same, of the Transformer; default none.")
    ] = None,
    state: Annotated[
        Path, typer.Option(metavar="FILE", help="What is done already; delete it to begin anew.")
    ] = Path("runs/release.json"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the commands only; default no.")
    ] = False,
) -> None:
    """Make gallery, clips by step, samples, REPORT.json and all tables anew, after new weights."""
    if (simba is None) != (transformer is None):
        raise RequestError("Clips by step need both --simba and --transformer, or neither.")
    steps = plan(corpus, real, (simba, transformer) if simba and transformer else None)
    made = weights(Path("checkpoints"))
    if dry_run:
        print("\n".join(f"simba-music {' '.join(words)}" for words in steps.values()))
        return
    carry_out(steps, made, state)
