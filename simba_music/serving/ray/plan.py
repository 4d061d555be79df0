"""Plan: what is served and by how many, as it goes to every replica; what a run says to them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from simba_music.conditioning.request import Request
from simba_music.errors import UserError
from simba_music.generation.engines.choice import SLOTS, EngineChoice
from simba_music.generation.service import Event
from simba_music.settings import EngineName

WAITING = 20  # runs that wait for a replica, as many as jobs in the page's own queue


@dataclass(frozen=True)
class Plan:
    """What is served, and by how many.

    `least` and `most` bound the replicas of the models; where they differ Ray adds one when all
    that there are have much to do. `cpus` and `gpus` are what Ray counts for one replica; with
    `pinned` each keeps to one core of its own.
    """

    left: str = "simba"
    right: str = "transformer"
    scorer: str | None = "clap"
    device: str = "auto"
    threads: int = 1
    choice: EngineChoice = field(default_factory=EngineChoice)
    least: int = 1
    most: int = 1
    cpus: float = 1.0
    gpus: float = 0.0
    pinned: bool = False
    waiting: int = WAITING

    def __post_init__(self) -> None:
        """Refuse what cannot be served.

        Raises:
            UserError: If the bounds are the wrong way round.
        """
        if not 1 <= self.least <= self.most:
            raise UserError(
                f"There must be at least one replica and no fewer at most than at least, got "
                f"{self.least} to {self.most}. Choose --replicas from 1, and --most from there."
            )

    @property
    def runs(self) -> int:
        """Runs at a time of one replica: as many as it steps together."""
        return SLOTS if self.choice.slots is None else max(1, self.choice.slots)

    @property
    def capacity(self) -> int:
        """Runs at a time of all replicas, when there are as many as there may be."""
        return self.runs * self.most


def stepped_together(choice: EngineChoice) -> EngineChoice:
    """What was asked for, with slots on every kind of machine where nobody says how many."""
    return choice if choice.slots is not None else replace(choice, slots=SLOTS)


@dataclass(frozen=True)
class Asked:
    """A run for a replica: its models, its engine, and what every side generates."""

    run: str  # a name that nobody else has
    models: tuple[str, str]  # checkpoints of both sides
    engine: EngineName
    requests: Mapping[str, Request]
    stream: bool = False


@dataclass(frozen=True)
class Begun:
    """What a replica makes a run with: digests of the weights and the engine, all in words."""

    made_with: tuple[str, ...]


@dataclass(frozen=True)
class Refused:
    """A run that ends with a sentence of the replica's."""

    error: UserError


Message = Begun | Refused | Event
