"""Errors: what was got, what is allowed, what to do next; their causes, incidents and the log."""


class UserError(Exception):
    """Something the user can mend; its text is the whole message, and the exit code is 2."""


class CheckpointError(UserError):
    """A checkpoint that cannot be found or must not be loaded."""


class RequestError(UserError):
    """A generation request outside what is allowed."""


class EngineError(UserError):
    """An engine, or its dtype, that this machine or this model cannot have."""
