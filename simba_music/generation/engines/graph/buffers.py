"""Buffers of the graph engine: the state of G rows and a chunk of steps, at addresses that stay."""

from dataclasses import dataclass

import torch
from torch import Tensor

from simba_music.generation.sampling import Sampling
from simba_music.models.config import EXPAND, LMConfig
from simba_music.models.lm import LMState
from simba_music.models.mamba2 import CONV_WIDTH, MixerState
from simba_music.models.transformer import AttentionState

CHUNK = 10  # steps whose inputs and codes the buffers hold
CACHE_STEP = 256  # a cache is that long, or so many times as long
TEXT_STEP = 16


@dataclass(frozen=True)
class Size:
    """What buffers are made for: B requests, whether guided, room of cache and text in tokens.

    `nucleus` says whether any request asks for top-p, which needs a sum over sorted codes.
    """

    batch: int
    guided: bool
    cache: int = 0
    text: int = 0
    nucleus: bool = False

    @property
    def rows(self) -> int:
        """G: the requests and, if guided, their unconditional branch after them."""
        return self.batch * (1 + self.guided)


def bucket(tokens: int, step: int) -> int:
    """Room for so many tokens, so that few sizes are captured."""
    return -(-tokens // step) * step


class Buffers:
    """All that a step reads and writes. Nothing is allocated while decoding.

    Rows do not touch each other: a row is loaded, stepped and cleared whatever is in the others.
    """

    def __init__(self, config: LMConfig, size: Size, device: torch.device, dtype: torch.dtype):
        rows, batch, books, layers = size.rows, size.batch, config.n_codebooks, config.n_layers
        self.size, self.config = size, config

        def zeros(*shape: int, kind: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(shape, dtype=kind, device=device)

        # The chunk: the step's number in it, inputs of its steps, codes and damage out.
        # It and the rows' lengths are one tensor, since one addition moves all of them on.
        self.counters = zeros(1 + rows, kind=torch.long)
        self.at, self.length = self.counters[:1], self.counters[1:]
        self.plane = zeros(CHUNK, rows, config.d_model)
        self.noise = torch.ones(CHUNK, batch, books, config.vocab, device=device)
        self.active = zeros(CHUNK, batch, books, kind=torch.bool)
        self.codes = zeros(CHUNK, batch, books, kind=torch.long)
        self.logits = zeros(rows, books, config.vocab)
        self.damaged = zeros(batch, kind=torch.bool)
        # Sampling, a row a request.
        self.temperature, self.guidance, self.top_p = (
            torch.ones(batch, 1, 1, device=device) for _ in range(3)
        )
        self.top_k = torch.full((batch, 1, 1), config.vocab, device=device)
        # The state: tokens before the next step, and what layers remember.
        self.bos = config.special_ids.bos
        self.previous = torch.full((rows, books), self.bos, device=device)
        self.conv, self.ssm, self.keys, self.values = (list[Tensor]() for _ in range(4))
        head = config.d_model // config.n_heads
        for _ in range(layers):
            if config.backbone == "transformer":
                cache = zeros(2, rows, config.n_heads, size.cache, head, kind=dtype)
                self.keys.append(cache[0])
                self.values.append(cache[1])
            else:
                inner, states = EXPAND * config.d_model, config.d_state or 0
                self.conv.append(zeros(rows, inner + 2 * states, CONV_WIDTH))
                self.ssm.append(zeros(rows, config.n_heads, inner // config.n_heads, states))
        # What cross-attention reads. A row without a text attends to one empty place.
        self.text_keys, self.text_values = list[Tensor](), list[Tensor]()
        if config.conditioning == "cross":
            width = config.d_model // config.cross_heads
            for _ in range(layers):
                text = zeros(2, rows, config.cross_heads, size.text, width, kind=dtype)
                self.text_keys.append(text[0])
                self.text_values.append(text[1])
        self.text_mask = zeros(rows, 1, 1, size.text, kind=torch.bool)
        self.clear(range(batch))

    def rows_of(self, request: int) -> list[int]:
        """The rows of a request."""
        return [request, request + self.size.batch][: 1 + self.size.guided]

    def clear(self, requests: range | list[int]) -> None:
        """Empty the slots of these requests; what they held before cannot be seen again."""
        rows = [row for request in requests for row in self.rows_of(request)]
        for kept in (*self.conv, *self.ssm, *self.keys, *self.values):
            kept[rows] = 0  # a cache too: what is masked still enters a sum, times zero
        self.length[rows] = 0
        self.previous[rows] = self.bos
        self.text_mask[rows] = False
        self.text_mask[rows, ..., :1] = True
        self.damaged[list(requests)] = False

    def load(self, state: LMState, requests: range | list[int]) -> None:
        """Put a prefilled state of these requests into their slots.

        Args:
            state: of as many rows as they have, conditional ones first; or of these alone, from
                requests without guidance among others that have it.
            requests: slots, which this clears before.

        Raises:
            ValueError: If the cache is too short for the prefix.
        """
        self.clear(requests)
        every = [
            row for branch in range(1 + self.size.guided) for row in self._of(requests, branch)
        ]
        rows = torch.tensor(every[: _rows_of(state)], device=self.length.device)
        if isinstance(state.backbone, AttentionState):
            self._load_cache(state.backbone, rows)
        else:
            assert isinstance(state.backbone, tuple)
            for layer, one in enumerate(state.backbone):
                assert isinstance(one, MixerState)
                self.conv[layer][rows, :, 1:] = one.conv.float()  # places -3 to -1 modulo 4
                self.ssm[layer][rows] = one.ssm.float()
        if state.context is not None:
            places = state.context.mask.shape[1]
            self.text_mask[rows] = False
            self.text_mask[rows, 0, 0, :places] = state.context.mask
            for layer, (keys, values) in enumerate(
                zip(state.context.keys, state.context.values, strict=True)
            ):
                self.text_keys[layer][rows, :, :places] = keys.to(self.text_keys[layer].dtype)
                self.text_values[layer][rows, :, :places] = values.to(self.text_values[layer].dtype)

    def _of(self, requests: range | list[int], branch: int) -> list[int]:
        return [request + branch * self.size.batch for request in requests]

    def _load_cache(self, state: AttentionState, rows: Tensor) -> None:
        """Keys and values of a prefix, its padding left out: place and position are then one."""
        filled = state.mask.shape[1]
        if filled > self.size.cache:
            raise ValueError(
                f"The KV cache holds {self.size.cache} tokens and {filled} are needed; "
                "call prefill with more steps."
            )
        # A stable sort puts what is no padding first, in its order.
        order = (~state.mask).long().argsort(dim=1, stable=True)
        for layer, (keys, values) in enumerate(zip(state.keys, state.values, strict=True)):
            index = order[:, None, :, None].expand_as(keys)
            for kept, found in ((self.keys[layer], keys), (self.values[layer], values)):
                kept[rows, :, :filled] = found.gather(2, index).to(kept.dtype)
        self.length[rows] = state.position

    def set_sampling(self, sampling: Sampling, requests: range | list[int]) -> None:
        """How codes of these requests are drawn from now on."""
        rows, codes = list(requests), self.config.vocab
        self.temperature[rows] = sampling.temperature
        self.guidance[rows] = sampling.guidance
        self.top_p[rows] = sampling.top_p
        self.top_k[rows] = min(sampling.top_k, codes) if sampling.top_k > 0 else codes

    def take_over(self, other: "Buffers") -> None:
        """Go on from the state of others of another room of cache or text, and as many rows."""
        for own, before in zip(self._changing(), other._changing(), strict=True):
            _corner(own, before).copy_(_corner(before, own))
        for own, before in zip(
            (*self.text_keys, *self.text_values),
            (*other.text_keys, *other.text_values),
            strict=True,
        ):
            _corner(own, before).copy_(_corner(before, own))
        self.text_mask[..., : other.size.text] = other.text_mask
        for name in ("temperature", "guidance", "top_p", "top_k"):
            getattr(self, name).copy_(getattr(other, name))

    def snapshot(self) -> list[Tensor]:
        """Copies of all that a step changes."""
        return [t.clone() for t in self._changing()]

    def restore(self, kept: list[Tensor]) -> None:
        """Put a snapshot back."""
        for own, before in zip(self._changing(), kept, strict=True):
            own.copy_(before)

    def _changing(self) -> list[Tensor]:
        state = [*self.conv, *self.ssm, *self.keys, *self.values]
        return [self.counters, self.previous, self.damaged, self.codes, *state]


def _rows_of(state: LMState) -> int:
    """Rows of a state."""
    if isinstance(state.backbone, AttentionState):
        return len(state.backbone.mask)
    assert isinstance(state.backbone, tuple)
    return len(state.backbone[0].ssm)


def _corner(x: Tensor, like: Tensor) -> Tensor:
    """The part of `x` that two tensors of as many axes both have."""
    return x[tuple(slice(min(a, b)) for a, b in zip(x.shape, like.shape, strict=True))]
