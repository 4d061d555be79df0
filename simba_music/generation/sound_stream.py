"""Sound stream: codes to chunks of sound while a take is being made."""

from collections.abc import Iterator

from torch import Tensor

from simba_music.audio import Waveform
from simba_music.generation.clip import AudioChunk
from simba_music.models.codec import Codec


class SoundStream:
    """The chunks of one take; a chunk holds what no later code can change."""

    def __init__(self, codec: Codec, side: str, take: int, n_codebooks: int):
        self.codec, self.side, self.take = codec, side, take
        self._state = codec.decode_init(1, n_codebooks)
        self._seq, self._start = 0, 0

    def add(self, codes: Tensor) -> Iterator[AudioChunk]:
        """A chunk, if codes `[1, K, s]` complete any sound."""
        (wave,), self._state = self.codec.decode_step(codes, self._state)
        if wave.samples.shape[-1]:
            yield self._chunk(wave, last=False)

    def end(self) -> Iterator[AudioChunk]:
        """The last chunk."""
        yield self._chunk(self.codec.decode_flush(self._state)[0], last=True)

    def _chunk(self, wave: Waveform, last: bool) -> AudioChunk:
        chunk = AudioChunk(self.side, self.take, self._seq, self._start, wave, last)
        self._seq, self._start = self._seq + 1, self._start + wave.samples.shape[-1]
        return chunk
