"""Study: a listening test with consent, practice, repeats and catch trials, alike for all."""

import hashlib
import hmac
import random
import secrets
from pathlib import Path
from typing import Any

from simba_music import audio
from simba_music.errors import RequestError
from simba_music.files import load_secret, read_json, sha256
from simba_music.generation.request import SIDES
from simba_music.listening.ballot import VoteError
from simba_music.listening.database import Database, default_url
from simba_music.listening.mirror import open_mirror
from simba_music.listening.pairs import Kind, Side
from simba_music.listening.study.file import STUDY, StudyConfig
from simba_music.listening.tables import Battle, Listener, Trial, Vote
from simba_music.listening.trials import ListeningTest
from simba_music.settings import data_folder

LATE = 2 / 3  # repeats come after so much of the study


def open_study(folder: Path, mirrored: bool = False) -> "Study":
    """The study of a folder, with the votes of this machine's database, copied if `mirrored`.

    Raises:
        RequestError: If the folder holds no study, or not all of it.
    """
    data = data_folder()
    data.mkdir(parents=True, exist_ok=True)
    secret, database = load_secret(data), Database(default_url(data))
    test = ListeningTest(database, data / "clips", secret)
    test.mirror = open_mirror(database, data) if mirrored else None
    return Study(test, folder, secret)


