"""Engine: what the decode loop asks of whatever runs a language model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

import torch
from torch import Tensor

from simba_music.conditioning.types import Conditioning
from simba_music.generation.sampling import Sampling
from simba_music.models.lm import LMState, MusicLM

State = TypeVar("State")


class Engine(Protocol[State]):
    """One language model, ready to decode; named in the recipe of what it generates.

    It speaks tokens, which the codebook pattern makes codes of outside. Rows are G: the B requests
    and, with guidance, their unconditional branch after them. An engine may change its State in
    place; a State is used once.
    """

    name: str
    dtype: str
    device: torch.device

    def plane(self, given: Conditioning) -> Tensor:
        """What the conditions add to the input of every frame `[G, S, D]`."""

    def prefill(self, given: Conditioning, steps: int) -> State:
        """State that has read the text of G rows and has room for so many steps."""

    def decode_n(
        self, state: State, plane: Tensor, noise: Tensor, active: Tensor, sampling: Sampling
    ) -> tuple[Tensor, State]:
        """Sample the next n steps.

        Args:
            state: the state before them.
            plane: their rows `[G, n, D]`.
            noise: `[n, B, K, V]`, exponential, drawn for each request outside, so that neighbours
                in a batch change nothing.
            active: bool `[K, n]`, which books have a code at which step; `bos` stands elsewhere.
            sampling: settings that all rows share; its guidance says whether G is 2 B.

        Returns:
            Tokens `[B, K, n]` and the state after.

        Raises:
            FloatingPointError: If a logit is NaN.
        """

    def logits(self, state: State, tokens: Tensor, plane: Tensor) -> Tensor:
        """Logits `[G, K, n, V]` of the next n steps, given the tokens `[B, K, n]` themselves."""


@dataclass(frozen=True)
class Chunk:
    """What a request brings to the next n steps.

    plane `[g, n, D]`, with guidance of both branches; noise `[n, K, V]`; active `[n, K]`.
    """

    plane: Tensor
    noise: Tensor
    active: Tensor


class Slots(Protocol):
    """Places of one engine that requests take between steps; neighbours change nothing of them."""

    def join(self, slot: int, state: LMState, steps: int, sampling: Sampling) -> None:
        """Seat a request with its prefilled state, and room for so many steps, in a free slot."""

    def leave(self, slot: int) -> None:
        """A slot is free again."""

    def run(self, chunks: Mapping[int, Chunk]) -> dict[int, Tensor | None]:
        """The next n steps of who is seated: tokens `[n, K]` by slot, None where a logit is NaN."""

    def close(self) -> None:
        """Nobody is seated any more; memory is given back."""


@runtime_checkable
class SlottedEngine(Protocol):
    """An engine that steps requests together which join and leave meanwhile."""

    name: str
    dtype: str
    device: torch.device
    lm: MusicLM

    def plane(self, given: Conditioning) -> Tensor:
        """See `Engine`."""

    def slots(self, count: int) -> Slots:
        """So many empty slots."""


# What every engine says of NaN logits.
DAMAGED = "The model produced NaN logits; its checkpoint is damaged."
AnyEngine: TypeAlias = Engine[Any]
