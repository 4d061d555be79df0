"""Optimisers of language models: AdamW for everything, or Muon for the backbone's matrices."""

import torch
from torch import nn
from torch.optim import Optimizer

from simba_music.errors import RequestError
from simba_music.training.lm.preset import LMPreset

RATE = "times_rate"  # of a parameter group: its learning rate over the preset's


def make_optimisers(model: nn.Module, preset: LMPreset) -> list[Optimizer]:
    """AdamW; with Muon, AdamW for embeddings, text, head, norms and biases only.

    Muon (Jordan et al. 2024; scaled to AdamW's step as in Liu et al. 2025, arXiv 2502.16982, 2.2)
    steps along the nearest orthogonal matrix to the momentum. It is for matrices that mix
    channels, so every parameter of the backbone with two dimensions.

    Raises:
        RequestError: If this torch has no Muon.
    """
    if preset.optimiser == "muon" and not hasattr(torch.optim, "Muon"):
        raise RequestError(f"torch {torch.__version__} has no Muon; install torch 2.9 or newer.")
    muon = preset.optimiser == "muon"
    mixing, deep, flat = list[nn.Parameter](), list[nn.Parameter](), list[nn.Parameter]()
    for name, parameter in model.named_parameters():
        if muon and name.startswith("backbone.") and parameter.ndim == 2:
            mixing.append(parameter)
        else:
            (deep if parameter.ndim > 1 else flat).append(parameter)
    adamw = torch.optim.AdamW(
        [
            {"params": deep, "weight_decay": preset.weight_decay, RATE: 1.0},
            # Norms, biases and what an SSM has per head (A_log, D, dt_bias): decay would draw A to
            # -1 and dt to softplus(0), which are no neutral values.
            {"params": flat, "weight_decay": 0.0, RATE: 1.0},
        ],
        lr=preset.learning_rate,
        # A shorter memory of squares than the default, as usual for language models (GPT-3).
        betas=(0.9, 0.95),
        fused=True,
    )
    if not muon:
        return [adamw]
    return [
        adamw,
        torch.optim.Muon(
            [{"params": mixing, RATE: preset.muon_rate}],
            lr=preset.learning_rate * preset.muon_rate,
            weight_decay=preset.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        ),
    ]
