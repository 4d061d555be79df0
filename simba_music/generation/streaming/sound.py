"""Sound: codes to chunks while a take is being made, and the messages that a player gets."""

from base64 import b64encode
from collections.abc import Iterator
from typing import TypedDict

import torch
from torch import Tensor

from simba_music.audio import PEAK_DBTP, TARGET_LUFS, Waveform, mono
from simba_music.audio.emptiness import is_silent
from simba_music.generation.clip import AudioChunk
from simba_music.models.codec import Codec

# Frames that are decoded together once there is sound, and from then on: each call of the decoder
# has a cost of its own.
_SECOND, _TOGETHER = 30, 60
# What decoded clips have: the corpus is mixed to -20 LUFS, and the median of the gallery's 32 clips
# is -22.3. The final clip's own gain is known only at its end.
EXPECTED_LUFS = -22.0
_GAIN = 10 ** ((TARGET_LUFS - EXPECTED_LUFS) / 20)
_CEILING = 10 ** (PEAK_DBTP / 20)
_KNEE = 0.7  # of full scale; what is louder bends, and never passes the ceiling


class ChunkMessage(TypedDict):
    """A chunk as a player gets it: int16 PCM, mono, little-endian, near playing level."""

    clip: str
    seq: int
    start_sample: int
    sample_rate: int
    pcm_b64: str
    last: bool


class SoundStream:
    """The chunks of one take; a chunk holds what no later code can change.

    Chunks of a silent beginning are held back until there is sound, at most `held_s` seconds: a
    take that begins so can still be given up, as nothing of it was played.
    """

    def __init__(self, codec: Codec, side: str, take: int, n_codebooks: int, held_s: float = 0.0):
        self.codec, self.side, self.take, self.held_s = codec, side, take, held_s
        self._held: list[AudioChunk] = []
        self._state = codec.decode_init(1, n_codebooks)
        self._waiting: list[Tensor] = []
        self._parts: list[Tensor] = []
        self._start = 0

    def add(self, codes: Tensor) -> Iterator[AudioChunk]:
        """A chunk, if codes `[1, K, s]` complete any sound: the first at once, then larger ones."""
        self._waiting.append(codes)
        needed = (0, _SECOND, _TOGETHER)[min(len(self._parts), 2)]
        if sum(part.shape[-1] for part in self._waiting) < needed:
            return
        wave = self._decode()
        if wave.samples.shape[-1]:
            yield from self._let_go(self._chunk(wave, last=False))

    @property
    def silent(self) -> bool:
        """Whether there was nothing but silence for `held_s` seconds, or until the end if sooner.

        Whoever wants the take nevertheless has it in `rest`.
        """
        ended = bool(self._held) and self._held[-1].last
        return ended or self._held_s >= self.held_s > 0

    def rest(self) -> Iterator[AudioChunk]:
        """Chunks that were held back; none is from now on."""
        held, self._held, self.held_s = self._held, [], 0.0
        yield from held

    @property
    def _held_s(self) -> float:
        return sum(chunk.waveform.duration_s for chunk in self._held)

    def _let_go(self, chunk: AudioChunk) -> Iterator[AudioChunk]:
        """A chunk and those held before it, unless it is to be held too."""
        self._held.append(chunk)
        if not self.held_s or not is_silent(chunk.waveform):
            yield from self.rest()

    def end(self) -> Iterator[AudioChunk]:
        """The last chunk, and what was held back unless all is `silent`."""
        parts = [self._decode()] if self._waiting else []
        parts += self.codec.decode_flush(self._state)
        rest = torch.cat([part.samples for part in parts], dim=-1)
        yield from self._let_go(self._chunk(Waveform(rest, self.codec.sample_rate), last=True))

    def whole(self) -> Waveform:
        """All chunks so far, end to end."""
        return Waveform(torch.cat(self._parts, dim=-1), self.codec.sample_rate)

    def _decode(self) -> Waveform:
        codes, self._waiting = torch.cat(self._waiting, dim=-1), []
        (wave,), self._state = self.codec.decode_step(codes, self._state)
        return wave

    def _chunk(self, wave: Waveform, last: bool) -> AudioChunk:
        chunk = AudioChunk(self.side, self.take, len(self._parts), self._start, wave, last)
        self._parts.append(wave.samples)
        self._start += wave.samples.shape[-1]
        return chunk


def playable(wave: Waveform) -> Waveform:
    """A part of a take, mono and near playing level, by a gain that is the same for every take.

    Each sample is bent by itself, so that parts still meet where they met.
    """
    louder = mono(wave).samples * _GAIN
    size, room = louder.abs(), _CEILING - _KNEE
    bent = _KNEE + room * torch.tanh((size - _KNEE) / room)
    return Waveform(torch.where(size > _KNEE, bent * louder.sign(), louder), wave.sample_rate)


def message(chunk: AudioChunk, clip: str) -> ChunkMessage:
    """A chunk for a player, which knows the take as `clip`."""
    pcm = playable(chunk.waveform).int16().astype("<i2").tobytes()
    return ChunkMessage(
        clip=clip,
        seq=chunk.seq,
        start_sample=chunk.start_sample,
        sample_rate=chunk.waveform.sample_rate,
        pcm_b64=b64encode(pcm).decode(),
        last=chunk.last,
    )
