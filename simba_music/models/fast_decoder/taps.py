"""Taps: a convolution over time as matrix products with rows of shifted inputs."""

import math
from functools import partial

import torch
from torch import Tensor, nn

from simba_music.models.fast_decoder.scratch import FOUND, Op, Scratch

_COLUMNS = 16  # below which a product leaves a CPU's vector units idle


def upsampling_taps(weight: Tensor) -> Tensor:
    """A transposed convolution's weight `[C, C', 2s]`, of stride s, as two taps `[2, C, s C']`.

    Inputs t - 1 and t give samples t s to t s + s - 1, which is a convolution with two taps.
    """
    halves: Tensor = weight.unflatten(-1, (2, -1))  # [C, C', 2, s]
    return halves.permute(2, 0, 3, 1).flip(0).flatten(2)


class Taps(nn.Module):
    """A convolution with taps `[k, C, C']`, without its bias and padding.

    Output t is the sum over i of input t + i * dilation times tap i: a product a tap. Where C' is
    small, `group` outputs side by side are one row of a wider product.
    """

    def __init__(self, taps: Tensor, dilation: int = 1):
        super().__init__()
        k, self.c_in, self.c_out = taps.shape
        self.span = (k - 1) * dilation
        self.group = max(1, _COLUMNS // self.c_out) if k > 1 else 1
        self._shifts: list[int] = []
        for shift, weight in enumerate(self._grouped(taps, dilation)):
            used = weight.any(1).nonzero()
            if len(used) or not shift:
                rows = int(used.max()) + 1 if len(used) else 1
                rows = rows if self.span else len(weight)  # `only` is a whole matrix
                self.register_buffer(f"weight_{shift}", weight[:rows].contiguous(), False)
                self._shifts.append(shift)

    def _grouped(self, taps: Tensor, dilation: int) -> Tensor:
        """Taps over groups `[k', group C, group C']` of inputs and of outputs."""
        reach = math.ceil((self.group + self.span) / self.group)
        wide = taps.new_zeros(reach * self.group, self.c_in, self.group, self.c_out)
        for g in range(self.group):
            wide[g : g + self.span + 1 : dilation, :, g] = taps
        return wide.view(reach, self.group * self.c_in, self.group * self.c_out)

    @property
    def only(self) -> Tensor:
        """The weight `[C, C']` of a single tap."""
        assert not self.span
        return self.get_buffer("weight_0")

    def read(self, n: int) -> int:
        """Inputs that the products for `n` outputs read, whole groups; some count nothing."""
        return (math.ceil(n / self.group) + math.ceil(self.span / self.group)) * self.group

    def plan(self, scratch: Scratch, slot: int, n: int) -> list[Op]:
        """Products of a slot's first `read(n)` rows to `n` rows of `FOUND`."""
        rows, width = math.ceil(n / self.group), self.group * self.c_in
        y = scratch.view(FOUND, 0, rows, self.group * self.c_out)
        ops: list[Op] = []
        for shift in self._shifts:
            weight = self.get_buffer(f"weight_{shift}")
            x = scratch.view(slot, shift * width, rows, len(weight), width)
            ops.append(partial(y.addmm_, x, weight) if ops else partial(torch.mm, x, weight, out=y))
        return ops
