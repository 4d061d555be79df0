"""Layers of the packed engine: norms folded into weights, steps in place in memory made once.

A step adds to `x` `[G, D]`, the residual stream of G rows. Matrices stay `[out, in]` as they are
stored and are handed over transposed, which is the faster way for two rows.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simba_music.models.config import EXPAND, LMConfig
from simba_music.models.einfft import BLOCKS, SHRINK
from simba_music.models.mamba2 import CONV_WIDTH, MixerState


def numbers(parameter: Tensor) -> Tensor:
    """A weight as decoding reads it: float32, and without a gradient."""
    return parameter.detach().float()


def scale(weight: Tensor) -> Tensor:
    """What `Norm` leaves out of an RMS norm with this weight, `[D]`."""
    return numbers(weight) * math.sqrt(len(weight))


class Norm:
    """RMS norm without its weight and sqrt(D), which belong into the matrix behind it."""

    def __init__(self, rows: int, width: int):
        self.length = torch.empty(rows, 1)
        self.floor = torch.tensor(math.sqrt(width * 1e-5))  # hypot with it is sqrt(.. + D eps)

    def __call__(self, x: Tensor, out: Tensor) -> None:
        """Write x `[G, D]` / sqrt(sum of squares + D eps) to `out`, which may be x."""
        torch.linalg.vector_norm(x, 2, -1, True, out=self.length)
        torch.hypot(self.length, self.floor, out=self.length)
        torch.div(x, self.length, out=out)


@dataclass(frozen=True)
class Sums:
    """Views of a buffer `[G, 5, E]` of the convolution's sums."""

    before: Tensor  # what was summed for this step and the next three
    after: Tensor  # where these four go, with this step's input
    active: Tensor  # this step's z, u, b and c, which a silu follows
    z: Tensor  # [G, HP]
    u: Tensor  # [G, H, P]
    b: Tensor  # [G, N, 1]
    c: Tensor  # [G, 1, N]
    dt: Tensor  # [G, H]

    @classmethod
    def of(cls, buffer: Tensor, heads: int, states: int) -> "Sums":
        """Those of one buffer."""
        now = buffer[:, 0]
        inner = (now.shape[1] - heads - 2 * states) // 2
        active, dt = now.split([now.shape[1] - heads, heads], 1)
        z, u, b, c = active.split([inner, inner, states, states], 1)
        u = u.unflatten(1, (heads, -1))
        return cls(buffer[:, 1:], buffer[:, :4], active, z, u, b[..., None], c[:, None], dt)


class MambaMemory:
    """State of one mixer of G rows, and the room that its step works in."""

    def __init__(self, mamba: "Mamba", state: MixerState):
        rows, heads, size, states = state.ssm.shape
        width, inner = mamba.inward.shape[0], heads * size
        # SSM state [G, N, H, P], and as [G, N, HP]: read by c in one product.
        self.by_head = state.ssm.float().permute(0, 3, 1, 2).contiguous()
        self.ssm = self.by_head.flatten(2)
        self.norm, self.inner_norm = Norm(rows, width), Norm(rows, inner)
        self.normed = torch.empty(rows, width)
        self.projected = torch.zeros(rows, 1, mamba.inward.shape[1])
        self.projected_rows = self.projected[:, 0]
        self.drive = torch.empty(rows, heads, size)
        self.drive_row = self.drive.view(rows, 1, inner)
        self.read = torch.empty(rows, 1, inner)
        self.y, self.y_by_head = self.read[:, 0], self.read.view(rows, heads, size)
        begun = mamba.bias.repeat(rows, CONV_WIDTH + 1, 1)
        self.sums = [Sums.of(b, heads, states) for b in (begun, begun.clone())]
        for place in range(CONV_WIDTH - 1):
            self.projected_rows[:, mamba.convolved] = state.conv[..., place].float()
            self.convolve(mamba.taps)

    def convolve(self, taps: Tensor) -> Sums:
        """Add the input to the sums of this step and the next three: one pass, nothing shifted.

        The last row of both buffers holds the bias, where the sum of a fourth step begins.
        """
        before, now = self.sums
        torch.addcmul(before.before, self.projected, taps, out=now.after)
        self.sums = [now, before]
        return now


