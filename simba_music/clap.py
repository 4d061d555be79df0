"""Text-audio alignment score, with its null band of mismatched prompts."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field, ValidationError
from torch import Tensor, nn

from simba_music.audio import Waveform, mel_bank, mono, resample
from simba_music.checkpoint import CONFIG, WEIGHTS, locate, read_module
from simba_music.config import StrictModel, TextEncoderRef
from simba_music.errors import CheckpointError
from simba_music.files import read_json, sha256, write_json
from simba_music.text_encoder import TextEmbedding, TextEncoder

WINDOW_S = 10.0
SHORTEST_S = 1.0
SILENCE_RMS = 1e-4
_LEVEL_RMS = 0.1  # every clip is brought to this level, so that loudness does not score
_NULL_PROMPTS = "null_prompts.json"


class TowerConfig(StrictModel):
    """What a network on log-mel has in its config.json: spectrogram, convolutions, vector size."""

    schema_version: int = Field(alias="schema", ge=1, le=1)
    sample_rate: int
    fft: int
    hop: int
    mels: int
    channels: tuple[int, ...]
    width: int


class ScorerConfig(TowerConfig):
    """Shape of the bundled scorer (config.json)."""

    kind: str
    text_encoder: TextEncoderRef


@dataclass(frozen=True)
class Score:
    """How well a clip fits its prompt, or why it was not scored.

    cosine in [-1, 1]; percentile: share of mismatched prompts, in %, that fit the clip less well.
    """

    scorer: str
    revision: str
    cosine: float | None
    percentile: float | None
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """As it stands in a recipe."""
        return asdict(self)


class LogMel(nn.Module):
    """Log-mel spectrograms of audio brought to one level, floor 1e-4 inside the log."""

    def __init__(self, sample_rate: int, fft: int, hop: int, mels: int):
        super().__init__()
        self.fft, self.hop = fft, hop
        self.register_buffer("bank", mel_bank(sample_rate, fft, mels), persistent=False)
        self.register_buffer("window", torch.hann_window(fft), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """`[B, M, frames]` of samples `[B, T]`."""
        rms = samples.pow(2).mean(-1, keepdim=True).sqrt().clamp(min=1e-6)
        window = self.get_buffer("window")
        level = samples * (_LEVEL_RMS / rms)
        spec = torch.stft(level, self.fft, self.hop, window=window, return_complex=True)
        return torch.log(self.get_buffer("bank") @ spec.abs() / window.sum() + 1e-4)


class ConvTower(nn.Sequential):
    """Convolutions on log-mel, each halving both axes, then mean and maximum over time."""

    def __init__(self, channels: tuple[int, ...], mels: int):
        layers: list[nn.Module] = []
        for before, after in zip((1, *channels), channels, strict=False):
            convolution = nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(after), nn.GELU()]
        super().__init__(*layers)
        self.width = 2 * channels[-1] * math.ceil(mels / 2 ** len(channels))

    def forward(self, log_mel: Tensor) -> Tensor:
        """`[B, width]` of log-mels `[B, M, frames]`."""
        features = super().forward((log_mel[:, None] + 6) / 2).flatten(1, 2)
        return torch.cat([features.mean(-1), features.amax(-1)], dim=-1)


class ScorerModel(nn.Module):
    """Contrastive two-tower model: convolutions on log-mel, and an MLP on mean text states."""

    def __init__(self, config: ScorerConfig):
        super().__init__()
        self.config = config
        self.audio = ConvTower(config.channels, config.mels)
        self.audio_head = nn.Linear(self.audio.width, config.width)
        self.text_head = nn.Sequential(
            nn.Linear(config.text_encoder.width, 2 * config.width),
            nn.GELU(),
            nn.Linear(2 * config.width, config.width),
        )
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.log_mel = LogMel(config.sample_rate, config.fft, config.hop, config.mels)

    def embed_audio(self, log_mel: Tensor) -> Tensor:
        """Unit vectors `[B, E]` of log-mels `[B, M, frames]`."""
        return F.normalize(self.audio_head(self.audio(log_mel)), dim=-1)

    def embed_text(self, mean_states: Tensor) -> Tensor:
        """Unit vectors `[B, E]` of mean text states `[B, D_text]`."""
        return F.normalize(self.text_head(mean_states), dim=-1)


def mean_states(text: TextEmbedding) -> Tensor:
    """Mean of the unmasked token states `[B, D_text]`."""
    return (text.states * text.mask[..., None]).sum(1) / text.mask.sum(1, keepdim=True)


class Scorer:
    """The bundled scorer with its text encoder and its fixed set of mismatched prompts."""

    def __init__(
        self,
        model: ScorerModel,
        encoder: TextEncoder,
        null_prompts: list[str],
        identifier: str,
        revision: str,
    ):
        self.model, self.encoder = model.eval().requires_grad_(False), encoder
        self.identifier, self.revision = identifier, revision
        self.null = self.embed_prompts(null_prompts)

    @classmethod
    def load(cls, source: str) -> "Scorer":
        """Load a scorer folder or Hub repository strictly.

        Raises:
            CheckpointError: If it is missing, damaged, or not a scorer.
        """
        folder = locate(source).folder
        try:
            config = ScorerConfig.model_validate(read_json(folder / CONFIG))
        except ValidationError as error:
            raise CheckpointError(f"{folder / CONFIG} is not a scorer's: {error}") from error
        model = read_module(lambda: ScorerModel(config), folder)
        prompts = read_json(folder / _NULL_PROMPTS)
        encoder = TextEncoder.load(config.text_encoder)
        return cls(model, encoder, prompts, config.kind, sha256(folder / WEIGHTS)[:12])

    @torch.no_grad()
    def embed_prompts(self, prompts: list[str]) -> Tensor:
        """Unit vectors `[B, E]` of prompts."""
        return self.model.embed_text(mean_states(self.encoder.encode(prompts)))

    @torch.no_grad()
    def embed_wave(self, wave: Waveform) -> Tensor:
        """Unit vector `[E]` of a clip: the mean over windows of 10 s, the last one flush right."""
        samples = resample(mono(wave), self.model.config.sample_rate).samples[0]
        size = round(WINDOW_S * self.model.config.sample_rate)
        starts = [*range(0, max(1, len(samples) - size), size), max(0, len(samples) - size)]
        windows = [samples[s : s + size] for s in sorted(set(starts))]
        vectors = [self.model.embed_audio(self.model.log_mel(w[None]))[0] for w in windows]
        return F.normalize(torch.stack(vectors).mean(0), dim=-1)

    def score(self, wave: Waveform, prompt: str) -> Score:
        """Score a clip against its prompt; a clip that is too short or silent is not scored."""
        reason = None
        if wave.duration_s < SHORTEST_S:
            reason = f"shorter than {SHORTEST_S:g} s"
        elif float(wave.samples.pow(2).mean().sqrt()) < SILENCE_RMS:
            reason = "silent"
        if reason is not None:
            return Score(self.identifier, self.revision, None, None, reason)
        audio = self.embed_wave(wave)
        cosine = float(audio @ self.embed_prompts([prompt])[0])
        below = float((self.null @ audio < cosine).float().mean())
        return Score(self.identifier, self.revision, round(cosine, 4), round(100 * below, 1))


def save_null_prompts(folder: Path, prompts: list[str]) -> None:
    """Write the fixed set of prompts that the percentile is measured against."""
    write_json(folder / _NULL_PROMPTS, prompts)
