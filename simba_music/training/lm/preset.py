"""Language-model presets: sizes matched across architectures, budget and schedule."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, get_args

import torch

from simba_music.conditioning.length import Length
from simba_music.conditioning.line_up import Names
from simba_music.conditioning.text import Text
from simba_music.conditioning.types import AnyCondition
from simba_music.errors import RequestError
from simba_music.models.config import EXPAND, SCHEMA, CodecRef, LMConfig
from simba_music.models.lm import MusicLM
from simba_music.training.corpus.captioning.speaker import words
from simba_music.training.corpus.tables import instruments
from simba_music.training.corpus.tokens import MINILM

Backbone = Literal["simba", "mamba", "transformer"]
Conditioning = Literal["prefix", "cross"]
LONGEST_S = 30.0  # pieces of the corpus, so what models are trained to
ENDING = {"earliest_end_s": 5.0, "unguided_lead_s": 0.5}
TOLERANCE = 0.02  # of the parameters, within a matched group
# Of drums and their absence, beyond what captions say.
DRUMMING = ("drummer", "drum machine", "drum loop")
NO_DRUMS = (
    "beatless", "no percussion", "without percussion", "without any percussion",
    "without any drums", "no drummer", "without a drummer",
)  # fmt: skip


class Architecture(NamedTuple):
    """What is compared; everything else is held equal."""

    backbone: Backbone = "simba"
    channel_mixer: Literal["mlp", "einfft", "none"] = "mlp"
    conditioning: Conditioning = "prefix"

    @property
    def name(self) -> str:
        """Such as `simba-einfft-cross`; what goes without saying is left out."""
        said = self.channel_mixer if self.backbone == "simba" else ""
        return "-".join(part for part in (self.backbone, said, self.conditioning) if part)


ARCHITECTURES = {
    a.name: a
    for conditioning in get_args(Conditioning)
    for a in (
        Architecture("simba", "mlp", conditioning),
        Architecture("simba", "einfft", conditioning),
        Architecture("mamba", "none", conditioning),
        Architecture("transformer", "mlp", conditioning),
    )
}


@dataclass(frozen=True)
class LMPreset:
    """Size of SiMBA with an MLP, which every architecture is matched to, and the schedule.

    A step is `tokens_per_batch` tokens, in `accumulate` parts. The learning rate warms up, stays,
    and falls to nothing over the last `decay_share` of the steps (WSD, Hu et al. 2024, arXiv
    2404.06395), so that a longer training can go on from where the fall began.
    """

    d_model: int
    n_layers: int
    d_ff: int
    d_state: int = 64
    head: int = 64  # channels of a head
    n_codebooks: int = 1
    codebook_pattern: Literal["single", "delay", "flat"] = "single"
    positions: Literal["default", "sinusoidal"] = "default"  # rope for attention, else none
    steps: int = 1000
    tokens_per_batch: int = 8_000
    accumulate: int = 1
    optimiser: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 1e-3
    muon_rate: float = 2.0  # Muon's learning rate over AdamW's
    warmup_steps: int = 100
    decay_share: float = 0.2
    weight_decay: float = 0.1
    drop_text: float = 0.1
    # Conditions by name, beside the text, with their settings for config.json.
    conditions: Mapping[str, Mapping[str, float | bool]] = field(
        default_factory=lambda: {"length": ENDING}
    )
    drop: Mapping[str, float] = field(default_factory=dict)  # share of the crops, if not its own
    tail_share: float = 0.05  # crops of which only the last 2 to 6 s are kept, as short pieces
    window_share: float = 0.0  # parts of a step that hold windows of crops, of 3 to 10 s
    mishear_share: float = 0.0  # crops in which spans of the input are of others
    ema_decay: float = 0.995
    validate_every: int = 100
    snapshots: tuple[int, ...] = ()
    precision: Literal["auto", "float32"] = "auto"
    compile: bool = False
    seed: int = 0

    def dropping(self, conditions: Mapping[str, AnyCondition]) -> list[tuple[str, float]]:
        """Share of the crops that lack each condition, text and length apart, which stay."""
        return [
            (name, self.drop.get(name, condition.drop))
            for name, condition in conditions.items()
            if name not in (Text.name, Length.name)
        ]


# Conditions of the models that are bundled, or could be; levels as searched for the bundled pair.
BUNDLED: dict[str, Mapping[str, float | bool]] = {
    "length": {**ENDING, "end_clock": True, "tail_s": 1.5},
    "beat": {"unguided": 0.85},
    # Below 1 in the unconditional branch: guidance then leads to the condition beyond what the
    # prompt's text does alone.
    "key": {"guided": 1.5, "unguided": 0.5},
    "line_up": {"guided": 1.5},
}

# What two CPU cores train in an hour and a half, a model a core: fewer parameters, more tokens.
_CPU = LMPreset(
    256,
    4,
    640,
    steps=1600,
    tokens_per_batch=4_500,
    optimiser="muon",
    window_share=0.7,
    mishear_share=0.5,
    conditions=BUNDLED,
    learning_rate=1.5e-3,
    validate_every=150,
    snapshots=(150, 450, 1000),
)
PRESETS = {
    "tiny": LMPreset(
        32, 2, 48, 8, 16, steps=30, tokens_per_batch=800, validate_every=10, precision="float32"
    ),
    # For comparisons with several seeds: minutes on one CPU core.
    "small": LMPreset(
        128,
        4,
        256,
        steps=600,
        tokens_per_batch=2_500,
        window_share=0.7,
        learning_rate=2e-3,
        warmup_steps=50,
        validate_every=50,
        snapshots=(100, 300),
    ),
    "cpu": _CPU,
    # Grown in depth from the bundled pair (`--start`): each layer and a copy of it.
    "bundle-8": replace(
        _CPU,
        n_layers=8,
        conditions=BUNDLED | {"chords": {}, "density": {}},
        steps=9000,
        learning_rate=1e-3,
        validate_every=300,
        snapshots=(),
    ),
    # The bundled size on four books, to begin with a bundled model's weights (`--start`).
    "books-4": replace(
        _CPU,
        n_codebooks=4,
        codebook_pattern="delay",
        steps=3600,
        learning_rate=1e-3,
        validate_every=200,
        snapshots=(),
    ),
    "bundle": LMPreset(
        384, 8, 768, steps=6000, conditions=BUNDLED | {"chords": {}}, snapshots=(500, 1500, 3000)
    ),
    "gpu": LMPreset(
        640,
        8,
        1536,
        steps=8000,
        tokens_per_batch=64_000,
        accumulate=2,
        conditions=BUNDLED,
        warmup_steps=300,
        compile=True,
    ),
    "paper": LMPreset(1024, 24, 2816, d_state=128, tokens_per_batch=128_000, accumulate=8),
}


@functools.cache
def line_up_names() -> Names:
    """What captions call every instrument of the composer, drums, and their absence."""
    said = words()
    kit = [name.removeprefix("a ") for name in said["drums"]["words"]]
    kit += [*DRUMMING, *(name for names in said["percussion"].values() for name in names)]
    absent = [*said["family"]["drums"], *NO_DRUMS]
    named = [(title, *one.every_name) for title, one in sorted(instruments().items())]
    return tuple(
        tuple(dict.fromkeys(names)) for names in (*named, ("drum kit", *kit), ("drumless", *absent))
    )


def condition_settings(preset: LMPreset) -> dict[str, dict[str, object]]:
    """Conditions of a preset's models as in config.json, text, longest length and names added."""
    found = {name: dict[str, object](settings) for name, settings in preset.conditions.items()}
    found["text"] = {"states": MINILM.width}
    found["length"]["longest_s"] = LONGEST_S
    if "line_up" in found:
        found["line_up"]["names"] = line_up_names()
    return found


