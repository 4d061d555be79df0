"""Language-model presets: sizes matched across architectures, budget and schedule."""

import functools
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, get_args

import torch

from simba_music.conditioning.line_up import Names
from simba_music.errors import RequestError
from simba_music.models.config import EXPAND, CodecRef, LMConfig
from simba_music.models.lm import MusicLM
from simba_music.training.corpus.captioning.speaker import words
from simba_music.training.corpus.tables import instruments
from simba_music.training.corpus.tokens import MINILM

Backbone = Literal["simba", "mamba", "transformer"]
Conditioning = Literal["prefix", "cross"]
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
    beat_clock: bool = False
    end_clock: bool = False
    key_signature: bool = False
    line_up: bool = False
    tail_s: float = 0.0  # of silence that most pieces of the corpus end with
    drop_tempo: float = 0.3  # of the crops, which a model with a clock hears without it
    drop_key: float = 0.3  # and one with a key signature
    drop_line_up: float = 0.3  # and one with a line-up
    tail_share: float = 0.05  # crops of which only the last 2 to 6 s are kept, as short pieces
    window_share: float = 0.0  # parts of a step that hold windows of crops, of 3 to 10 s
    mishear_share: float = 0.0  # crops in which the model hears spans of others
    ema_decay: float = 0.995
    validate_every: int = 100
    snapshots: tuple[int, ...] = ()
    precision: Literal["auto", "float32"] = "auto"
    compile: bool = False
    seed: int = 0


# What models that are bundled, or could be, are told besides the text.
TOLD: dict[str, Any] = {
    "beat_clock": True,
    "end_clock": True,
    "key_signature": True,
    "line_up": True,
    "tail_s": 1.5,
}

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
    # What two CPU cores train in an hour and a half, a model a core: fewer parameters, more tokens.
    "cpu": LMPreset(
        256,
        4,
        640,
        steps=1600,
        tokens_per_batch=4_500,
        optimiser="muon",
        window_share=0.7,
        mishear_share=0.5,
        **TOLD,
        learning_rate=1.5e-3,
        validate_every=150,
        snapshots=(150, 450, 1000),
    ),
    "bundle": LMPreset(384, 8, 768, steps=6000, **TOLD, snapshots=(500, 1500, 3000)),
    "gpu": LMPreset(
        640,
        8,
        1536,
        steps=8000,
        tokens_per_batch=64_000,
        accumulate=2,
        **TOLD,
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
    inner = size["d_model"] * (1 if transformer else EXPAND)
    positions = "rope" if transformer else "none"
    return LMConfig.model_validate(
        {
            "schema": 1,
            **architecture._asdict(),
            **size,
            "d_state": None if transformer else preset.d_state,
            "n_heads": inner // preset.head,
            "positions": positions if preset.positions == "default" else preset.positions,
            "beat_clock": preset.beat_clock,
            "end_clock": preset.end_clock,
            "key_signature": preset.key_signature,
            "line_up": line_up_names() if preset.line_up else (),
            "tail_s": preset.tail_s,
            "vocab": codec.codebook_size,
            "n_codebooks": 1,
            "special_ids": {"bos": codec.codebook_size},
            "text_encoder": MINILM.model_dump(),
            "codec": codec.model_dump(),
            "max_trained_s": 30.0,
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
        n = max(1, round(1 + (wanted - low) / (high - low)))
        return _config(architecture, preset, codec, **size, **{free: n * step})

    if architecture.channel_mixer == "mlp":
        configs = [solved("d_ff", 8)]
    else:
        around = (preset.d_model + k * preset.head // 2 for k in (0, 1, -1, 2, -2, 3, -3, 4, 5, 6))
        widths = [width for width in around if width >= 0.75 * preset.d_model]
        configs = [solved("n_layers", 1, d_ff=0, d_model=width) for width in widths]
    for config in configs:
        if abs(count_parameters(config) / wanted - 1) <= TOLERANCE:
            return config
    raise RequestError(
        f"{architecture.name} has no size within {TOLERANCE:.0%} of {wanted} parameters; "
        "change the preset's d_model or n_layers."
    )
