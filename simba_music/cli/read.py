"""The read command: what is read from a prompt, and how well that goes for a file of prompts."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simba_music.cli.generate import Draw
from simba_music.cli.options import Left, Right, example, new_group

if TYPE_CHECKING:
    from simba_music.conditioning.reading.prompt import Reading
    from simba_music.generation.loaded_models import Reader

commands = new_group()
EMPTY = "-"


@commands.command(epilog=example('read "sad piano in a minor, 120-130 bpm, no drums" --json'))
def read(
    prompt: Annotated[str, typer.Argument(help="In words; default none, see --file.")] = "",
    *,
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.jsonl",
            help="Prompts with what should be read, one object a line: prints precision and recall "
            "of every condition; default none.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object; default lines of text.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of what is drawn, from 0.")] = 0,
    draw: Draw = None,
    left: Left,
    right: Right,
) -> None:
    """Print what is read from a prompt, what is drawn, and what cannot be done."""
    from simba_music.errors import RequestError
    from simba_music.generation.loaded_models import Reader
    from simba_music.settings import settings

    if bool(prompt.strip()) == (file is not None):
        raise RequestError("Give a prompt, or --file with prompts, and not both.")
    reader = Reader.of_checkpoints([left, right])
    if file is not None:
        _measure(reader, file, as_json)
        return
    drawn = settings().draw if draw is None else draw
    found = reader.read(prompt, seed, drawn)
    print(json.dumps(found.as_dict(), ensure_ascii=False) if as_json else _lines(found))


def _lines(found: "Reading") -> str:
    """A reading for people, a line a field."""
    tempo = "" if found.tempo is None else f"{found.tempo:g} bpm"
    drawn = dict(found.drawn)
    if "tempo" in drawn:
        drawn["tempo"] = f"{drawn['tempo']:g} bpm"
    said = {
        "wanted": ", ".join(found.wanted),
        "denied": ", ".join(found.denied),
        "tempo": tempo,
        "key": found.key,
        "metre": found.metre,
        "chords": " ".join(found.chords),
        "cannot": "; ".join(found.cannot),
        "note": found.note,
        "drawn": ", ".join(map(str, drawn.values())),
    }
    return "\n".join(f"{name:7} {value or EMPTY}" for name, value in said.items())


def _measure(reader: "Reader", file: Path, as_json: bool) -> None:
    from simba_music.conditioning.reading.measure import measure, read_expected
    from simba_music.errors import RequestError

    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"Cannot read {file}: {error}. Give a JSONL file in UTF-8.") from error
    found = measure(read_expected(text, file.name), lambda prompt: reader.parse(prompt))
    if as_json:
        rows = {
            name: {"precision": one.precision, "recall": one.recall, **one._asdict()}
            for name, one in found.items()
        }
        print(json.dumps(rows, ensure_ascii=False))
        return
    print(f"{'condition':10} precision recall  right wrong missed")
    for name, one in found.items():
        print(
            f"{name:10} {one.precision:9.3f} {one.recall:6.3f} {one.right:6} {one.wrong:5} "
            f"{one.missed:6}"
        )
    for name, one in found.items():
        for mistake in one.mistakes:
            print(f"{name}: {mistake}")
