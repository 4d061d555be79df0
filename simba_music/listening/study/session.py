"""Study: a listening test with consent, practice, repeats and catch trials, alike for all."""

import hashlib
import hmac
import random
import secrets
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from simba_music import audio
from simba_music.errors import RequestError
from simba_music.files import first_problem, load_secret, read_json, sha256
from simba_music.generation.request import SIDES
from simba_music.listening.clip_store import open_clips
from simba_music.listening.database import Database, default_url
from simba_music.listening.mirror import open_mirror
from simba_music.listening.pairs import Kind, Side
from simba_music.listening.study.file import STUDY, StudyConfig, same_words
from simba_music.listening.tables import Battle, Listener, Trial, Vote
from simba_music.listening.trials import ListeningTest
from simba_music.listening.votes.ballot import VoteError
from simba_music.listening.votes.standing import is_final
from simba_music.settings import data_folder

# What a listener's checks may have ended in; a step that was passed over is no success.
CHECKS = {"headphones": ("passed", "failed", "skipped"), "volume": ("set", "skipped")}
LATE = 2 / 3  # what comes again comes after so much of the study
FAR = 1 / 3  # of what was heard, by which it is apart from the first time where there is a choice


def longest_ago(heard: Sequence[str], among: Collection[str], rng: random.Random) -> str:
    """One of the prompts `among` those heard, in their order, that was last heard long ago.

    One that has come once already is taken before one that has come again.
    """
    last = {prompt: i for i, prompt in enumerate(heard)}
    fewest = min(heard.count(prompt) for prompt in among)
    once = sorted((p for p in among if heard.count(p) == fewest), key=lambda p: last[p])
    far = [p for p in once if len(heard) - last[p] > FAR * len(heard)]
    return rng.choice(far or once[:1])


