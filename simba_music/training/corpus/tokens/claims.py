"""Claims: which process works on a shard, where several machines share a folder.

The claims of a shard NAME are `NAME.claim-0`, `NAME.claim-1` ...: who creates the next one has the
shard, and a file is created by one process alone. A claim whose owner has died grows old, and the
next number may then be taken.
"""

import json
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STALE_S = 120.0  # after which a claim that nobody renewed is void
RENEWALS = 8  # in that time


def _number(claim: Path) -> int:
    return int(claim.name.rpartition("-")[2])


def _claims(folder: Path, name: str) -> list[Path]:
    """Every claim of a shard, the latest last."""
    return sorted(folder.glob(f"{name}.claim-*"), key=_number)


def _void(claim: Path, stale_s: float) -> bool:
    """Whether a claim's owner is gone: a process of this machine by its id, others by the time."""
    try:
        owner = json.loads(claim.read_text())
        made = claim.stat().st_mtime
    except FileNotFoundError:
        return True
    except ValueError:  # is being written
        owner, made = {}, claim.stat().st_mtime
    if owner.get("host") == socket.gethostname() and not _runs(owner["process"]):
        return True
    # By the clock of the file server, which is the one that dated the claim.
    with tempfile.NamedTemporaryFile(dir=claim.parent, prefix=".clock-") as clock:
        return os.stat(clock.name).st_mtime - made > stale_s


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def claimed(folder: Path, name: str, stale_s: float = STALE_S) -> Iterator[bool]:
    """Work on a shard; False where somebody else does.

    The claim is renewed meanwhile, and gone afterwards, whether the work was done or not.
    """
    found = _claims(folder, name)
    if found and not _void(found[-1], stale_s):
        yield False
        return
    own = folder / f"{name}.claim-{_number(found[-1]) + 1 if found else 0}"
    try:
        with own.open("x") as file:
            json.dump({"host": socket.gethostname(), "process": os.getpid()}, file)
    except FileExistsError:  # another was as quick
        yield False
        return
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(stale_s / RENEWALS):
            try:
                os.utime(own)
            except FileNotFoundError:
                return

    thread = threading.Thread(target=renew, name="claim", daemon=True)
    thread.start()
    try:
        yield True
    finally:
        ended.set()
        thread.join()
        for claim in [*found, own]:
            claim.unlink(missing_ok=True)
