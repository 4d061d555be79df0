"""Frozen EnCodec: Waveform <-> tokens; frame rate, vocabulary, sample rate."""

import logging
import math
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import EncodecModel

from simba_music.audio import Waveform, resample
from simba_music.config import CodecRef
from simba_music.errors import CheckpointError
from simba_music.files import check_sha256

logger = logging.getLogger(__name__)

WEIGHTS = "model.safetensors"


class Codec:
    """One codebook of a `transformers.EncodecModel`; mono, float32."""

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
        self.sample_rate, self.frame_rate = ref.sample_rate, ref.frame_rate

    @classmethod
    def load(cls, source: str | Path, ref: CodecRef, device: str = "cpu") -> "Codec":
        """Load strictly from a folder or a Hub repository.

        Args:
            source: folder or repository id.
            ref: what the language model expects of it.
            device: where to run.

        Raises:
            CheckpointError: If it is missing, damaged, or another codec.
        """
        if ref.sha256 is not None and (ref.id.startswith(".") or Path(source).is_dir()):
            check_sha256(Path(source) / WEIGHTS, ref.sha256)
        try:
            loaded: Any = EncodecModel.from_pretrained(
                source,
                revision=ref.revision or "main",
                dtype=torch.float32,
                use_safetensors=True,
                output_loading_info=True,
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise CheckpointError(
                f"Codec {ref.id} could not be loaded: {error} Check the path or name and, for a "
                "Hub repository, the network."
            ) from error
        model, info = loaded
        wrong = [*info["missing_keys"], *info["unexpected_keys"], *info["mismatched_keys"]]
        if wrong:
            raise CheckpointError(
                f"Codec {ref.id}: {len(wrong)} weights do not fit its config, {wrong[0]} for one."
            )
        if not all(torch.isfinite(t).all() for t in model.state_dict().values()):
            raise CheckpointError(f"Codec {ref.id} holds NaN or infinite weights.")
        return cls(model.to(device), ref)

    @torch.no_grad()
    def decode(self, tokens: Tensor) -> list[Waveform]:
        """Decode tokens `[B, 1, S]` to B waveforms `[1, S / frame_rate * sample_rate]`.

        Raises:
            ValueError: If the shape is not that or an id is outside the codebook.
        """
        if tokens.ndim != 3 or tokens.shape[1] != 1 or tokens.shape[2] == 0:
            raise ValueError(f"Tokens must be [B, 1, S] with S > 0, got {list(tokens.shape)}.")
        low, high = int(tokens.min()), int(tokens.max())
        if low < 0 or high >= self.ref.codebook_size:
            raise ValueError(
                f"Token ids must be 0 to {self.ref.codebook_size - 1}, got {low} to {high}."
            )
        device = next(self.model.parameters()).device
        samples = self.model.decode(tokens[None].to(device), [None]).audio_values.cpu()
        return [Waveform(row, self.sample_rate) for row in samples]

    @torch.no_grad()
    def encode(self, wave: Waveform) -> Tensor:
        """First codebook of a waveform, tokens `[1, 1, S]`; mixed to mono and resampled first."""
        mono = resample(
            Waveform(wave.samples.mean(0, keepdim=True), wave.sample_rate), self.sample_rate
        )
        device = next(self.model.parameters()).device
        bandwidth = min(self.model.config.target_bandwidths)
        codes = self.model.encode(mono.samples[None].to(device), bandwidth=bandwidth).audio_codes
        return codes[0, :, :1].cpu()