def open_study(folder: Path, mirrored: bool = False) -> "Study":
    """The study of a folder, with the votes of this machine's database, copied if `mirrored`.

    Raises:
        RequestError: If the folder holds no study, or not all of it.
    """
    data = data_folder()
    data.mkdir(parents=True, exist_ok=True)
    secret, database = load_secret(data), Database(default_url(data))
    test = ListeningTest(database, open_clips(data), secret)
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
        try:
            self.config = StudyConfig.model_validate(found["study"])
        except ValidationError as error:
            where, problem = first_problem(error, "the study")
            raise RequestError(f"{folder}: {where}: {problem}") from error
        if len(found["items"]) != self.config.size:
            raise RequestError(f"{folder} is not finished: run `simba-music study render` again.")
        self.test, self._secret = test, secret.encode()
        self._folder, self._items = folder, found["items"]
        self.pairs = [self._battle(item, i) for i, item in enumerate(self._items)]
        self._catches: dict[str, Battle] = {}
        # Of what listeners are asked, not of what they try out first.
        practice = same_words(self.pairs[0].prompt)
        self.votable = [pair for pair in self.pairs if same_words(pair.prompt) != practice]

    def close(self) -> None:
        """Copy the votes that wait for the Hub; for the process's end."""
        if self.test.mirror is not None:
            self.test.mirror.close()

    def _catch(self, prompt: str) -> Battle:
        """The pair of a clip with itself, for a prompt of the study."""
        if prompt not in self._catches:
            i, item = next(
                (i, item)
                for i, item in enumerate(self._items)
                if same_words(item["prompt"]) == prompt
            )
            clip = item["sides"][SIDES[self._draw("catch " + item["prompt"]).randrange(2)]]
            twice = item | {"sides": dict.fromkeys(SIDES, clip)}
            self._catches[prompt] = self._battle(twice, i, "catch")
        return self._catches[prompt]

    def _battle(self, item: dict[str, Any], number: int, what: str = "") -> Battle:
        folder = self._folder
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

    @property
    def spare(self) -> int:
        """Prompts that are left for catches once every trial has one of its own."""
        return len(self.config.different) - 1 - self.config.trials

    def order(self, listener: str) -> list[Kind]:
        """Kinds of a listener's trials: practice, then a shuffle; what comes again comes late."""
        rng = self._draw(f"order {listener}")
        own = min(self.spare, self.config.catches)
        kinds: list[Kind] = ["normal" for _ in range(self.config.trials)]
        kinds += ["catch" for _ in range(own)]
        rng.shuffle(kinds)
        late: list[Kind] = ["repeat" for _ in range(self.config.repeats)]
        late += ["catch" for _ in range(self.config.catches - own)]
        rng.shuffle(late)
        start = round(LATE * len(kinds))
        for kind in late:
            # Late, so that what was answered first is not remembered when it comes again.
            kinds.insert(rng.randint(start, len(kinds)), kind)
        kinds.insert(0, "practice")
        return kinds

    def _seen(self, listener: str) -> list[tuple[Trial, Vote | None]]:
        return self.test.database.trials_of(listener, self.config.name)

    def progress(self, listener: str) -> dict[str, Any]:
        """How far a listener is, practice not counted; `code` once everything is final."""
        seen, config = self._seen(listener), self.config
        done = sum(vote is not None and trial.kind != "practice" for trial, vote in seen)
        votes = [vote for _, vote in seen if vote is not None]
        over = len(votes) == config.length and all(is_final(self.test.database, v) for v in votes)
        return {
            "done": done,
            "of": config.counted,
            "given": len(votes),
            "code": self.code(listener) if over else None,
        }

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
        left_open = [trial for trial, vote in seen if vote is None]
        if left_open:
            trial = left_open[0]
            return self._told(self.test.showing(trial, trial.battle), trial.kind, trial.place)
        place = len(seen)
        if place == self.config.length:
            raise VoteError("You have answered everything. Thank you.")
        kind = self.order(listener)[place]
        battle, flipped = self._choose(kind, [trial for trial, _ in seen], listener)
        shown = self.test.show(battle, listener, kind, place, flipped, self._first(seen))
        return self._told(shown, kind, place)

    def _told(self, shown: dict[str, Any], kind: str, place: int) -> dict[str, Any]:
        counts = {"practice": kind == "practice", "number": place, "of": self.config.counted}
        return shown | counts | {"last": place == self.config.counted}

    def _choose(self, kind: Kind, before: list[Trial], listener: str) -> tuple[Battle, bool | None]:
        """The battle of the next trial, and whether its sides are flipped."""
        if kind == "practice":
            return self.pairs[0], None
        rng = self._draw(f"pair {listener} {len(before)}")
        heard = [same_words(trial.battle.prompt) for trial in before]
        fresh = [pair for pair in self.votable if same_words(pair.prompt) not in heard]
        if kind == "repeat":
            firsts = {same_words(t.battle.prompt): t for t in before if t.kind == "normal"}
            chosen = firsts[longest_ago(heard, firsts, rng)]
            # Flipped: whoever answers by side rather than by sound contradicts themselves.
            return chosen.battle, not chosen.flipped
        if kind == "catch":
            prompts = {same_words(pair.prompt) for pair in fresh}
            to_come = self.config.trials - sum(trial.kind == "normal" for trial in before)
            if len(prompts) > to_come:
                return self._catch(rng.choice(sorted(prompts))), None
            others = {same_words(pair.prompt) for pair in self.votable}
            return self._catch(longest_ago(heard, others & {*heard}, rng)), None
        shown = self.test.database.showings([battle.id for battle in fresh])
        rng.shuffle(fresh)
        # Pairs shown least first, and sides balanced within each, over all listeners.
        battle = min(fresh, key=lambda one: shown[one.id][0])
        total, flips = shown[battle.id]
        return battle, None if 2 * flips == total else 2 * flips < total

    def _first(self, seen: list[tuple[Trial, Vote | None]]) -> str:
        """The side that plays first, as often A as B in what a listener's answers count for."""
        counted = [trial for trial, _ in seen if trial.kind != "practice"]
        lead = sum(1 if trial.first == "A" else -1 for trial in counted)
        return secrets.choice("AB") if lead == 0 else "B" if lead > 0 else "A"