class Mamba:
    """Weights of a Mamba-2 mixer behind its norm.

    z and dt go through the convolution too, which has one tap for them and, for dt, its bias.
    """

    def __init__(self, block: nn.Module, config: LMConfig):
        w = {name: numbers(weight) for name, weight in block.named_parameters()}
        inner, heads = EXPAND * config.d_model, config.n_heads
        self.inward = (w["mixer.in_proj.weight"] * scale(w["mixer_norm.weight"])).t()
        self.outward = (w["mixer.out_proj.weight"] * scale(w["mixer.norm.weight"])).t()
        self.convolved = slice(inner, self.inward.shape[1] - heads)
        self.taps = torch.zeros(CONV_WIDTH, self.inward.shape[1])
        self.taps[0] = 1
        self.taps[:, self.convolved] = w["mixer.conv1d.weight"][:, 0].flip(1).t()
        self.bias = torch.zeros(self.inward.shape[1])
        self.bias[self.convolved] = w["mixer.conv1d.bias"]
        self.bias[-heads:] = w["mixer.dt_bias"]
        self.rate, self.skip = -w["mixer.A_log"].exp(), w["mixer.D"][:, None]

    def step(self, x: Tensor, memory: MambaMemory) -> None:
        """Advance by one token."""
        memory.norm(x, memory.normed)
        torch.mm(memory.normed, self.inward, out=memory.projected_rows)
        now = memory.convolve(self.taps)
        F.silu(now.active, inplace=True)
        dt = F.softplus(now.dt)
        torch.mul(now.u, dt[..., None], out=memory.drive)
        memory.by_head.mul_((dt * self.rate).exp_()[:, None, :, None])
        memory.ssm.addcmul_(now.b, memory.drive_row)
        torch.bmm(now.c, memory.ssm, out=memory.read)
        memory.y_by_head.addcmul_(now.u, self.skip)
        memory.y.mul_(now.z)
        memory.inner_norm(memory.y, memory.y)
        x.addmm_(memory.y, self.outward)


class Mlp:
    """Weights of an MLP behind its norm, and of no more than that."""

    def __init__(self, block: nn.Module):
        w = {name: numbers(weight) for name, weight in block.named_parameters()}
        up = w["channel_mixer.0.weight"] * scale(w["channel_norm.weight"])
        # gelu(h) is (g + g erf(g)) / sqrt(2), where g is h / sqrt(2).
        self.up = (up * 0.5**0.5).t()
        self.down = (w["channel_mixer.2.weight"] * 0.5**0.5).t()

    def step(self, x: Tensor, room: "Room") -> None:
        """Mix the channels of one token."""
        room.norm(x, room.normed)
        torch.mm(room.normed, self.up, out=room.hidden)
        torch.erf(room.hidden, out=room.activated)
        torch.addcmul(room.hidden, room.hidden, room.activated, out=room.activated)
        x.addmm_(room.activated, self.down)


class EinFFT:
    """Weights of an EinFFT behind its norm; a complex matrix is a real one of twice the size."""

    def __init__(self, block: nn.Module):
        w = {name: numbers(weight) for name, weight in block.named_parameters()}
        self.scale = scale(w["channel_norm.weight"])
        place = torch.arange(BLOCKS)
        angle = 2 * math.pi / BLOCKS * place[:, None] * place
        # Orthonormal DFT over blocks, real and imaginary part of each, [8, 4].
        self.transform = torch.stack([angle.cos(), -angle.sin()], 1).flatten(0, 1) / BLOCKS**0.5
        self.matrices, self.biases = list[Tensor](), list[Tensor]()
        for layer in ("1", "2"):
            real, imaginary = (w[f"channel_mixer.w{layer}_{part}"] for part in ("real", "imag"))
            rows = torch.cat([real, imaginary], 2), torch.cat([-imaginary, real], 2)
            self.matrices.append(torch.cat(rows, 1))  # [4, 2 size, 2 size]
            parts = [w[f"channel_mixer.b{layer}_{part}"] for part in ("real", "imag")]
            self.biases.append(torch.cat(parts, 1)[:, None])

    def step(self, x: Tensor, room: "Room") -> None:
        """Mix the channels of one token."""
        room.norm(x, room.normed)
        blocks = room.normed.mul_(self.scale).view(len(x), BLOCKS, -1)
        spectrum = (self.transform @ blocks).view(len(x), BLOCKS, -1).transpose(0, 1)
        spectrum = torch.baddbmm(self.biases[0], spectrum, self.matrices[0]).relu_()
        spectrum = torch.baddbmm(self.biases[1], spectrum, self.matrices[1])
        shrunk = F.softshrink(spectrum, SHRINK).transpose(0, 1).reshape(len(x), 2 * BLOCKS, -1)
        x.add_((self.transform.t() @ shrunk).flatten(1))


class Room:
    """What channel mixers of G rows and the head work in."""

    def __init__(self, rows: int, width: int, hidden: int):
        self.norm, self.normed = Norm(rows, width), torch.empty(rows, width)
        self.hidden, self.activated = torch.empty(rows, hidden), torch.empty(rows, hidden)
