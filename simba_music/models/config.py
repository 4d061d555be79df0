"""LMConfig and its parts: frozen, mirrored 1:1 by config.json, unknown key = error."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from simba_music.conditioning.registry import read_conditions
from simba_music.conditioning.text import Text
from simba_music.conditioning.types import Condition
from simba_music.files import StrictModel

SCHEMA = 2
MOST_LAYERS = 128
EXPAND = 2  # width of the Mamba-2 inner stream, as a multiple of d_model


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
    """Which codec the tokens belong to; `id` is a Hub repository, or a path beside the model.

    `codes_per_book` says how many codes each of its books has, of at most `codebook_size`; None is
    all of them.
    """

    id: str
    revision: str | None = None
    sha256: str | None = None
    sample_rate: int = Field(gt=0, le=192_000)
    frame_rate: int = Field(gt=0, le=1000)
    codebook_size: int = Field(gt=1, le=65_536)
    codes_per_book: tuple[int, ...] | None = None

    @model_validator(mode="after")
    def _sizes_fit(self) -> "CodecRef":
        for size in self.codes_per_book or ():
            if not 0 < size <= self.codebook_size:
                raise ValueError(f"a book of {size} codes; allowed are 1 to {self.codebook_size}")
        return self

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

    schema_version: Literal[2] = Field(alias="schema")
    backbone: Literal["simba", "mamba", "transformer"]
    channel_mixer: Literal["mlp", "einfft", "none"]
    conditioning: Literal["prefix", "cross"]
    d_model: int = Field(gt=0, le=8192)
    n_layers: int = Field(gt=0, le=MOST_LAYERS)
    d_state: int | None = Field(default=None, gt=0, le=1024)
    n_heads: int = Field(gt=0, le=512)
    d_ff: int = Field(ge=0, le=32_768)
    positions: Literal["none", "rope", "sinusoidal"]
    conditions: dict[str, SerializeAsAny[Condition]]  # type: ignore[type-arg]
    vocab: int = Field(gt=1, le=65_536)
    n_codebooks: int = Field(ge=1, le=8)
    codebook_pattern: Literal["single", "delay", "flat"] = "single"
    special_ids: SpecialIds
    text_encoder: TextEncoderRef
    codec: CodecRef
    max_trained_s: float = Field(ge=2, le=600)
    licence: str

    @property
    def codes_per_book(self) -> tuple[int, ...]:
        """Codes of each of its K books; embeddings and heads have as many rows."""
        sizes = self.codec.codes_per_book or (self.vocab,) * self.n_codebooks
        return sizes[: self.n_codebooks]

    @property
    def cross_heads(self) -> int:
        """Heads of cross-attention, of at least 32 channels where there are so many."""
        return max(1, self.d_model // 32)

    @field_validator("conditions", mode="before")
    @classmethod
    def _known(cls, raw: object) -> object:
        return read_conditions(raw) if isinstance(raw, Mapping) else raw

    @model_validator(mode="after")
    def _fits_together(self) -> "LMConfig":
        if self.vocab != self.codec.codebook_size:
            raise ValueError(
                f"vocab is {self.vocab} but the codec has {self.codec.codebook_size} codes; "
                "they must be equal"
            )
        if self.special_ids.bos != self.vocab:
            raise ValueError(f"special_ids.bos must be {self.vocab}, got {self.special_ids.bos}")
        if len(self.codes_per_book) < self.n_codebooks:
            raise ValueError(
                f"codec.codes_per_book names {len(self.codes_per_book)} books, and n_codebooks is "
                f"{self.n_codebooks}"
            )
        if self.n_codebooks > 1 and self.codebook_pattern == "single":
            raise ValueError(
                f'codebook_pattern "single" has one codebook, not {self.n_codebooks}; '
                'use "delay" or "flat"'
            )
        text = self.conditions.get(Text.name)
        if not isinstance(text, Text) or text.states != self.text_encoder.width:
            raise ValueError(
                f"conditions.text.states must be the text encoder's {self.text_encoder.width}"
            )
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
