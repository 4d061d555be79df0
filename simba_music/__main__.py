"""Entry of the command line: runs one command, and says in a line what a user can mend."""

import sys

import typer

from simba_music.cli.commands import root
from simba_music.errors import UserError
from simba_music.errors.causes import cause
from simba_music.errors.incidents import user_message
from simba_music.errors.logs import configure
from simba_music.settings import data_folder, settings
from simba_music.settings.process import prepare_libraries

INTERRUPTED = 130  # what Typer ends with after Ctrl-C


def main(argv: list[str] | None = None) -> int:
    """Run one command; what a user can mend prints its message and returns 2, a fault of ours 1."""
    prepare_libraries()
    try:
        found = settings()
        configure(found.log, found.log_prompts, data_folder())
        typer.main.get_command(root).main(args=argv, prog_name="simba-music")
    except SystemExit as end:  # Typer's way of ending, whatever the outcome
        if isinstance(end.code, str):
            raise
        if end.code == INTERRUPTED:
            print("simba-music: stopped. What is finished is kept; run it again.", file=sys.stderr)
        return end.code or 0
    except Exception as error:
        print(f"simba-music: {user_message(error)}", file=sys.stderr)
        return 2 if isinstance(error, UserError) or cause(error) else 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
