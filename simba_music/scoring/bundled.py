"""Bundled scorer: our own contrastive network on log-mel and mean text states."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from pydantic import Field, ValidationError
from torch import Tensor, nn

from simba_music.audio import mel_bank
from simba_music.conditioning.text import mean_states
from simba_music.errors import CheckpointError
from simba_music.files import StrictModel, problems, read_json, sha256, write_json
from simba_music.hub.places import CONFIG, WEIGHTS
from simba_music.hub.weights import check_recorded
from simba_music.models.checkpoint import read_module
from simba_music.models.config import TextEncoderRef
from simba_music.models.text_encoder import TextEncoder, one_of
from simba_music.scoring.score import Scorer

NULL_PROMPTS = "null_prompts.json"
_LEVEL_RMS = 0.1  # every clip is brought to this level, so that loudness does not score


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
        # A floor, not a clamp, as in the codec's losses: it has a gradient below too.
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
        # Music at this level has log-mels of about -7 +- 1.5, so this is of about unit size.
        spectrum = (log_mel[:, None] + 6) / 2
        for layer in self:
            spectrum = layer(spectrum)
        # The mean says how much of something there is, the maximum whether there is any.
        features = spectrum.flatten(1, 2)
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
        # A temperature of 0.07 at first, learned as in CLIP (Radford et al. 2021, arXiv
        # 2103.00020).
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.log_mel = LogMel(config.sample_rate, config.fft, config.hop, config.mels)

    def embed_audio(self, log_mel: Tensor) -> Tensor:
        """Unit vectors `[B, E]` of log-mels `[B, M, frames]`."""
        return F.normalize(self.audio_head(self.audio(log_mel)), dim=-1)

    def embed_text(self, mean_states: Tensor) -> Tensor:
        """Unit vectors `[B, E]` of mean text states `[B, D_text]`."""
        return F.normalize(self.text_head(mean_states), dim=-1)


class BundledScorer(Scorer):
    """A scorer trained by this repository, with its text encoder."""

    def __init__(self, model: ScorerModel, encoder: TextEncoder, revision: str):
        super().__init__(model.config.kind, revision, model.config.sample_rate)
        self.model, self.encoder = model.eval().requires_grad_(False), encoder

    @classmethod
    def load(cls, folder: Path, encoders: Sequence[TextEncoder] = ()) -> "BundledScorer":
        """Load a scorer's folder strictly; of `encoders`, which are loaded, it takes its own.

        Raises:
            CheckpointError: If it is damaged, not a scorer, or collapsed.
        """
        try:
            config = ScorerConfig.model_validate(read_json(folder / CONFIG))
        except ValidationError as error:
            raise CheckpointError(
                f"{folder / CONFIG} is not a scorer's: {problems(error, 'config')}. Use the folder "
                "that `train scorer` wrote, or --scorer none."
            ) from error
        model = read_module(lambda: ScorerModel(config), folder)
        check_recorded(folder)
        encoder = one_of(encoders, config.text_encoder) or TextEncoder.load(config.text_encoder)
        scorer = cls(model, encoder, sha256(folder / WEIGHTS)[:12])
        scorer.prepare(_null_prompts(folder))
        return scorer

    @torch.no_grad()
    def embed_prompts(self, prompts: Sequence[str]) -> Tensor:
        """See `Scorer`."""
        return self.model.embed_text(mean_states(self.encoder.encode(list(prompts))))

    @torch.no_grad()
    def embed_samples(self, samples: Tensor) -> Tensor:
        """See `Scorer`."""
        return self.model.embed_audio(self.model.log_mel(samples))


def _null_prompts(folder: Path) -> list[str]:
    """The fixed set of prompts of a scorer's folder.

    Raises:
        CheckpointError: If the file is no list of texts.
    """
    found = read_json(folder / NULL_PROMPTS)
    if not isinstance(found, list) or not found or not all(isinstance(p, str) for p in found):
        raise CheckpointError(
            f"{folder / NULL_PROMPTS} must be a list of prompts, at least one; it is something "
            "else. Copy the scorer's folder again, or use --scorer none."
        )
    return found


def save_null_prompts(folder: Path, prompts: list[str]) -> None:
    """Write the fixed set of prompts that the percentile is measured against."""
    write_json(folder / NULL_PROMPTS, prompts)
