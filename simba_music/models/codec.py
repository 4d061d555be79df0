"""Frozen EnCodec: Waveform <-> codes, whole or streamed; frame rate, codes, sample rate."""

import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import EncodecModel
from transformers.models.encodec.modeling_encodec import EncodecResnetBlock

from simba_music.audio import Waveform, mono, resample
from simba_music.errors import CheckpointError
from simba_music.files import check_sha256
from simba_music.hub.fetch import CHECKPOINT_FILES, OnDownload, fetch, ignore
from simba_music.hub.places import WEIGHTS, is_folder
from simba_music.hub.weights import check_recorded, weight_files
from simba_music.models.config import CodecRef
from simba_music.models.fast_decoder.codec_config import (
    check_bounds,
    codes_per_book,
    may_be_missing,
    no_load_report,
)
from simba_music.models.fast_decoder.decoder import (
    DecoderState,
    FastDecoder,
    encodec_decode,
    fast_decoder,
)
from simba_music.models.fast_decoder.layers import UnsupportedCodecError

logger = logging.getLogger(__name__)


def _skip_idle(model: EncodecModel) -> None:
    """Have residual blocks of the encoder that add nothing pass on what they are given.

    A codec whose decoder was made deeper has them (`training.codec.deepening`); its tokens stay.
    """
    for block in model.encoder.layers:
        if not isinstance(block, EncodecResnetBlock) or not isinstance(block.shortcut, nn.Identity):
            continue
        last: Any = block.block[-1]
        if not last.conv.weight.any() and not last.conv.bias.any():
            setattr(block, "forward", block.shortcut.forward)  # noqa: B010


@dataclass(frozen=True)
class DecodeState:
    """What a streaming decode carries from one chunk to the next: how many frames it was given.

    Where there is no fast decoder it carries their `codes` `[B, K, frames]`.
    """

    batch: int
    n_codebooks: int
    frames: int
    fast: DecoderState | None
    codes: Tensor | None


