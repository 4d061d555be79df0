"""Fast decoder: what `EncodecModel.decode` computes, whole or in chunks, checked against it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import EncodecModel

from simba_music.models.fast_decoder.codec_config import codes_per_book
from simba_music.models.fast_decoder.frames import FirstConv, HeldCodes, Memory, Recurrence
from simba_music.models.fast_decoder.layers import UnsupportedCodecError, layer_of
from simba_music.models.fast_decoder.scratch import FOUND, WIDE, Held, Rows, Scratch, Step

_BLOCK = 64  # frames at a time: the more, the rarer weights are read, and the less fits the cache
_KEPT = 64  # programs of a scratch
_CLOSE = 1e-4  # of the loudest sample
_CHECKED = (5, 9)  # frames of the chunks of the check


@dataclass(frozen=True)
class DecoderState:
    """What the layers hold from one chunk to the next; of `inputs`, a row of tensors a clip."""

    codes: HeldCodes
    memory: Memory
    held: tuple[Held, ...]
    inputs: list[list[Tensor]]


class _Program(NamedTuple):
    """The steps of all layers for one length of chunk: from `frames` `[n, C]` to `sound` `[m]`."""

    frames: Tensor
    steps: list[Step]
    sound: Tensor
    held: tuple[Held, ...]


class _Workplace:
    """A scratch and the programs that were planned on it."""

    def __init__(self, like: Tensor):
        self.scratch = Scratch(like)
        self.programs: dict[tuple[int, bool, tuple[Held, ...]], _Program] = {}


class FastDecoder(nn.Module):
    """The decoder of an `EncodecModel` that is on the CPU, with copies of its weights.

    Raises:
        UnsupportedCodecError: If a layer is none that it knows.
    """

    def __init__(self, model: EncodecModel):
        super().__init__()
        if model.dtype != torch.float32 or model.device.type != "cpu":
            raise UnsupportedCodecError(f"its weights are {model.dtype} on {model.device}")
        layers: Any = model.decoder.layers
        quantizers: Any = model.quantizer.layers
        first, lstm, *rest = layers
        self.first = FirstConv(first, [each.codebook.embed for each in quantizers])
        self.recurrence = Recurrence(lstm)
        self.rest = [made for layer in rest if (made := layer_of(layer)) is not None]
        self._registered = nn.ModuleList(self.rest)
        self._idle: list[_Workplace] = []

    def start(self, batch: int, n_codebooks: int) -> DecoderState:
        """State before the first codes of `batch` clips."""
        held, inputs = zip(*(layer.start() for layer in self.rest), strict=True)
        codes = self.first.start(batch, n_codebooks)
        return DecoderState(codes, self.recurrence.start(batch), held, [list(inputs)] * batch)

    def decode(self, codes: Tensor, state: DecoderState, last: bool) -> tuple[Tensor, DecoderState]:
        """The samples `[B, 1, n]` that codes `[B, K, s]` complete; all that is left if `last`."""
        with torch.inference_mode(), self._workplace() as place:
            blocks = codes.split(_BLOCK, dim=2)
            found = []
            for i, block in enumerate(blocks):
                sound, state = self._block(place, block, state, last and i == len(blocks) - 1)
                found.append(sound)
        samples = torch.cat(found, dim=1)  # outside of it, as autograd may have to save this
        return samples[:, None], state

    @contextmanager
    def _workplace(self) -> Iterator[_Workplace]:
        """One that no other thread is using."""
        try:
            place = self._idle.pop()
        except IndexError:
            place = _Workplace(self.first.bias)
        yield place
        self._idle.append(place)

    def _block(
        self, place: _Workplace, codes: Tensor, state: DecoderState, last: bool
    ) -> tuple[Tensor, DecoderState]:
        x, held = self.first(codes, state.codes, last)
        memory, y = state.memory, x
        if len(x):
            y, memory = self.recurrence(x, memory)
        elif not last:
            return x.new_zeros(x.shape[1], 0), DecoderState(held, memory, state.held, state.inputs)
        program = self._program(place, len(x), last, state.held)
        sounds, inputs = [], []
        for i, given in enumerate(state.inputs):
            torch.add(x[:, i], y[:, i], out=program.frames)
            kept = []
            for step, before in zip(program.steps, given, strict=True):
                step.head.copy_(before)
                for op in step.ops:
                    op()
                kept.append(step.tail.clone())
            inputs.append(kept)
            sounds.append(program.sound + self.rest[-1].bias[0])
        return torch.stack(sounds), DecoderState(held, memory, program.held, inputs)

    def _program(self, place: _Workplace, n: int, last: bool, held: tuple[Held, ...]) -> _Program:
        key = (n, last, held)
        if key not in place.programs:
            size = place.scratch.size
            program = self._plan(place.scratch, n, last, held)
            # Views of memory that was replaced no longer go together.
            while place.scratch.size != size:
                place.programs.clear()
                size = place.scratch.size
                program = self._plan(place.scratch, n, last, held)
            if len(place.programs) >= _KEPT:
                place.programs.clear()
            place.programs[key] = program
        return place.programs[key]

    def _plan(self, scratch: Scratch, n: int, last: bool, held: tuple[Held, ...]) -> _Program:
        x = Rows(0, n, len(self.first.bias))
        frames, bias = scratch.view(FOUND, *x), self.first.bias.new_zeros(WIDE * x.c)
        steps = []
        for layer, before in zip(self.rest, held, strict=True):
            step = layer.plan(scratch, x, bias, before, last)
            x, bias = step.found, layer.bias
            steps.append(step)
        sound = scratch.view(FOUND, *x)[:, 0]
        return _Program(frames, steps, sound, tuple(step.held for step in steps))


@torch.no_grad()
def encodec_decode(model: EncodecModel, codes: Tensor) -> Tensor:
    """Samples `[B, 1, n]` of codes `[B, K, S]`, by the model itself."""
    untyped: Any = model
    samples: Tensor = untyped.decode(codes[None].to(model.device), [None]).audio_values
    return samples


def fast_decoder(model: EncodecModel) -> FastDecoder:
    """The decoder of a model on the CPU, found to agree with it on a few codes.

    Raises:
        UnsupportedCodecError: If there is none for this model, or its sound differs.
    """
    decoder = FastDecoder(model)
    generator = torch.Generator().manual_seed(0)
    sizes = torch.tensor(codes_per_book(model.config))[:, None]
    for k in sorted({1, decoder.first.n_books}):
        chosen = torch.rand((2, k, sum(_CHECKED)), generator=generator)
        codes = (chosen * sizes[:k]).long()
        state, parts = decoder.start(2, k), []
        for i, chunk in enumerate(codes.split(_CHECKED, dim=2)):
            sound, state = decoder.decode(chunk, state, last=i == len(_CHECKED) - 1)
            parts.append(sound)
        wanted = encodec_decode(model, codes)
        error = float((torch.cat(parts, dim=2) - wanted).abs().max())
        if not error <= _CLOSE * float(wanted.abs().max()):
            raise UnsupportedCodecError(f"a sample of the fast decoder was wrong by {error:.2g}")
    return decoder
