"""Blind pairs: equal loudness, hidden sides, proof of listening, one vote, then the reveal."""

import hashlib
import hmac
import secrets
from collections import Counter
from typing import Any

from itsdangerous import BadSignature, URLSafeTimedSerializer

from simba_music import __version__
from simba_music.listening.clip_store import Where, store_of
from simba_music.listening.database import Database
from simba_music.listening.mirror import VoteMirror
from simba_music.listening.pairs import Kind, Origin, Side, keep_pair, read_pair
from simba_music.listening.tables import Battle, Listener, Trial, Vote, new_id, now
from simba_music.listening.votes.ballot import UNDO_S, VoteError, heard_of, needed_s, read_ballot
from simba_music.listening.votes.crowd import Crowd
from simba_music.listening.votes.standing import finish, is_final, so_far
from simba_music.listening.votes.tickets import TICKET_LIFE_S, is_good, opened


class ListeningTest:
    """Shows pairs, checks votes, and knows which side is which."""

    def __init__(self, database: Database, clips: Where, secret: str):
        """Clips are kept in a store, or a folder, by the sha256 of their bytes."""
        self.database, self.clips, self._secret = database, store_of(clips), secret
        self.gallery: str | None = None  # the pairs on offer, see gallery.py
        self.preparing = False  # whether more of them are being decoded
        self.mirror: VoteMirror | None = None
        self.crowd, self.counts = Crowd(), Counter[str]()  # votes by what became of them
        self._tickets = URLSafeTimedSerializer(secret, salt="trial")
        self._names = URLSafeTimedSerializer(secret, salt="listener")
        self._offers = URLSafeTimedSerializer(secret, salt="battle")

    def new_listener(
        self,
        local: bool,
        consent: str | None = None,
        study: str | None = None,
        checks: dict[str, Any] | None = None,
    ) -> str:
        """A signed name for the browser to keep; `checks` were made before the first trial.

        Raises:
            VoteError: See `Crowd.join`.
        """
        self.crowd.join(name := new_id())
        said = {"consent": consent, "study": study, "checks": checks}
        self.database.add(Listener(id=name, created=now(), local=local, **said))
        return self._names.dumps(name)

    def listener_id_of(self, signed: str) -> str:
        """The id of the listener that a browser says it is.

        Raises:
            VoteError: If the name was not signed here.
        """
        valid, name = self._names.loads_unsafe(signed)
        if not valid or self.database.find_listener(str(name)) is None:
            raise VoteError("Your listener's name is not known here. Reload the page.")
        return str(name)

    def add_battle(
        self,
        prompt: str,
        sides: dict[str, Side],
        origin: Origin,
        seed: int,
        sampling: dict[str, Any],
        *,
        study: str | None = None,
        gallery: str | None = None,
        key: str | None = None,
    ) -> Battle:
        """Match a pair and keep it for ever; `sides` has "left" and "right".

        `study` or `gallery` names what it belongs to. One with a `key` is kept once, however many
        processes add it.
        """
        duration_s, known = keep_pair(self.clips, sides)
        battle = Battle(
            id=key or new_id(),
            created=now(),
            app_version=__version__,
            prompt=prompt,
            origin=origin,
            study=study,
            gallery=gallery,
            seed=seed,
            duration_s=duration_s,
            sampling=sampling,
            sides=known,
        )
        self.database.add_battle(battle)
        return battle

    def offer(self, battle: Battle) -> str:
        """A signed name of a battle, for the browser that asked for it to be made."""
        return str(self._offers.dumps(battle.id))

    def show_offered(self, offer: str, listener: str) -> dict[str, Any]:
        """Show a battle that was made for this listener.

        Raises:
            VoteError: If the offer was not made here, or the pair is no longer kept.
        """
        try:
            battle = self.database.battle(self._offers.loads(offer, max_age=TICKET_LIFE_S))
        except BadSignature as error:
            raise VoteError("This pair was not made here. Ask for another.") from error
        if battle is None:
            raise VoteError("This pair is no longer kept. Ask for another.")
        return self.show_once(battle, listener)

    def show_once(self, battle: Battle, listener: str) -> dict[str, Any]:
        """Show a battle, or, to a listener who has left it without a vote, the same trial again.

        Raises:
            VoteError: If the listener has voted on it.
        """
        for trial, vote in self.database.trials_of(listener):
            if trial.battle_id == battle.id and trial.kind == "normal":
                if vote is not None:
                    raise VoteError("You have voted on this pair already. Ask for the next one.")
                if is_good(trial):
                    return self.showing(trial, battle)
        return self.show(battle, listener)

    def left_open(self, listener: str) -> dict[str, Any] | None:
        """The pair that a listener had before them when they left or reloaded the page, if any."""
        shown = self.database.trials_of(listener)
        trial, vote = shown[-1] if shown else (None, None)
        left = trial is not None and vote is None and is_good(trial)
        return self.showing(trial, trial.battle) if trial is not None and left else None

    def unheard(self, listener: str) -> list[str]:
        """Ids of the gallery's pairs that a listener has not voted on, those shown least first."""
        shown = self.database.unvoted(listener, "gallery", self.gallery)
        secrets.SystemRandom().shuffle(shown)
        return [name for name, _ in sorted(shown, key=lambda pair: pair[1])]

    def next_pair(self, listener: str) -> dict[str, Any]:
        """The next pair of the gallery.

        Raises:
            VoteError: If there is none left.
        """
        fresh = self.unheard(listener)
        if not fresh:
            raise VoteError("You have voted on every pair of the gallery. Type a prompt instead.")
        battle = self.database.battle(fresh[0])
        assert battle is not None  # the gallery's are never deleted
        return self.show_once(battle, listener)

    def _binding(self, trial: str, flipped: bool) -> str:
        """Ties a ticket to its sides without saying which they are."""
        return self._digest(f"{trial}:{int(flipped)}")

    def _digest(self, text: str) -> str:
        return hmac.new(self._secret.encode(), text.encode(), hashlib.sha256).hexdigest()

    def show(
        self,
        battle: Battle,
        listener: str,
        kind: Kind = "normal",
        place: int = 0,
        flipped: bool | None = None,
        first: str | None = None,
    ) -> dict[str, Any]:
        """A new trial: everything that the browser gets before the vote, in one piece.

        Sides and the one to play first are drawn by the system's random source, unless `flipped`
        or `first` is given by a study that balances them.
        """
        flipped = bool(secrets.randbits(1)) if flipped is None else flipped
        trial = Trial(
            id=new_id(),
            battle_id=battle.id,
            listener_id=listener,
            created=now(),
            flipped=flipped,
            first=first or secrets.choice("AB"),
            kind=kind,
            place=place,
        )
        self.database.add(trial)
        return self.showing(trial, battle)

    def showing(self, trial: Trial, battle: Battle) -> dict[str, Any]:
        """What the browser gets of a trial, at first and after a reload."""
        # Of a trial, and not of its clips: else their bytes would be known again after a reveal.
        clips = read_pair(self.clips, trial.at(battle), self._digest(f"clips of {trial.id}"))
        binding = self._binding(trial.id, trial.flipped)
        return {
            "ticket": self._tickets.dumps([trial.id, trial.listener_id, binding]),
            "prompt": battle.prompt,
            "duration_s": battle.duration_s,
            "first": trial.first,
            "heard_s": needed_s(battle.duration_s),
            **clips,
        }

    def _trial(self, ticket: str) -> Trial:
        """The trial of a ticket.

        Raises:
            VoteError: If the ticket is forged, altered or too old.
        """
        name, listener, binding = opened(self._tickets, ticket)
        trial = self.database.trial(name)
        if (
            trial is None
            or trial.listener_id != listener
            or not hmac.compare_digest(binding, self._binding(name, trial.flipped))
        ):
            raise VoteError("This ticket does not fit its pair. Ask for the next pair.")
        return trial

    def vote(self, raw: dict[str, Any]) -> Vote:
        """Check a ballot and keep it; when this returns, the vote is on disk.

        Raises:
            VoteError: If anything in it is wrong, was not heard, or was voted on before.
        """
        try:
            kept = self._vote(raw)
        except VoteError:
            self.counts["refused"] += 1
            raise
        self.counts[kept.status] += 1
        return kept

    def _vote(self, raw: dict[str, Any]) -> Vote:
        ballot = read_ballot(raw)
        trial = self._trial(ballot.ticket)
        waited_s = (now() - trial.created).total_seconds()
        heard = heard_of(ballot, trial.battle.duration_s, waited_s)
        vote = Vote(
            id=new_id(),
            trial_id=trial.id,
            listener_id=trial.listener_id,
            created=now(),
            preference=ballot.preference,
            ratings={str(s): dict(sorted(r.items())) for s, r in ballot.ratings.items() if r},
            remark=ballot.remark,
            heard=heard,
            switches=ballot.switches,
            seconds_to_vote=round(waited_s, 2),
        )
        vote.status, vote.reasons = self.crowd.standing(trial, vote, self.database)
        kept = self.database.add_vote(vote)
        if self.mirror is not None and kept is vote:
            self.mirror.keep(trial, vote)
        return kept

    def undo(self, ticket: str) -> None:
        """Take a vote back within 10 s.

        Raises:
            VoteError: If it is too late, or there is none.
        """
        trial = self._trial(ticket)
        undone = self.database.undo(trial.id, trial.listener_id, UNDO_S)
        if self.mirror is not None:
            self.mirror.keep_undo(undone)

    def finish(self, ticket: str) -> None:
        """Make the vote on a trial final, before its time to be taken back is over.

        Raises:
            VoteError: If there is no vote yet.
        """
        trial = self._trial(ticket)
        finish(self.database, trial.id, trial.listener_id)

    def reveal(self, ticket: str, final: bool = False) -> dict[str, Any]:
        """Which side was which, and what the votes say so far, once the vote is final.

        Args:
            ticket: of the trial.
            final: whether the listener gives up the rest of the time in which to take it back.

        Raises:
            VoteError: If there is no vote yet, or it can still be undone, or it is a study's.
        """
        trial = self._trial(ticket)
        if trial.battle.origin == "study":
            raise VoteError("A study does not tell which side was which.")
        vote = self.database.vote_of(trial.id)
        if vote is not None and not final and not is_final(self.database, vote):
            left_s = UNDO_S - (now() - vote.created).total_seconds()
            raise VoteError(f"Your vote can be undone for {left_s:.0f} s; then you see the models.")
        # Kept before anything is told, whatever the clocks of other replicas say: an undo after
        # this would let a listener vote again with open eyes.
        vote = finish(self.database, trial.id, trial.listener_id)
        told = {"preference": vote.preference, "seed": trial.battle.seed}
        return told | so_far(self.database, trial) | trial.at(trial.battle)