def preset_with(name: str, **changes: Any) -> LMPreset:
    """A named preset with some fields changed (None means unchanged).

    Raises:
        RequestError: If there is no such preset.
    """
    if name not in PRESETS:
        raise RequestError(f"No preset {name!r}; there are {', '.join(PRESETS)}.")
    return replace(PRESETS[name], **{k: v for k, v in changes.items() if v is not None})


def count_parameters(config: LMConfig) -> int:
    """Parameters of a model of this config; nothing is allocated."""
    with torch.device("meta"):
        return sum(p.numel() for p in MusicLM(config).parameters())


def _config(architecture: Architecture, preset: LMPreset, codec: CodecRef, **size: int) -> LMConfig:
    transformer = architecture.backbone == "transformer"
    size = {"d_model": preset.d_model, "n_layers": preset.n_layers, "d_ff": preset.d_ff} | size
    # Heads of one size in both: 64 channels, of d_model for attention and of 2 d_model for Mamba-2.
    inner = size["d_model"] * (1 if transformer else EXPAND)
    positions = "rope" if transformer else "none"
    return LMConfig.model_validate(
        {
            "schema": SCHEMA,
            **architecture._asdict(),
            **size,
            "d_state": None if transformer else preset.d_state,
            "n_heads": inner // preset.head,
            "positions": positions if preset.positions == "default" else preset.positions,
            "conditions": condition_settings(preset),
            "vocab": codec.codebook_size,
            "n_codebooks": preset.n_codebooks,
            "codebook_pattern": preset.codebook_pattern,
            "special_ids": {"bos": codec.codebook_size},
            "text_encoder": MINILM.model_dump(),
            "codec": codec.model_dump(),
            "max_trained_s": LONGEST_S,
            "licence": "Apache-2.0",
        }
    )


def make_config(architecture: Architecture, preset: LMPreset, codec: CodecRef) -> LMConfig:
    """The config of an architecture, with as many parameters as SiMBA with an MLP has.

    They are matched among those that are conditioned alike: where there is an MLP by its width,
    else by the number of layers and, if need be, the width of the model.

    Raises:
        RequestError: If no size comes within 2 %.
    """
    same_text = Architecture(conditioning=architecture.conditioning)
    wanted = count_parameters(_config(same_text, preset, codec))

    def solved(free: str, step: int, **size: int) -> LMConfig:
        """The size whose `free` dimension, on which parameters depend linearly, fits best."""
        low, high = (
            count_parameters(_config(architecture, preset, codec, **size, **{free: n * step}))
            for n in (1, 2)
        )
        # Two counts give the line; parameters are linear in the MLP's width and in the layers.
        n = max(1, round(1 + (wanted - low) / (high - low)))
        return _config(architecture, preset, codec, **size, **{free: n * step})

    if architecture.channel_mixer == "mlp":
        configs = iter([solved("d_ff", 8)])
    else:
        around = (preset.d_model + k * preset.head // 2 for k in (0, 1, -1, 2, -2, 3, -3, 4, 5, 6))
        widths = [width for width in around if width >= 0.75 * preset.d_model]
        configs = (solved("n_layers", 1, d_ff=0, d_model=width) for width in widths)
    for config in configs:
        if abs(count_parameters(config) / wanted - 1) <= TOLERANCE:
            return config
    raise RequestError(
        f"{architecture.name} has no size within {TOLERANCE:.0%} of {wanted} parameters; "
        "change the preset's d_model or n_layers."
    )
