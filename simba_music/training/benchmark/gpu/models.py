"""Models of a GPU's benchmark: the bundled pair, and a pair with random weights on the device."""

from dataclasses import dataclass, field
from typing import Any, cast

import torch

from simba_music.conditioning.request import Request
from simba_music.conditioning.types import TextEmbedding
from simba_music.generation.decoding import read_requests
from simba_music.models.checkpoint import load_language_model
from simba_music.models.config import CodecRef, LMConfig
from simba_music.models.lm import MusicLM
from simba_music.models.text_encoder import TextEncoder
from simba_music.training.benchmark.systems import OURS, PROMPT
from simba_music.training.lm.preset import Architecture, make_config, preset_with

BUNDLED, RANDOM = "bundled", "random"
TEXT_TOKENS = 16
_SPREAD = 0.02


@dataclass(frozen=True)
class Scale:
    """How large everything is: `FULL` on a GPU, `TINY` for a dry run anywhere."""

    preset: str
    many: int
    clip_s: float
    steps: int
    repeats: int
    seconds: float  # that one measurement may take
    train_tokens: int


FULL = Scale("paper", 32, 10.0, 500, 3, 5.0, 16_384)
TINY = Scale("tiny", 2, 1.0, 20, 2, 0.5, 128)


@dataclass
class Models:
    """Every model that rows need, made when it is first asked for."""

    device: str
    scale: Scale
    _made: dict[tuple[str, str], MusicLM] = field(default_factory=dict)
    _codec: CodecRef | None = None

    @property
    def codec(self) -> CodecRef:
        """The bundled models' codec."""
        if self._codec is None:
            self._codec = load_language_model("simba", "cpu")[0].config.codec
        return self._codec

    def config(self, system: str) -> LMConfig:
        """The config of the pair with random weights."""
        architecture = Architecture(cast(Any, system))
        return make_config(architecture, preset_with(self.scale.preset), self.codec)

    def lm(self, size: str, system: str) -> MusicLM:
        """One of the bundled or of the random pair."""
        assert size in (BUNDLED, RANDOM) and system in OURS
        if (size, system) not in self._made:
            made = load_language_model(system, self.device)[0] if size == BUNDLED else None
            self._made[size, system] = made or self.random(system)
        return self._made[size, system]

    def random(self, system: str) -> MusicLM:
        """A model with random weights, filled where it is to run."""
        config = self.config(system)
        with torch.device("meta"):
            lm = MusicLM(config)
        lm = lm.to_empty(device=self.device).eval().requires_grad_(False)
        torch.manual_seed(1)
        for name, parameter in lm.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=_SPREAD)
            else:  # norms; A = -exp(0) and the step sizes of Mamba-2
                parameter.fill_(0.0 if name.endswith(("A_log", "dt_bias", "bias")) else 1.0)
        return lm

    def name(self, size: str) -> str:
        """A size in words, with its parameters."""
        count = sum(p.numel() for p in self.lm(size, OURS[0]).parameters())
        return f"{size}, {count / 1e6:.3g} M"


class RandomText:
    """Text states of the right shape from no encoder, whose weights a machine may lack."""

    def __init__(self, width: int):
        self.width = width

    def encode(self, prompts: list[str]) -> TextEmbedding:
        """Random states `[B, L, D_text]`, the same for the same number of prompts."""
        random = torch.Generator().manual_seed(len(prompts))
        states = torch.randn(len(prompts), TEXT_TOKENS, self.width, generator=random)
        return TextEmbedding(states, torch.ones(states.shape[:2], dtype=torch.bool))

    @classmethod
    def of(cls, config: LMConfig) -> TextEncoder:
        """In the place of a model's encoder."""
        return cast(TextEncoder, cls(config.text_encoder.width))


def requests(count: int, duration_s: float) -> list[Request]:
    """Requests with guidance and top-k as they are by default, a seed each."""
    return [Request(PROMPT, duration_s, seed=1 + i) for i in range(count)]


def read(lm: MusicLM, count: int, frames: int, device: str) -> Any:
    """Conditions `[2 B, S]` of so many requests, on a device."""
    config = lm.config
    asked = requests(count, frames / config.codec.frame_rate)
    batch = read_requests(config, RandomText.of(config), asked, device)
    return batch.conditioning(frames, config.codec.frame_rate)
