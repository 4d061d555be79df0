"""MusicLM: code embeddings + conditions + backbone + head; forward and step."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simba_music.conditioning.types import Conditioning
from simba_music.models.codebook_pattern import pattern
from simba_music.models.config import LMConfig
from simba_music.models.cross_attention import TextContext
from simba_music.models.simba import Simba
from simba_music.models.transformer import Transformer

POSITION_SCALE = 0.02  # as large as the embeddings that the positions are added to
# Logit of an id that a book has no code for. Finite, since guidance subtracts two of them, and
# the same in every dtype; its probability is 0 in float32.
NO_CODE = -1e4


class LMState(NamedTuple):
    """Decoding state: the backbone's, and what cross-attention reads of the text."""

    backbone: object
    context: TextContext | None


def sinusoids(position: Tensor, width: int) -> Tensor:
    """Sinusoidal embeddings `[..., D]` of positions `[...]` (Vaswani et al. 2017, 3.5)."""
    half = width // 2
    steps = torch.arange(half, device=position.device, dtype=torch.float32)
    angle = position[..., None] * 10_000.0 ** (-steps / half)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def roll_left(x: Tensor, by: Tensor) -> Tensor:
    """`[B, S, D]` with row b moved `by[b]` positions to the left; what falls off comes back."""
    places = (torch.arange(x.shape[1], device=x.device) + by[:, None]) % x.shape[1]
    return x.gather(1, places[..., None].expand_as(x))


def in_books(logits: Tensor, sizes: Sequence[int], codes: int) -> Tensor:
    """Logits `[..., K, V]` of those of all books end to end `[..., V1 + V2 ...]`.

    Args:
        logits: book after book.
        sizes: codes of each book.
        codes: V, of the largest; ids beyond a book's own codes get `NO_CODE`.
    """
    if all(size == codes for size in sizes):
        found: Tensor = logits.unflatten(-1, (len(sizes), codes))
        return found
    books = logits.split(list(sizes), dim=-1)
    return torch.stack([F.pad(b, (0, codes - b.shape[-1]), value=NO_CODE) for b in books], dim=-2)


