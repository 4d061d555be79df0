"""EinFFT channel mixer, over channels only so that it stays causal."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Both as in SiMBA's own code, after AFNO (Guibas et al. 2021, arXiv 2111.13587): weights in blocks
# cost a fourth, and a soft threshold makes the spectrum sparse.
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
                # Variance is kept: the threshold is absolute, and would take all of a smaller
                # spectrum. Two real parameters, as weights are kept in float16, which has no
                # complex kind.
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
        # There is no FFT of bfloat16, nor on a CPU of float16.
        blocks = x.float().unflatten(-1, (BLOCKS, -1))
        # Along the blocks: it mixes them, and the products mix the channels within each.
        # Orthonormal, so that the threshold means the same whatever their number.
        spectrum = torch.fft.fft(blocks, dim=2, norm="ortho")
        real, imag = self._complex_linear(spectrum, 1)
        # ReLU of either part alone (Trabelsi et al. 2018, arXiv 1705.09792), as in AFNO.
        real, imag = self._complex_linear(torch.complex(F.relu(real), F.relu(imag)), 2)
        shrunk = torch.complex(F.softshrink(real, SHRINK), F.softshrink(imag, SHRINK))
        # Weights of their own leave no symmetry, so the inverse is complex; its real part goes on.
        found: Tensor = torch.fft.ifft(shrunk, dim=2, norm="ortho").real.flatten(-2).to(x.dtype)
        return found
