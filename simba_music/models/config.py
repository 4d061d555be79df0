"""LMConfig and its parts: frozen, mirrored 1:1 by config.json, unknown key = error."""

import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SCHEMA = 1
EXPAND = 2  # width of the Mamba-2 inner stream, as a multiple of d_model


Name = Annotated[str, Field(pattern=r"\S", max_length=64)]


class StrictModel(BaseModel):
    """Base of everything that is read from a file: immutable, no unknown keys, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TextEncoderRef(StrictModel):
    """Which frozen text encoder a language model was trained with.

    `id` is `package:NAME` (weights inside an installed Python package), a directory, or a Hub
    repository; `width` is its D_text and `max_tokens` the longest prompt it takes.
    """

    id: str
    revision: str | None = None
    sha256: str | None = None
    max_tokens: int = Field(gt=0, le=4096)
    width: int = Field(gt=0, le=8192)


class CodecRef(StrictModel):
    """Which codec the tokens belong to; `id` is a Hub repository, or a path beside the model."""

    id: str
    revision: str | None = None
    sha256: str | None = None
    sample_rate: int = Field(gt=0, le=192_000)
    frame_rate: int = Field(gt=0, le=1000)
    codebook_size: int = Field(gt=1, le=65_536)

    def frames(self, duration_s: float) -> int:
        """Frames that cover so many seconds; the last one may reach beyond."""
        return math.ceil(round(duration_s * self.frame_rate, 6))

    @property
    def weights(self) -> dict[str, str]:
        """Digest of its weights by its name, for a report."""
        return {Path(self.id).name: self.sha256 or self.revision or ""}


class SpecialIds(StrictModel):
    """Token ids outside the codebook; they are inputs only and cannot be generated."""

    bos: int


class LMConfig(StrictModel):
    """Shape and provenance of a music language model (config.json).

    The bounds are wide; they keep a config from asking for more memory than any machine has.
    """

    schema_version: Literal[1] = Field(alias="schema")
    backbone: Literal["simba", "mamba", "transformer"]
    channel_mixer: Literal["mlp", "einfft", "none"]
    conditioning: Literal["prefix", "cross"]
    d_model: int = Field(gt=0, le=8192)
    n_layers: int = Field(gt=0, le=128)
    d_state: int | None = Field(default=None, gt=0, le=1024)
    n_heads: int = Field(gt=0, le=512)
    d_ff: int = Field(ge=0, le=32_768)
    positions: Literal["none", "rope", "sinusoidal"]
    beat_clock: bool = False
    end_clock: bool = False
    key_signature: bool = False
    # Names of every instrument that it is told of.
    line_up: tuple[Annotated[tuple[Name, ...], Field(min_length=1)], ...] = Field(
        default=(), max_length=1024
    )
    tail_s: float = Field(default=0, ge=0, le=10)  # silence at the end of its training pieces
    vocab: int = Field(gt=1, le=65_536)
    n_codebooks: Literal[1]
    special_ids: SpecialIds
    text_encoder: TextEncoderRef
    codec: CodecRef
    max_trained_s: float = Field(ge=2, le=600)
    licence: str

    @property
    def cross_heads(self) -> int:
        """Heads of cross-attention, of at least 32 channels where there are so many."""
        return max(1, self.d_model // 32)

    @model_validator(mode="after")
    def _fits_together(self) -> "LMConfig":
        if self.vocab != self.codec.codebook_size:
            raise ValueError(
                f"vocab is {self.vocab} but the codec has {self.codec.codebook_size} codes; "
                "they must be equal"
            )
        if self.special_ids.bos < self.vocab:
            raise ValueError(f"special_ids.bos must be {self.vocab}, got {self.special_ids.bos}")
        inner = self.d_model * (1 if self.backbone == "transformer" else EXPAND)
        if inner % self.n_heads:
            raise ValueError(f"n_heads {self.n_heads} does not divide the width {inner}")
        if self.backbone == "transformer":
            if self.positions == "none" or self.channel_mixer != "mlp":
                raise ValueError(
                    'a transformer has channel_mixer "mlp" and positions "rope" or "sinusoidal"'
                )
        elif self.positions == "rope" or not self.d_state:
            raise ValueError(f'{self.backbone} needs d_state, and positions "none" or "sinusoidal"')
        if self.conditioning == "cross" and self.d_model % self.cross_heads:
            raise ValueError(f"{self.cross_heads} heads do not divide d_model {self.d_model}")
        if (self.backbone == "mamba") != (self.channel_mixer == "none"):
            raise ValueError('channel_mixer "none" and backbone "mamba" go together')
        return self