class MusicLM(nn.Module):
    """Language model over codec codes, conditioned on text and on all that its config names.

    K books of codes are laid out over steps by the config's codebook pattern; with one book a step
    is a frame. Book k has `config.codes_per_book[k]` codes; other ids have the logit `NO_CODE`. The
    input of a step is the sum of the embeddings of the step before it (`bos` where there is no
    code), and its frame's row of the plane: the sum of all conditions' features, each projected to
    the width of the model. The projected text stands before the steps (prefix), or every block
    attends to it (cross). Sinusoidal positions count frames; the states of the text know their
    order already.
    """

    def __init__(self, config: LMConfig):
        super().__init__()
        self.config = config
        width = config.d_model
        self.pattern = pattern(config.codebook_pattern)
        # Books end to end; the last row of each is `bos`.
        self.sizes = config.codes_per_book
        self.token_embedding = nn.Embedding(sum(self.sizes) + len(self.sizes), width)
        self.text_projection = nn.Linear(config.text_encoder.width, width)
        self.null_text = nn.Parameter(torch.zeros(width))
        # Zero, unless a condition says otherwise, so that a model that gets a condition later
        # begins as it was (compare the zero convolutions of ControlNet, Zhang et al. 2023, arXiv
        # 2302.05543).
        self.conditions = nn.ParameterDict(
            {
                name: nn.Parameter(torch.zeros(condition.width, width))
                for name, condition in config.conditions.items()
            }
        )
        self.backbone: Any = (
            Transformer(config) if config.backbone == "transformer" else Simba(config)
        )
        self.norm = nn.RMSNorm(width, eps=1e-5)
        # Not tied to the embedding: the two begin at scales ten apart, see training/lm/start.py.
        self.head = nn.Linear(width, sum(self.sizes), bias=False)
        self.apply(self._initialise)
        for name, condition in config.conditions.items():
            if condition.initial_std:
                nn.init.normal_(self.conditions[name], std=condition.initial_std)

    def _initialise(self, module: nn.Module) -> None:
        """Normal 0.02, and 0.02 / sqrt(2 layers) where a residual branch ends (GPT-2, 2.3)."""
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        scale = (2 * self.config.n_layers) ** -0.5
        for name, child in module.named_children():
            ends_branch = name in ("out", "out_proj") or (
                isinstance(module, nn.Sequential) and name == "2"
            )
            if ends_branch and isinstance(child, nn.Linear):
                nn.init.normal_(child.weight, std=0.02 * scale)

    def _embed_text(self, given: Conditioning) -> tuple[Tensor, Tensor]:
        """Prefix `[B, L, D]` and mask `[B, L]`; a null row is the learned vector alone."""
        states, mask = self.text_projection(given.text.states), given.text.mask
        # One vector, not L of them: nothing is left of how long the text was.
        last = torch.zeros_like(mask)
        last[:, -1] = True
        states = torch.where(given.null[:, None, None], self.null_text, states)
        return states, torch.where(given.null[:, None], last, mask)

    def plane(self, given: Conditioning) -> Tensor:
        """What all conditions add to the input of every frame, `[B, S, D]`."""
        width = self.config.d_model
        # Added to every frame, so that no state has to carry through a clip what holds all along.
        plane = torch.zeros(*given.numbers.shape, width, device=given.numbers.device)
        for name, features in given.features.items():
            plane = plane + features @ self.conditions[name]
        if self.config.positions == "sinusoidal":
            plane = plane + POSITION_SCALE * sinusoids(given.numbers, width)
        return plane

    def _embed(self, tokens: Tensor) -> Tensor:
        """Sum of the books' embeddings `[B, T, D]` of tokens `[B, K, T]`."""
        if self.sizes == (self.config.vocab,):
            one: Tensor = self.token_embedding(tokens[:, 0])
            return one
        sizes = torch.tensor(self.sizes, device=tokens.device)[:, None]
        first = (sizes + 1).cumsum(0) - sizes - 1
        # `bos` is one id for all books, above the codes of each.
        found: Tensor = self.token_embedding(tokens.minimum(sizes) + first).sum(1)
        return found

    def wide_embedding(self) -> Tensor:
        """Embeddings `[K (V + 1), D]` with as many rows for every book; those added are its bos.

        For engines, whose look-up is then an addition.
        """
        books = self.token_embedding.weight.detach().split([size + 1 for size in self.sizes])
        more = [self.config.vocab - size for size in self.sizes]
        wide = [torch.cat([b, b[-1:].expand(n, -1)]) for b, n in zip(books, more, strict=True)]
        return torch.cat(wide)

    def _predict(self, hidden: Tensor) -> Tensor:
        """Logits `[B, K, T, V]` of hidden states `[B, T, D]`."""
        logits = self.head(self.norm(hidden))
        return in_books(logits, self.sizes, self.config.vocab).transpose(1, 2)

    def forward(
        self, codes: Tensor, given: Conditioning, apart: bool = False
    ) -> Tensor | list[Tensor]:
        """Logits of every code given those that the pattern has before it (teacher forcing).

        Args:
            codes: `[B, K, S]`.
            given: conditions of the same S frames.
            apart: whether a loss asks, which needs no logits of ids that a book lacks.

        Returns:
            `[B, K, S, V]`; or `[B, S, V]` of every book, whose V is its own.
        """
        states, mask = self._embed_text(given)
        (_, books, count), bos = codes.shape, self.config.special_ids.bos
        tokens = self.pattern.apply(codes, bos)
        # A step reads the one before it; bos stands where the pattern has no code, and at the
        # start.
        previous = F.pad(tokens[..., :-1], (1, 0), value=bos)
        frame = self.pattern.frame_of(0, tokens.shape[-1], books, count).to(codes.device)
        frames = self._embed(previous) + self.plane(given)[:, frame]
        if self.config.conditioning == "cross":
            hidden = self.backbone(frames, self.backbone.read(states, mask))
        else:
            # With the padding moved behind the frames, a causal backbone needs no mask.
            padding = (~mask).sum(1)
            x = roll_left(torch.cat([states.to(frames.dtype), frames], dim=1), padding)
            hidden = roll_left(self.backbone(x), -padding)[:, states.shape[1] :]
        # Steps of a pattern to frames: the loss is over codes, and bos is never a target.
        places = self.pattern.places(count, books).to(codes.device)
        hidden, heads = self.norm(hidden), self.head.weight.split(list(self.sizes))
        own = [F.linear(hidden[:, at], head) for at, head in zip(places, heads, strict=True)]
        if apart:
            return own
        return in_books(torch.cat(own, -1), self.sizes, self.config.vocab).transpose(1, 2)

    def init_state(self, given: Conditioning, steps: int) -> LMState:
        """State that has read the text and has room for so many steps."""
        states, mask = self._embed_text(given)
        context, (batch, length) = None, mask.shape
        if self.config.conditioning == "cross":
            state = self.backbone.init_state(batch, steps, states.device)
            context = self.backbone.read(states, mask)
        else:
            state = self.backbone.init_state(batch, length + steps, states.device)
            _, state = self.backbone.step(states, state, mask)
        return LMState(state, context)

    def step(self, previous: Tensor, plane: Tensor, state: LMState) -> tuple[Tensor, LMState]:
        """Logits of the next n steps (n = 1 when decoding).

        Args:
            previous: tokens of the step before each, `[B, K, n]`; `special_ids.bos` before the
                first.
            plane: rows of `plane` for these steps, `[B, n, D]`.
            state: the state before them.

        Returns:
            Logits `[B, K, n, V]` and the state after.
        """
        x = self._embed(previous) + plane
        hidden, backbone = self.backbone.step(x, state.backbone, None, state.context)
        return self._predict(hidden), LMState(backbone, state.context)