class Study:
    """A rendered study that is being served: what each listener is played, in which order."""

    def __init__(self, test: ListeningTest, folder: Path, secret: str):
        """Every process that serves the folder knows the same battles.

        Raises:
            RequestError: If the folder holds no study, or not all of it.
        """
        if not (folder / STUDY).exists():
            raise RequestError(f"{folder} holds no study; `simba-music study render` writes one.")
        found = read_json(folder / STUDY)
        self.config = StudyConfig.model_validate(found["study"])
        if len(found["items"]) != self.config.size:
            raise RequestError(f"{folder} is not finished: run `simba-music study render` again.")
        self.test, self._secret = test, secret.encode()
        self.pairs = [self._battle(folder, item, i) for i, item in enumerate(found["items"])]
        votable = found["items"][1:]
        self.catches = [
            self._battle(folder, self._twice(votable[i % len(votable)]), i, "catch")
            for i in range(self.config.catches)
        ]

    def close(self) -> None:
        """Copy the votes that wait for the Hub; for the process's end."""
        if self.test.mirror is not None:
            self.test.mirror.close()

    def _twice(self, item: dict[str, Any]) -> dict[str, Any]:
        """The pair of a clip with itself."""
        clip = item["sides"][SIDES[self._draw("catch " + item["prompt"]).randrange(2)]]
        return item | {"sides": dict.fromkeys(SIDES, clip)}

    def _battle(self, folder: Path, item: dict[str, Any], number: int, what: str = "") -> Battle:
        sides = {
            side: Side(
                audio.read(folder / known["file"]),
                {key: value for key, value in known.items() if key != "file"},
            )
            for side, known in item["sides"].items()
        }
        files = [sha256(folder / known["file"]) for known in item["sides"].values()]
        text = f"{self.config.name}:{what}:{number}:{files}"
        return self.test.add_battle(
            item["prompt"],
            sides,
            "study",
            item["seed"],
            item["sampling"],
            study=self.config.name,
            key=hashlib.sha256(text.encode()).hexdigest()[:32],
        )

    def _draw(self, text: str) -> random.Random:
        """A random source that only this server can foresee."""
        return random.Random(hmac.new(self._secret, text.encode(), hashlib.sha256).digest())

    def join(self, local: bool, checks: dict[str, Any]) -> str:
        """A signed name for a listener who has agreed to the study's consent text.

        Raises:
            VoteError: If headphones are required and the check was not passed.
        """
        if self.config.headphones == "required" and checks.get("headphones") != "passed":
            raise VoteError("This study needs headphones. Put them on and repeat the check.")
        return self.test.new_listener(local, self.config.consent, self.config.name, checks)

    def listener_of(self, signed: str) -> Listener:
        """The listener of a signed name.

        Raises:
            VoteError: If it is not known, or of another study.
        """
        found = self.test.database.find_listener(self.test.listener_id_of(signed))
        if found is None or found.study != self.config.name:
            raise VoteError("You have not joined this study yet. Reload the page.")
        return found

    def order(self, listener: str) -> list[Kind]:
        """Kinds of a listener's trials: practice, then a shuffle, repeats late in it."""
        rng = self._draw(f"order {listener}")
        kinds: list[Kind] = ["normal" for _ in range(self.config.trials)]
        kinds += ["catch" for _ in range(self.config.catches)]
        rng.shuffle(kinds)
        for _ in range(self.config.repeats):
            # Late, so that what was answered first is not remembered when it comes again.
            kinds.insert(rng.randint(round(LATE * len(kinds)), len(kinds)), "repeat")
        kinds.insert(0, "practice")
        return kinds

    def _seen(self, listener: str) -> list[tuple[Trial, Vote | None]]:
        return self.test.database.trials_of(listener, self.config.name)

    def progress(self, listener: str) -> dict[str, Any]:
        """How far a listener is; `code` once everything is answered."""
        done = sum(vote is not None for _, vote in self._seen(listener))
        code = self.code(listener) if done == self.config.length else None
        return {"done": done, "of": self.config.length, "code": code}

    def code(self, listener: str) -> str:
        """What a listener who is done is given, to show that they were."""
        digest = hmac.new(self._secret, f"code {listener}".encode(), hashlib.sha256).hexdigest()
        return digest[:10].upper()

    def next_trial(self, listener: str) -> dict[str, Any]:
        """What a listener is played next; the same trial again until it is voted on.

        Raises:
            VoteError: If there is none left.
        """
        seen = self._seen(listener)
        if seen and seen[-1][1] is None:
            trial = seen[-1][0]
            return self._told(self.test.showing(trial, trial.battle), trial.kind, trial.place)
        place = len(seen)
        if place == self.config.length:
            raise VoteError("You have answered everything. Thank you.")
        kind = self.order(listener)[place]
        battle, flipped = self._choose(kind, [trial for trial, _ in seen], listener)
        shown = self.test.show(battle, listener, kind, place, flipped, self._first(seen))
        return self._told(shown, kind, place)

    def _told(self, shown: dict[str, Any], kind: str, place: int) -> dict[str, Any]:
        return shown | {"practice": kind == "practice", "place": place, "of": self.config.length}

    def _choose(self, kind: Kind, before: list[Trial], listener: str) -> tuple[Battle, bool | None]:
        """The battle of the next trial, and whether its sides are flipped."""
        if kind == "practice":
            return self.pairs[0], None
        if kind == "catch":
            return self.catches[sum(trial.kind == "catch" for trial in before)], None
        rng = self._draw(f"pair {listener} {len(before)}")
        if kind == "repeat":
            again = {trial.battle_id for trial in before if trial.kind == "repeat"}
            first = [t for t in before[:-1] if t.kind == "normal" and t.battle_id not in again]
            chosen = rng.choice(first or [t for t in before if t.kind == "normal"])
            # Flipped: whoever answers by side rather than by sound contradicts themselves.
            return chosen.battle, not chosen.flipped
        known = {trial.battle_id for trial in before}
        left = [battle for battle in self.pairs[1:] if battle.id not in known]
        shown = self.test.database.showings([battle.id for battle in left])
        rng.shuffle(left)
        # Pairs shown least first, and sides balanced within each, over all listeners.
        battle = min(left, key=lambda one: shown[one.id][0])
        total, flips = shown[battle.id]
        return battle, None if 2 * flips == total else 2 * flips < total

    def _first(self, seen: list[tuple[Trial, Vote | None]]) -> str:
        """The side that plays first, as often A as B for each listener."""
        lead = sum(1 if trial.first == "A" else -1 for trial, _ in seen)
        return secrets.choice("AB") if lead == 0 else "B" if lead > 0 else "A"
