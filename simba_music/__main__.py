"""Entry of the command line: runs one command, and says in a line what a user can mend."""

import errno
import logging
import sys

import typer

from simba_music.cli.commands import root
from simba_music.errors import UserError
from simba_music.settings import prepare_libraries

INTERRUPTED = 130  # what Typer ends with after Ctrl-C


def main(argv: list[str] | None = None) -> int:
    """Run one command; bad input prints its message and returns 2."""
    prepare_libraries()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    # The app asks itself whether it is up; and addresses of downloads are signed.
    for name in ("httpx", "httpx2", "httpcore", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # our errors say what failed
    try:
        typer.main.get_command(root).main(args=argv, prog_name="simba-music")
    except SystemExit as end:  # Typer's way of ending, whatever the outcome
        if isinstance(end.code, str):
            raise
        if end.code == INTERRUPTED:
            print("simba-music: stopped. What is finished is kept; run it again.", file=sys.stderr)
        return end.code or 0
    except UserError as error:
        print(f"simba-music: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print(
            f"simba-music: the disk is full ({error.filename or 'no space left'}). Nothing is half "
            "written; make room and run the same command again.",
            file=sys.stderr,
        )
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
