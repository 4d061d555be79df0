"""Engine: what the decode loop asks of whatever runs a language model."""

from typing import Protocol, TypeVar

import torch
from torch import Tensor

from simba_music.conditioning.types import Conditioning
from simba_music.generation.sampling import Sampling

State = TypeVar("State")


class Engine(Protocol[State]):
    """One language model, ready to decode; named in the recipe of what it generates.

    Rows are G: the B requests and, with guidance, their unconditional branch after them. An engine
    may change its State in place; a State is used once.
    """

    name: str
    dtype: str
    device: torch.device

    def plane(self, given: Conditioning) -> Tensor:
        """What the conditions add to the input of every frame `[G, S, D]`."""

    def prefill(self, given: Conditioning, frames: int) -> State:
        """State that has read the text of G rows and has room for so many frames."""

    def decode_n(
        self, state: State, plane: Tensor, noise: Tensor, sampling: Sampling
    ) -> tuple[Tensor, State]:
        """Sample the next n frames.

        Args:
            state: the state before them.
            plane: their rows `[G, n, D]`.
            noise: `[n, B, K, V]`, exponential, drawn for each request outside, so that neighbours
                in a batch change nothing.
            sampling: settings that all rows share; its guidance says whether G is 2 B.

        Returns:
            Codes `[B, K, n]` and the state after.

        Raises:
            FloatingPointError: If a logit is NaN.
        """

    def logits(self, state: State, codes: Tensor, plane: Tensor) -> Tensor:
        """Logits `[G, K, n, V]` of the next n frames, given the codes `[B, K, n]` themselves."""
