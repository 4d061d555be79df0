"""Incidents: what fails gets an id, which the user sees and by which the log explains it."""

import logging
import secrets

from simba_music.errors import UserError
from simba_music.errors.causes import cause

logger = logging.getLogger(__name__)

UNKNOWN = "This failed for a reason that is not known. Try again."


def new_incident() -> str:
    """A name for one failure: eight hexadecimal digits."""
    return secrets.token_hex(4)


def record(error: BaseException, incident: str | None = None) -> str:
    """Write an error with all that led to it into the log; its incident's id."""
    incident = incident or new_incident()
    logger.error(
        "incident %s: %s", incident, type(error).__name__, exc_info=error,
        extra={"incident": incident},
    )  # fmt: skip
    return incident


def user_message(error: BaseException) -> str:
    """An error in a user's words: what happened, what to do next, and the incident in the log.

    The text of a `UserError` stays as it is, and needs no log.
    """
    if isinstance(error, UserError):
        return str(error)
    return f"{cause(error) or UNKNOWN} (Incident {record(error)}; the log says more.)"
