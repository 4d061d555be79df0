"""MusicLM: token embedding + text conditioning + backbone + head; forward and step."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simba_music.conditioning.beat import FEATURES, BeatClock
from simba_music.conditioning.key import FEATURES as KEY_FEATURES
from simba_music.models.config import LMConfig
from simba_music.models.cross_attention import TextContext
from simba_music.models.simba import Simba
from simba_music.models.text_encoder import TextEmbedding
from simba_music.models.transformer import Transformer

TIME_GRID_S = 0.5  # resolution of the total and elapsed time conditions
END_GRID_S, END_BINS = 0.25, 16  # the last four seconds, as an end clock counts them down
POSITION_SCALE = 0.02  # as large as the embeddings that the positions are added to


class LMState(NamedTuple):
    """Decoding state: the backbone's, the next frame, and the conditions of all frames.

    `condition` `[B, D]` is added to every frame, and what the `clock` says and the time left until
    `end_s` `[B]`; `context` is what cross-attention reads.
    """

    backbone: Any
    frame: int
    condition: Tensor
    end_s: Tensor
    clock: BeatClock
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


class MusicLM(nn.Module):
    """Language model over codec tokens, conditioned on text and on total and elapsed seconds.

    The sequence has one position a frame, whose input is the frame before it (`bos` for the first)
    plus the embeddings of elapsed and total time and of the mean text state. The projected text
    stands before the frames (prefix), or every block attends to it (cross). Sinusoidal positions
    count frames; the states of the text know their order already. A model with a beat clock also
    hears where in the beat each frame lies, if the tempo is known; one with an end clock hears the
    last seconds counted down, since the sum of two embeddings hardly tells their difference; one
    with a key signature hears tonic and scale, if they are known; one with a line-up hears which
    of its instruments the text names.
    """

    def __init__(self, config: LMConfig):
        super().__init__()
        self.config = config
        width, bins = config.d_model, int(config.max_trained_s / TIME_GRID_S) + 1
        self.token_embedding = nn.Embedding(config.vocab + 1, width)
        self.elapsed_embedding = nn.Embedding(bins, width)
        self.total_embedding = nn.Embedding(bins, width)
        self.text_projection = nn.Linear(config.text_encoder.width, width)
        self.text_mean_projection = nn.Linear(config.text_encoder.width, width)
        self.null_text = nn.Parameter(torch.zeros(width))
        # Zeros: a model that had none of these may go on learning with them.
        if config.beat_clock:
            self.clock_vectors = nn.Parameter(torch.zeros(FEATURES, width))
        if config.end_clock:
            self.end_vectors = nn.Parameter(torch.zeros(END_BINS, width))
        if config.key_signature:
            self.key_vectors = nn.Parameter(torch.zeros(KEY_FEATURES, width))
        if config.line_up:
            self.line_up_vectors = nn.Parameter(torch.zeros(len(config.line_up), width))
        self.backbone: Any = (
            Transformer(config) if config.backbone == "transformer" else Simba(config)
        )
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.head = nn.Linear(width, config.vocab, bias=False)
        self.apply(self._initialise)

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

    def _bin(self, seconds: Tensor) -> Tensor:
        last = self.total_embedding.num_embeddings - 1
        return (seconds / TIME_GRID_S).long().clamp(0, last)

    def _embed_text(self, text: TextEmbedding, null: Tensor) -> tuple[Tensor, Tensor]:
        """Prefix `[B, L, D]` and mask `[B, L]`; a `null` row `[B]` is the learned vector alone."""
        states, mask = self.text_projection(text.states), text.mask
        last = torch.zeros_like(mask)
        last[:, -1] = True
        states = torch.where(null[:, None, None], self.null_text, states)
        return states, torch.where(null[:, None], last, mask)

    def _condition(
        self,
        text: TextEmbedding,
        null: Tensor,
        total_s: Tensor,
        key: Tensor | None,
        line_up: Tensor | None,
    ) -> Tensor:
        """What text, length `[B]`, key and line-up `[B, ...]` add to every frame, `[B, D]`."""
        count = text.mask.sum(1, keepdim=True).clamp(min=1)
        mean = (text.states * text.mask[..., None]).sum(1) / count
        words = self.text_mean_projection(mean)
        if line_up is not None and self.config.line_up:
            words = words + line_up @ self.line_up_vectors
        words = torch.where(null[:, None], self.null_text, words)
        condition = words + self.total_embedding(self._bin(total_s))
        if key is not None and self.config.key_signature:
            condition = condition + key @ self.key_vectors
        return condition

    def _embed_frames(
        self,
        previous: Tensor,
        first: Tensor,
        condition: Tensor,
        end_s: Tensor,
        clock: BeatClock,
    ) -> Tensor:
        """Inputs `[B, S, D]` from the frames before `[B, K, S]`; the first is `first` `[B]`."""
        frames = first[:, None] + torch.arange(previous.shape[-1], device=previous.device)
        elapsed = self._bin(frames / self.config.codec.frame_rate)
        x = (
            self.token_embedding(previous).sum(1)
            + self.elapsed_embedding(elapsed)
            + condition[:, None]
        )
        if self.config.beat_clock:
            x = x + clock.features(frames, self.config.codec.frame_rate) @ self.clock_vectors
        if self.config.end_clock:
            left_s = end_s[:, None] - frames / self.config.codec.frame_rate
            bins = (left_s / END_GRID_S).long().clamp(0, END_BINS)
            x = x + F.pad(self.end_vectors, (0, 0, 0, 1))[bins]
        if self.config.positions == "sinusoidal":
            x = x + POSITION_SCALE * sinusoids(frames, x.shape[-1])
        return x

    def forward(
        self,
        tokens: Tensor,
        text: TextEmbedding,
        null: Tensor,
        total_s: Tensor,
        first: Tensor,
        clock: BeatClock | None = None,
        key: Tensor | None = None,
        line_up: Tensor | None = None,
    ) -> Tensor:
        """Logits of every frame given those before it (teacher forcing).

        Args:
            tokens: `[B, K, S]`.
            text: states `[B, L, D_text]` and mask `[B, L]`.
            null: rows to treat as having no text `[B]`, bool.
            total_s: length of the whole piece `[B]`, s.
            first: frame of the piece at which the tokens start `[B]`.
            clock: beats, counted from frame 0; without one no tempo is known.
            key: `key_features` `[B, KEY_FEATURES]`; without them no key is known.
            line_up: `line_up_features` `[B, I]` of the text; without them it names nothing.

        Returns:
            `[B, K, S, V]`.
        """
        clock = clock or BeatClock.of(torch.zeros(len(tokens), device=tokens.device))
        states, mask = self._embed_text(text, null)
        previous = F.pad(tokens[..., :-1], (1, 0), value=self.config.special_ids.bos)
        condition = self._condition(text, null, total_s, key, line_up)
        frames = self._embed_frames(previous, first, condition, total_s, clock)
        if self.config.conditioning == "cross":
            hidden = self.backbone(frames, self.backbone.read(states, mask))
        else:
            # With the padding moved behind the frames, a causal backbone needs no mask.
            padding = (~mask).sum(1)
            x = roll_left(torch.cat([states.to(frames.dtype), frames], dim=1), padding)
            hidden = roll_left(self.backbone(x), -padding)[:, states.shape[1] :]
        return self.head(self.norm(hidden))[:, None]

    def init_state(
        self,
        text: TextEmbedding,
        null: Tensor,
        total_s: Tensor,
        frames: int,
        clock: BeatClock | None = None,
        key: Tensor | None = None,
        line_up: Tensor | None = None,
    ) -> LMState:
        """State that has read the text and has room for `frames` frames."""
        clock = clock or BeatClock.of(torch.zeros(len(text.mask), device=text.mask.device))
        states, mask = self._embed_text(text, null)
        condition = self._condition(text, null, total_s, key, line_up)
        context, (batch, length) = None, mask.shape
        if self.config.conditioning == "cross":
            state = self.backbone.init_state(batch, frames, states.device)
            context = self.backbone.read(states, mask)
        else:
            state = self.backbone.init_state(batch, length + frames, states.device)
            _, state = self.backbone.step(states, state, mask)
        return LMState(state, 0, condition, total_s, clock, context)

    def step(self, previous: Tensor, state: LMState) -> tuple[Tensor, LMState]:
        """Logits of the next S frames (S = 1 when decoding).

        Args:
            previous: the frame before each, `[B, K, S]`; `special_ids.bos` before the first.
            state: the state before them.

        Returns:
            Logits `[B, K, S, V]` and the state after.
        """
        first = torch.full((previous.shape[0],), state.frame, device=previous.device)
        x = self._embed_frames(previous, first, state.condition, state.end_s, state.clock)
        hidden, backbone = self.backbone.step(x, state.backbone, None, state.context)
        after = state._replace(backbone=backbone, frame=state.frame + previous.shape[-1])
        return self.head(self.norm(hidden))[:, None], after
