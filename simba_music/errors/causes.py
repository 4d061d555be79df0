"""Causes: what an error of a library or of the system means to a user, and what to do next."""

import errno
from collections.abc import Iterator

_FULL = (errno.ENOSPC, errno.EDQUOT)
_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)
_NO_FOLDER = (errno.ENOTDIR, errno.EEXIST, errno.ENOENT)
# What torch and native libraries say of memory in an error that has no type of its own.
_NO_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "std::bad_alloc",
    "cannot allocate memory",
    "out of memory",
)
NO_MEMORY = (
    "There is not enough memory for this. What was begun is let go; ask for a shorter clip or for "
    "fewer takes, or try again when less runs at the same time."
)
NO_DISK = (
    "The disk is full. Nothing is half written; make room, then do the same again: what is "
    "finished is kept."
)
_DATABASE = (  # words of a driver, and what they mean
    (
        ("can't locate revision",),
        "The database of the votes was written by a newer version of SiMBA Music, so it is not "
        "opened. Install that version, or name another database by DATABASE_URL.",
    ),
    (
        ("disk is full", "no space left"),
        f"A vote could not be stored. {NO_DISK}",
    ),
    (
        ("file is not a database", "malformed", "disk image", "file is encrypted"),
        "The database of the votes is damaged, so it is not opened and nothing is written to it. "
        "Put a copy of it back, or move it away to begin anew.",
    ),
    (
        ("readonly database", "read-only", "unable to open database file"),
        "The database of the votes cannot be opened for writing. Check its folder and whose it "
        "is, or name another by DATABASE_URL or SIMBA_MUSIC_DATA.",
    ),
    (
        ("locked",),
        "The database of the votes is busy with another program for too long. Try again; close "
        "what else has it open.",
    ),
)
_NO_DATABASE = (
    "The database of the votes does not answer. Check that it runs and that DATABASE_URL is right, "
    "then try again; what was confirmed is kept."
)


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and what led to it, the outermost first."""
    at: BaseException | None = error
    seen = set[int]()
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield at
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)


def is_memory(error: BaseException) -> bool:
    """Whether an error says that memory has run out, of the machine or of its accelerator."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in said for words in _NO_MEMORY)


def is_full_disk(error: BaseException) -> bool:
    """Whether an error says that a disk, or its quota, is full."""
    return isinstance(error, OSError) and error.errno in _FULL


def _of_a_database(error: BaseException) -> str | None:
    """What an error of SQLAlchemy or Alembic means, known by where its type comes from."""
    kinds = [f"{kind.__module__}.{kind.__name__}" for kind in type(error).__mro__]
    ours = ("sqlalchemy.exc.DBAPIError", "sqlalchemy.exc.TimeoutError", "alembic.util.exc.CommandE")
    if not any(kind.startswith(ours) for kind in kinds):
        return None
    said = str(error).lower()
    for words, meaning in _DATABASE:
        if any(word in said for word in words):
            return meaning
    lost = any(kind.endswith((".OperationalError", ".TimeoutError")) for kind in kinds)
    return _NO_DATABASE if lost else None


def _of_the_system(error: OSError) -> str | None:
    if error.errno in _FULL:
        return NO_DISK
    where = f"{error.filename} " if error.filename else "A file or folder that is needed "
    if error.errno in _CLOSED:
        return (
            f"{where}cannot be written or read: {error.strerror}. Give this user the right to, or "
            "name another folder (SIMBA_MUSIC_DATA, --out)."
        )
    if error.errno in _NO_FOLDER:
        return (
            f"{where}cannot be used: {error.strerror}. Name one that is there, or that can be made "
            "(SIMBA_MUSIC_DATA, --out, TMPDIR)."
        )
    if error.errno == errno.EMFILE:
        return "Too many files are open at once. Try again in a moment; `ulimit -n` raises it."
    return None


def cause(error: BaseException) -> str | None:
    """What an error means and what to do next, None if only the log can say it."""
    for each in chain(error):
        if is_memory(each):
            return NO_MEMORY
        if isinstance(each, RecursionError):
            return "This is nested too deeply to be read. Use a file or value with fewer levels."
        found = _of_the_system(each) if isinstance(each, OSError) else _of_a_database(each)
        if found is not None:
            return found
    return None
