"""The soak command: the app under visitors for some time, on this machine alone."""

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from simba_music.cli.options import Device, Left, Right, Scorer, example, new_group
from simba_music.errors import UserError
from simba_music.generation.streaming.ending import ended_by_sigterm
from simba_music.settings.process import environment

commands = new_group()

_UP_S, _END_S = 300.0, 20.0  # to be up, and to end, in s


@contextlib.contextmanager
def _serving(folder: Path, words: list[str]) -> Iterator[tuple[str, int]]:
    """The app on loopback in a process of its own, all that it writes in `folder`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    line = [sys.executable, "-m", "simba_music", "app", "--port", str(port), *words]
    own = environment(
        SIMBA_MUSIC_DATA=str(folder / "data"),
        GRADIO_TEMP_DIR=str(folder / "clips"),
        TMPDIR=str(folder),
        GRADIO_SERVER_NAME="127.0.0.1",
    )
    server = subprocess.Popen(line, env=own)
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + _UP_S
        while True:
            if server.poll() is not None or time.monotonic() > until:
                raise UserError("The app did not come up; its own lines above say why.")
            try:
                urllib.request.urlopen(url, timeout=2).close()
                break
            except OSError:
                time.sleep(0.3)
        yield url, server.pid
    finally:
        server.terminate()
        try:
            server.wait(_END_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@commands.command(epilog=example("soak --minutes 30 --clients 8 --out runs/soak.json"))
def soak(
    *,
    minutes: Annotated[
        float, typer.Option(min=0.1, max=600, help="How long, from 0.1 to 600 minutes.")
    ] = 30.0,
    clients: Annotated[
        int, typer.Option(min=1, max=64, help="Visitors at once, from 1 to 64.")
    ] = 8,
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="JSON file that the figures are written to.")
    ] = Path("runs/soak.json"),
    page: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Page whose <!-- soak --> table is written too; default none."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of what visitors do, from 0.")] = 0,
    left: Left,
    right: Right,
    scorer: Scorer,
    device: Device,
) -> None:
    """Serve the app on loopback to visitors for some time; print errors, memory, latencies."""
    from simba_music.cli.machine import endurance

    words = ["--left", left, "--right", right, "--scorer", scorer, "--device", device]
    with tempfile.TemporaryDirectory(prefix="simba-music-soak-") as folder:
        with ended_by_sigterm(), _serving(Path(folder), words) as (url, process):
            record = endurance.soak(url, process, Path(folder), minutes, clients, print, seed)
    endurance.keep(record, out)
    if page is not None:
        endurance.fill(page, record)
    print(endurance.table(record))
    if record["errors"]:
        raise UserError(
            f"{record['errors']} visits ended in an error, the first: {record['first_errors'][0]}. "
            f"All figures are in {out}."
        )
