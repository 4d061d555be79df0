"""EinFFT channel mixer, over channels only so that it stays causal."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCKS = 4
SHRINK = 0.01


class EinFFT(nn.Module):
    """Mix channels in the frequency domain with block-diagonal complex weights.

    After SiMBA (Patro and Agneeswaran 2024, arXiv 2403.15360, sec. 3.2), whose transform also runs
    over tokens; that sees the future, so here it runs over the channel blocks alone.
    """

    def __init__(self, d_model: int):
        super().__init__()
        if d_model % BLOCKS:
            raise ValueError(f"d_model must be a multiple of {BLOCKS} for EinFFT, got {d_model}.")
        size = d_model // BLOCKS
        for layer in (1, 2):
            for part in ("real", "imag"):
                weight = torch.randn(BLOCKS, size, size) * size**-0.5
                self.register_parameter(f"w{layer}_{part}", nn.Parameter(weight))
                self.register_parameter(f"b{layer}_{part}", nn.Parameter(torch.zeros(BLOCKS, size)))

    def _complex_linear(self, x: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        w = torch.complex(
            self.get_parameter(f"w{layer}_real"), self.get_parameter(f"w{layer}_imag")
        )
        y = torch.einsum("bskd,kde->bske", x, w)
        return (
            y.real + self.get_parameter(f"b{layer}_real"),
            y.imag + self.get_parameter(f"b{layer}_imag"),
        )

    def forward(self, x: Tensor) -> Tensor:
        """`[B, S, D] -> [B, S, D]`, each token on its own."""
        blocks = x.float().unflatten(-1, (BLOCKS, -1))
        spectrum = torch.fft.fft(blocks, dim=2, norm="ortho")
        real, imag = self._complex_linear(spectrum, 1)
        real, imag = self._complex_linear(torch.complex(F.relu(real), F.relu(imag)), 2)
        shrunk = torch.complex(F.softshrink(real, SHRINK), F.softshrink(imag, SHRINK))
        found: Tensor = torch.fft.ifft(shrunk, dim=2, norm="ortho").real.flatten(-2).to(x.dtype)
        return found