class Codec:
    """A `transformers.EncodecModel` with `n_codebooks` residual books; mono, float32.

    The first K books are used alone by giving, or asking for, codes of K books. Book k has
    `codes_per_book[k]` codes, of at most `ref.codebook_size`.
    """

    def __init__(self, model: EncodecModel, ref: CodecRef):
        config = model.config
        found = (config.sampling_rate, math.ceil(config.frame_rate), config.codebook_size)
        wanted = (ref.sample_rate, ref.frame_rate, ref.codebook_size)
        if found != wanted:
            raise CheckpointError(
                f"Codec {ref.id} has (sample rate, frame rate, codes) {found}, the checkpoint "
                f"expects {wanted}. Use the codec that the checkpoint was trained with."
            )
        if config.audio_channels != 1 or config.normalize:
            raise CheckpointError(
                f"Codec {ref.id} is stereo or normalises its chunks; only mono EnCodec such as "
                "facebook/encodec_24khz or facebook/encodec_32khz is supported."
            )
        self.model, self.ref = model.eval().requires_grad_(False), ref
        _skip_idle(model)
        self.sample_rate, self.frame_rate = ref.sample_rate, ref.frame_rate
        self.n_codebooks = len(model.quantizer.layers)
        self.codes_per_book = codes_per_book(config)
        if ref.codes_per_book not in (None, self.codes_per_book):
            raise CheckpointError(
                f"Codec {ref.id} has books of {self.codes_per_book} codes, the checkpoint expects "
                f"{ref.codes_per_book}. Use the config.json that was saved with its weights."
            )
        self.fast: FastDecoder | None = None  # on the CPU, wherever the model is
        try:
            self.fast = fast_decoder(model)
        except UnsupportedCodecError as error:
            logger.warning("Codec %s is decoded slowly, by transformers: %s.", ref.id, error)

    @property
    def decoder(self) -> str:
        """What decodes whole clips: `fast`, or `transformers` on a GPU and where `fast` is None."""
        return "transformers" if self.fast is None or not self._on_cpu else "fast"

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """What it holds in memory."""
        return (self.model,) if self.fast is None else (self.model, self.fast)

    @property
    def _on_cpu(self) -> bool:
        device: torch.device = self.model.device
        return device.type == "cpu"

    @classmethod
    def load(
        cls,
        source: str | Path,
        ref: CodecRef,
        device: str = "cpu",
        on_download: OnDownload = ignore,
    ) -> "Codec":
        """Load strictly from a folder or a Hub repository.

        Args:
            source: folder or repository id.
            ref: what the language model expects of it.
            device: where to run.
            on_download: called while it downloads.

        Raises:
            CheckpointError: If it is missing, damaged, or another codec.
        """
        folder = Path(source)
        if not is_folder(source) and not ref.id.startswith("."):
            folder = fetch(str(source), ref.revision, CHECKPOINT_FILES, on_download).folder
        weight_files(folder)  # says what lies in their place
        if ref.sha256 is not None:
            check_sha256(folder / WEIGHTS, ref.sha256)
        else:
            check_recorded(folder)
        check_bounds(folder)
        try:
            with no_load_report():
                loaded: Any = EncodecModel.from_pretrained(
                    folder,
                    dtype=torch.float32,
                    use_safetensors=True,
                    output_loading_info=True,
                )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise CheckpointError(
                f"Codec {ref.id} could not be loaded: {error} Check the path or name."
            ) from error
        model, info = loaded
        missing = [name for name in info["missing_keys"] if not may_be_missing(name)]
        wrong = [*missing, *info["unexpected_keys"], *info["mismatched_keys"]]
        if wrong:
            raise CheckpointError(
                f"Codec {ref.id}: {len(wrong)} weights do not fit its config, {wrong[0]} for one."
            )
        if not all(torch.isfinite(t).all() for t in model.state_dict().values()):
            raise CheckpointError(f"Codec {ref.id} holds NaN or infinite weights.")
        codec = cls(model, ref)
        codec.model.to(device)
        return codec

    @torch.no_grad()
    def decode(self, codes: Tensor) -> list[Waveform]:
        """Decode codes `[B, K, S]` to B waveforms `[1, S / frame_rate * sample_rate]`.

        Raises:
            ValueError: If the shape is not that or an id is outside the codebook.
        """
        if codes.ndim == 3 and codes.shape[2] == 0:
            raise ValueError("There are no frames to decode: codes must be [B, K, S], S > 0.")
        self._check(codes)
        return self._waves(self._decode(codes))

    def _decode(self, codes: Tensor) -> Tensor:
        """Samples `[B, 1, n]` of whole clips."""
        if self.fast is None or not self._on_cpu:
            return encodec_decode(self.model, codes)
        state = self.fast.start(*codes.shape[:2])
        return self.fast.decode(codes.cpu(), state, last=True)[0]

    def _waves(self, samples: Tensor) -> list[Waveform]:
        return [Waveform(row, self.sample_rate) for row in samples.cpu()]

    def decode_init(self, batch: int, n_codebooks: int = 1) -> DecodeState:
        """State of a streaming decode of `batch` clips before their first codes."""
        if self.fast is None:
            codes = torch.zeros(batch, n_codebooks, 0, dtype=torch.long)
            return DecodeState(batch, n_codebooks, 0, None, codes)
        return DecodeState(batch, n_codebooks, 0, self.fast.start(batch, n_codebooks), None)

    def decode_step(self, codes: Tensor, state: DecodeState) -> tuple[list[Waveform], DecodeState]:
        """Decode the next codes `[B, K, s]`, as far as no later code can change it.

        All chunks end to end, with `decode_flush` last, are what `decode` returns. Unless it is
        causal, the decoder reaches ahead, by half its first kernel and a few frames more, so a
        chunk may hold less than it was given. Streams are decoded on the CPU. Where `fast` is
        None, all sound comes last.

        Raises:
            ValueError: As `decode`.
        """
        self._check(codes)
        if codes.shape[1] != state.n_codebooks:
            raise ValueError(
                f"The codes are of {codes.shape[1]} codebooks, and the stream began with "
                f"{state.n_codebooks}; say how many in decode_init."
            )
        frames = state.frames + codes.shape[2]
        if self.fast is None or state.fast is None:
            assert state.codes is not None
            joined = torch.cat([state.codes, codes.cpu()], dim=2)
            return self._silence(state), replace(state, frames=frames, codes=joined)
        samples, fast = self.fast.decode(codes.cpu(), state.fast, last=False)
        return self._waves(samples), replace(state, frames=frames, fast=fast)

    @torch.no_grad()
    def decode_flush(self, state: DecodeState) -> list[Waveform]:
        """The rest of a streaming decode."""
        if not state.frames:
            return self._silence(state)
        if self.fast is None or state.fast is None:
            assert state.codes is not None
            return self._waves(self._decode(state.codes))
        none = torch.zeros(state.batch, state.n_codebooks, 0, dtype=torch.long)
        return self._waves(self.fast.decode(none, state.fast, last=True)[0])

    def _silence(self, state: DecodeState) -> list[Waveform]:
        return [Waveform(torch.zeros(1, 0), self.sample_rate)] * state.batch

    def _check(self, codes: Tensor) -> None:
        """Refuse codes that are not `[B, K, S]` ids of books that this codec has."""
        if codes.ndim != 3 or not 1 <= codes.shape[1] <= self.n_codebooks:
            raise ValueError(
                f"Codes must be [B, K, S] of 1 to {self.n_codebooks} codebooks, got "
                f"{list(codes.shape)}."
            )
        if codes.numel() == 0:
            return
        low, highest = int(codes.min()), codes.amax((0, 2)).tolist()
        for book, (high, size) in enumerate(zip(highest, self.codes_per_book, strict=False)):
            if low < 0 or high >= size:
                raise ValueError(
                    f"Codes must be 0 to {size - 1} in book {book + 1}, got {low} to {high}."
                )

    @torch.no_grad()
    def encode(self, wave: Waveform, n_codebooks: int = 1) -> Tensor:
        """Codes `[1, K, S]` of a waveform, mixed to mono and resampled first.

        Raises:
            ValueError: If no bandwidth of the codec has so many books.
        """
        quantizer = self.model.quantizer
        fitting = [
            bandwidth
            for bandwidth in sorted(self.model.config.target_bandwidths)
            if quantizer.get_num_quantizers_for_bandwidth(bandwidth) >= n_codebooks
        ]
        if not fitting:
            raise ValueError(f"The codec has no bandwidth with {n_codebooks} codebooks.")
        samples = resample(mono(wave), self.sample_rate).samples
        device = next(self.model.parameters()).device
        codes = self.model.encode(samples[None].to(device), bandwidth=fitting[0]).audio_codes
        found: Tensor = codes[0, :, :n_codebooks].cpu()
        return found
