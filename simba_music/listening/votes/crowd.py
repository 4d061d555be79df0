"""Crowd: votes and names by network, under a salt that dies with the process; doubtful votes."""

import hashlib
import hmac
import ipaddress
import secrets
import threading
import time
from collections import OrderedDict
from datetime import datetime, timedelta

from simba_music.listening.database import Database
from simba_music.listening.tables import Trial, Vote
from simba_music.listening.votes.ballot import CLOCK_SLACK_S, VoteError, seconds, visitor

BUSY_VOTES, BUSY_S = 30, 600  # more than so many votes in so many seconds are looked at first
NETWORK_NAMES = 10  # so many names of one network may vote in that time before it is looked at
NETWORK_JOINS = 60  # new names that one network is given in that time
NETWORKS = 10_000  # that are remembered; then those that were quiet longest are forgotten
# What one household or school has: its addresses differ in the rest.
_PREFIX = {4: 24, 6: 48}


class Crowd:
    """What came from each network lately, in memory alone.

    A network is known by a keyed hash; its key is drawn when the process starts and kept nowhere.
    """

    def __init__(self) -> None:
        self._salt = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._seen = OrderedDict[tuple[str, str], dict[str, tuple[float, str]]]()

    def bucket(self, address: str) -> str:
        """The hash of an address' network: its first 24 bits, or 48 of IPv6."""
        try:
            found = ipaddress.ip_address(address)
            mapped = getattr(found, "ipv4_mapped", None)
            found = mapped or found
            text = str(ipaddress.ip_network(f"{found}/{_PREFIX[found.version]}", strict=False))
        except ValueError:
            text = address
        return hmac.new(self._salt, text.encode(), hashlib.sha256).hexdigest()

    def _note(self, kind: str, what: str, listener: str) -> list[str]:
        """Listeners behind what came of this kind from the visitor's network, this included."""
        address = visitor.get()
        if address is None:
            return []
        now = time.monotonic()
        key = kind, self.bucket(address)
        with self._lock:
            lately = self._seen.setdefault(key, {})
            lately.setdefault(what, (now, listener))  # what is sent again counts once
            for old in [each for each, (at, _) in lately.items() if now - at > BUSY_S]:
                del lately[old]
            self._seen.move_to_end(key)
            while len(self._seen) > NETWORKS:
                self._seen.popitem(last=False)
            return [name for _, name in lately.values()]

    def join(self, name: str) -> None:
        """Note a new name.

        Raises:
            VoteError: If the network has been given too many lately.
        """
        if len(self._note("join", name, name)) > NETWORK_JOINS:
            raise VoteError(
                f"More than {NETWORK_JOINS} new listeners have come from your network in "
                f"{BUSY_S // 60} minutes. Try again in a few minutes."
            )

    def doubts(self, trial: Trial, heard_s: float, database: Database, now: datetime) -> list[str]:
        """Why a vote on a pair that is no study's is looked at before it counts, if at all."""
        found = []
        listener, minutes = trial.listener_id, BUSY_S // 60
        since = now - timedelta(seconds=BUSY_S)
        if database.votes_since(listener, since) >= BUSY_VOTES:
            found.append(f"more than {BUSY_VOTES} votes in {minutes} minutes")
        names = self._note("vote", trial.id, listener)
        if len(names) > BUSY_VOTES:
            found.append(f"more than {BUSY_VOTES} votes of one network in {minutes} minutes")
        if len(set(names)) > NETWORK_NAMES:
            found.append(f"more than {NETWORK_NAMES} names of one network in {minutes} minutes")
        # Pairs can be shown side by side, but nobody hears two of them at a time.
        last = database.last_vote(listener)
        if last is not None and heard_s > (now - last).total_seconds() + CLOCK_SLACK_S:
            found.append("heard more than fits since the vote before")
        return found

    def standing(self, trial: Trial, vote: Vote, database: Database) -> tuple[str, list[str]]:
        """Whether a vote counts, waits to be looked at, or is kept apart; and why."""
        if trial.kind != "normal":
            return "excluded", [trial.kind]
        if trial.battle.origin == "study":  # which has its own number of trials
            return "counted", []
        heard_s = sum(seconds(stretches) for stretches in vote.heard.values())
        reasons = self.doubts(trial, heard_s, database, vote.created)
        return ("pending" if reasons else "counted"), reasons
