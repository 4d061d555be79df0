"""UserError: what was got, what is allowed, what to do next; shown as it is, exit code 2."""


class UserError(Exception):
    """Something the user can mend; its text is the whole message."""


class CheckpointError(UserError):
    """A checkpoint that cannot be found or must not be loaded."""


class RequestError(UserError):
    """A generation request outside what is allowed."""


class EngineError(UserError):
    """An engine, or its dtype, that this machine or this model cannot have."""
