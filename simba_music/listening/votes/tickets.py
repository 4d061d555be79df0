"""Tickets: what a browser shows to vote on a pair, signed here, and for how long it is good."""

from typing import Any

from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer

from simba_music.listening.tables import Trial, now
from simba_music.listening.votes.ballot import VoteError

TICKET_LIFE_S = 2 * 3600


def opened(tickets: URLSafeTimedSerializer, ticket: str) -> tuple[str, str, str]:
    """The trial, the listener and the binding of a ticket.

    Raises:
        VoteError: If the ticket is forged, altered or too old.
    """
    try:
        found: list[Any] = tickets.loads(ticket, max_age=TICKET_LIFE_S)
        name, listener, binding = found
    except SignatureExpired as error:
        raise VoteError(
            f"This pair was shown more than {TICKET_LIFE_S / 3600:g} h ago and can no longer "
            "be voted on. Ask for the next pair."
        ) from error
    except (BadSignature, ValueError, TypeError) as error:
        raise VoteError("This ticket was not issued here. Ask for the next pair.") from error
    return name, listener, binding


def is_good(trial: Trial) -> bool:
    """Whether the ticket of a trial that was shown before can still be voted with."""
    return (now() - trial.created).total_seconds() < TICKET_LIFE_S
