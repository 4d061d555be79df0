"""Visitors: loading what a stranger has named, without the host's token, folders and cache."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_for_stranger = ContextVar("for_stranger", default=False)


@contextmanager
def for_stranger() -> Iterator[None]:
    """While something is loaded whose name came from outside.

    The Hub is then asked without a token, so that nobody reaches what only the host may read. No
    folder of this machine is looked at, and nothing that was downloaded before counts unless the
    Hub shows it to everyone now.
    """
    before = _for_stranger.set(True)
    try:
        yield
    finally:
        _for_stranger.reset(before)


def is_for_stranger() -> bool:
    """Whether what is being loaded here and now was named by a stranger."""
    return _for_stranger.get()


def token() -> bool | None:
    """What `huggingface_hub` takes as token: None for the host's, False for none."""
    return False if is_for_stranger() else None
