"""Packed engine: PyTorch alone with norms folded into weights and nothing made twice; on the CPU.

It decodes where numba is missing, and while the kernels of the compiled engine are being built.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from simba_music.conditioning.types import Conditioning
from simba_music.errors import EngineError
from simba_music.generation.engines.packed_attention import (
    Attention,
    Cache,
    CrossText,
    TextMemory,
)
from simba_music.generation.engines.packed_layers import (
    EinFFT,
    Mamba,
    MambaMemory,
    Mlp,
    Room,
    numbers,
    scale,
)
from simba_music.generation.engines.types import DAMAGED
from simba_music.generation.sampling import Sampling, guide, sample
from simba_music.models.lm import MusicLM, in_books
from simba_music.models.transformer import AttentionState


@dataclass
class PackedState:
    """State of G rows, the room that their steps work in, and the tokens before `[G, K]`.

    Of `cache` and `mambas` a model uses one.
    """

    previous: Tensor
    x: Tensor
    room: Room
    cache: Cache | None
    mambas: list[MambaMemory]
    text: TextMemory | None


class Layer:
    """Weights of one block; a model has attention or Mamba-2, and the rest where it is used."""

    def __init__(self, block: torch.nn.Module, lm: MusicLM):
        config = lm.config
        recurrent = config.backbone != "transformer"
        self.mamba = Mamba(block, config) if recurrent else None
        self.attention = None if recurrent else Attention(block, config)
        self.cross = CrossText(block, config) if config.conditioning == "cross" else None
        self.channel_mixer: Mlp | EinFFT | None = None
        if config.channel_mixer != "none":
            self.channel_mixer = (Mlp if config.channel_mixer == "mlp" else EinFFT)(block)


class PackedEngine:
    """See `Engine`; everything is float32."""

    name, dtype = "packed", "float32"

    def __init__(self, lm: MusicLM):
        """Fold the weights of `lm`.

        Raises:
            EngineError: If the model is not on the CPU.
        """
        self.lm, self.device = lm, lm.head.weight.device
        if self.device.type != "cpu":
            raise EngineError(
                f"The packed engine runs on the CPU, not on {self.device}. Move the model there, "
                "or choose the engine reference."
            )
        config = lm.config
        self.layers = [Layer(block, lm) for block in lm.backbone.blocks]
        self.head = (numbers(lm.head.weight) * scale(lm.norm.weight)).t()
        self.embedding = numbers(lm.wide_embedding())
        self.first_rows = torch.arange(config.n_codebooks) * (config.vocab + 1)

    def plane(self, given: Conditioning) -> Tensor:
        """See `Engine`."""
        return self.lm.plane(given)

    @torch.inference_mode()
    def prefill(self, given: Conditioning, steps: int) -> PackedState:
        """See `Engine`."""
        config, rows = self.lm.config, len(given.null)
        begun = self.lm.init_state(given, 0)
        cache, mambas = None, list[MambaMemory]()
        if isinstance(begun.backbone, AttentionState):
            cache = Cache(begun.backbone, steps, config.positions == "rope")
        else:
            assert isinstance(begun.backbone, tuple)
            for layer, state in zip(self.layers, begun.backbone, strict=True):
                assert layer.mamba is not None
                mambas.append(MambaMemory(layer.mamba, state))
        return PackedState(
            torch.full((rows, config.n_codebooks), config.special_ids.bos),
            torch.empty(rows, config.d_model),
            Room(rows, config.d_model, config.d_ff),
            cache,
            mambas,
            None if begun.context is None else TextMemory(begun.context),
        )

    def _step(self, state: PackedState, plane: Tensor) -> Tensor:
        """Logits `[G, K, V]` of the next step, whose row of the plane is `[G, D]`."""
        embedded = self.embedding[state.previous + self.first_rows].sum(1)
        x = torch.add(plane, embedded, out=state.x)
        now = state.cache.advance() if state.cache is not None else None
        for number, layer in enumerate(self.layers):
            if layer.mamba is not None:
                layer.mamba.step(x, state.mambas[number])
            elif layer.attention is not None and state.cache is not None and now is not None:
                layer.attention.step(x, state.cache, now, number)
            if layer.cross is not None and state.text is not None:
                layer.cross.step(x, state.text, number)
            if layer.channel_mixer is not None:
                layer.channel_mixer.step(x, state.room)
        state.room.norm(x, state.room.normed)
        logits = torch.mm(state.room.normed, self.head)
        return in_books(logits, self.lm.sizes, self.lm.config.vocab)

    @torch.inference_mode()
    def decode_n(
        self,
        state: PackedState,
        plane: Tensor,
        noise: Tensor,
        active: Tensor,
        sampling: Sampling,
    ) -> tuple[Tensor, PackedState]:
        """See `Engine`.

        Raises:
            ValueError: If the state has no room for so many steps.
            FloatingPointError: If a logit is NaN.
        """
        bos, chosen, largest = self.lm.config.special_ids.bos, list[Tensor](), list[Tensor]()
        rows = zip(plane.float().unbind(1), noise.unbind(0), active.unbind(1), strict=True)
        for row, drawn, here in rows:
            logits = self._step(state, row)
            if sampling.guided:
                conditional, unconditional = logits.chunk(2)
                logits = guide(conditional, unconditional, sampling.guidance)
            largest.append(logits.max())  # NaN where any is
            tokens = sample(logits, drawn, sampling).where(here, bos)
            state.previous = tokens.repeat(2, 1) if sampling.guided else tokens
            chosen.append(tokens)
        if torch.stack(largest).isnan().any():
            raise FloatingPointError(DAMAGED)
        return torch.stack(chosen, dim=-1), state

    @torch.inference_mode()
    def logits(self, state: PackedState, tokens: Tensor, plane: Tensor) -> Tensor:
        """See `Engine`; leaves the state as it is."""
        found, copied = list[Tensor](), copy.deepcopy(state)
        for row, chosen in zip(plane.float().unbind(1), tokens.unbind(-1), strict=True):
            found.append(self._step(copied, row))
            copied.previous = chosen.repeat(len(state.previous) // len(chosen), 1)
        return torch.stack(found, dim=2)
