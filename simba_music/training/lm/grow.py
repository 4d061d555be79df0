"""LM growth in depth: each layer followed by copies that add nothing yet; it plays alike."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from simba_music.errors import RequestError
from simba_music.files import read_json, sha256, write_json
from simba_music.hub.places import WEIGHTS
from simba_music.models.checkpoint import load_language_model, save_language_model
from simba_music.models.config import MOST_LAYERS, LMConfig
from simba_music.models.lm import MusicLM

_BLOCK = re.compile(r"backbone\.blocks\.(\d+)\.(.+)")
# Where the residual branches of a block end: attention and cross-attention, Mamba-2, the MLP.
_BRANCH_END = re.compile(r"(out|cross\.out|mixer\.out_proj|channel_mixer\.2)\.weight")


def check_growth(config: LMConfig, times: int) -> None:
    """Refuse what cannot be grown.

    Raises:
        RequestError: If that is no growth, would be more layers than a model may have, or the
            model mixes channels by EinFFT.
    """
    if times < 2 or config.n_layers * times > MOST_LAYERS:
        raise RequestError(
            f"{config.n_layers} layers grow by a factor from 2 to at most {MOST_LAYERS} layers, "
            f"not by {times}."
        )
    if config.channel_mixer == "einfft":
        # Its threshold passes no gradient where the spectrum is zero: copies would stay so.
        raise RequestError("A model with EinFFT cannot be grown; grow one with an MLP.")


def deepened(weights: Mapping[str, Tensor], times: int) -> dict[str, Tensor]:
    """Weights of a model of `times` as many layers, which computes the same to the digit.

    Each layer is followed by copies whose residual branches end in zeros: what they add is nothing
    until they are trained, and their gradients are none but at those ends (compare zero-initialised
    residual branches, Goyal et al. 2017, arXiv 1706.02677, 5.1; deeper from shallower networks,
    Chen et al. 2016, arXiv 1511.05641). Two halved copies of each layer would not do: what the
    second reads has then changed.
    """
    found = dict[str, Tensor]()
    for name, tensor in weights.items():
        block = _BLOCK.fullmatch(name)
        if block is None:
            found[name] = tensor
            continue
        layer, part = int(block[1]), block[2]
        for copy in range(times):
            ends = copy > 0 and _BRANCH_END.fullmatch(part)
            own = torch.zeros_like(tensor) if ends else tensor.clone()
            found[f"backbone.blocks.{times * layer + copy}.{part}"] = own
    return found


def grow(model: MusicLM, times: int = 2) -> MusicLM:
    """A model of `times` as many layers with the same logits.

    Raises:
        RequestError: See `check_growth`.
    """
    check_growth(model.config, times)
    layers = model.config.n_layers * times
    grown = MusicLM(model.config.model_copy(update={"n_layers": layers}))
    grown.load_state_dict(deepened(model.state_dict(), times))
    return grown.eval()


def grow_checkpoint(source: Path, out: Path, times: int = 2) -> MusicLM:
    """Write a checkpoint grown in depth to `out`, whose training.json says from what.

    Raises:
        CheckpointError: If `source` is no checkpoint.
        RequestError: See `check_growth`.
    """
    model, _ = load_language_model(str(source))
    grown = grow(model, times)
    save_language_model(out, grown)
    before = read_json(source / "training.json") if (source / "training.json").exists() else None
    record = {
        "stage": "grow",
        "steps": 0,
        "layers": [model.config.n_layers, grown.config.n_layers],
        "parameters": sum(p.numel() for p in grown.parameters()),
        "sha256": sha256(out / WEIGHTS),
        "started_from": before,
    }
    write_json(out / "training.json", record)
    history = source / "history.jsonl"
    if history.exists():
        (out / "history.jsonl").write_bytes(history.read_bytes())
    return grown
