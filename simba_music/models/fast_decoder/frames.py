"""The fast decoder's layers that work on frames: codes to the recurrence's inputs and outputs."""

import copy
import logging
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simba_music.models.fast_decoder.layers import PADDINGS, UnsupportedCodecError, check_norm

logger = logging.getLogger(__name__)

_TABLES_BYTES = 100e6  # codebooks whose tables take more are convolved instead
_LENGTH = 64  # frames that oneDNN's weights are laid out for; any number is right
_LSTM_MODE = 2  # of `aten::mkldnn_rnn_layer`


@dataclass(frozen=True)
class HeldCodes:
    """Codes `[B, K, n]` that the next frames need; `begun` once padding precedes them."""

    codes: Tensor
    begun: bool


class FirstConv(nn.Module):
    """Codebooks and the first convolution.

    What a code adds to the frames around it stands in a table `[taps * (V + 1), C]`, so that a
    frame is a sum of rows. The weights of a convolution of 31 taps take longer to read than that.
    """

    taps: Tensor
    bias: Tensor
    _rows: Tensor

    def __init__(self, conv: nn.Module, books: list[Tensor]):
        super().__init__()
        layer: Any = conv
        check_norm(layer)
        if layer.pad_mode not in PADDINGS:
            raise UnsupportedCodecError(f"its padding is {layer.pad_mode}")
        self.silent = len(books[0])  # a code of zeros, for padding
        self.n_books, self.reflect = len(books), layer.pad_mode == "reflect"
        taps = layer.conv.weight.detach().permute(2, 1, 0).contiguous()  # [k, D, C]
        self.span = len(taps) - 1
        self.right = 0 if layer.causal else self.span // 2
        self.left = self.span - self.right
        self.register_buffer("taps", taps, persistent=False)
        self.register_buffer("bias", layer.conv.bias.detach(), persistent=False)
        rows = torch.arange(len(taps)) * (self.silent + 1)
        self.register_buffer("_rows", rows, persistent=False)
        for i, book in enumerate(books):
            self.register_buffer(f"book_{i}", F.pad(book, (0, 0, 0, 1)), persistent=False)

    def start(self, batch: int, n_codebooks: int) -> HeldCodes:
        """What it holds before the first codes."""
        waits = self.reflect and self.left > 0
        shape = (batch, n_codebooks, 0 if waits else self.left)
        return HeldCodes(torch.full(shape, self.silent), begun=not waits)

    def forward(self, codes: Tensor, held: HeldCodes, last: bool) -> tuple[Tensor, HeldCodes]:
        """The frames `[n, B, C]` that codes `[B, K, s]` complete."""
        codes = torch.cat([held.codes, codes], dim=2)
        length, begun = codes.shape[2], held.begun
        if not begun and length <= self.left and not last:
            return self.bias.new_zeros(0, len(codes), len(self.bias)), HeldCodes(codes, False)
        parts, missing = [codes], 0
        if not begun:
            missing = max(0, self.left + 1 - length)  # zeros that EncodecConv1d puts and cuts off
            codes = F.pad(codes, (0, missing), value=self.silent)
            parts = [codes[..., 1 : self.left + 1].flip(2), codes]
        if last and self.right:
            mirrored = codes[..., -self.right - 1 : -1].flip(2)
            silence = torch.full_like(mirrored, self.silent)
            parts.append(mirrored if self.reflect else silence)
        if len(parts) > 1:
            codes = torch.cat(parts, dim=2)
        codes = codes[..., : codes.shape[2] - missing]
        n = max(0, codes.shape[2] - self.span)
        return self._convolve(codes, n), HeldCodes(codes[..., n:], True)

    def _convolve(self, codes: Tensor, n: int) -> Tensor:
        batch, books, _ = codes.shape
        if not n:
            return self.bias.new_zeros(0, batch, len(self.bias))
        row_bytes = self.bias.nbytes * len(self.taps) * (self.silent + 1)
        if books * row_bytes <= _TABLES_BYTES:
            rows = codes.unfold(2, self.span + 1, 1) + self._rows  # [B, K, n, taps]
            y = F.embedding_bag(rows[:, 0].reshape(batch * n, -1), self._table(0), mode="sum")
            for i in range(1, books):
                y += F.embedding_bag(rows[:, i].reshape(batch * n, -1), self._table(i), mode="sum")
            return y.view(batch, n, -1).transpose(0, 1)
        x = F.embedding(codes[:, 0], self.get_buffer("book_0"))
        for i in range(1, books):
            x += F.embedding(codes[:, i], self.get_buffer(f"book_{i}"))
        x = x.transpose(0, 1)  # [n + span, B, D]
        y = self.bias.repeat(n * batch, 1)
        for i, tap in enumerate(self.taps):
            y.addmm_(x[i : i + n].flatten(0, 1), tap)
        return y.view(n, batch, -1)

    def _table(self, book: int) -> Tensor:
        """The table of a codebook, made when it is first used; the first book's has the bias."""
        name = f"table_{book}"
        if name not in self._buffers:
            table = self.get_buffer(f"book_{book}") @ self.taps
            if not book:
                table[0] += self.bias
            self.register_buffer(name, table.flatten(0, 1), persistent=False)
        return self.get_buffer(name)


Memory = tuple[Tensor, ...]


class Recurrence(nn.Module):
    """An `EncodecLSTM`.

    `nn.LSTM` lays its weights out for oneDNN at every call, which takes longer than ten frames;
    here that is done once, where this torch has oneDNN.
    """

    def __init__(self, lstm: nn.Module):
        super().__init__()
        layer: Any = lstm
        self.lstm: nn.LSTM = copy.deepcopy(layer.lstm)
        self._packed = _packed(self.lstm)

    def start(self, batch: int) -> Memory:
        """Hidden states and cells of all layers before the first frame."""
        weight = self.lstm.get_parameter("weight_hh_l0")
        zero = weight.new_zeros(batch, self.lstm.hidden_size)
        return (zero,) * (2 * self.lstm.num_layers)

    def forward(self, x: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """What it adds to frames `[n, B, C]`."""
        hidden, cells = memory[::2], memory[1::2]
        if not self._packed:
            states = (torch.stack(hidden), torch.stack(cells))
            y, (h, c) = self.lstm(x, states)
            return y, tuple(t for pair in zip(h, c, strict=True) for t in pair)
        after: list[Tensor] = []
        x, size = x.contiguous(), self.lstm.hidden_size  # the kernel ignores strides
        for weights, h, c in zip(self._packed, hidden, cells, strict=True):
            x, h, c, _ = torch.ops.aten.mkldnn_rnn_layer(
                x, *weights, h, c, False, [], _LSTM_MODE, size, 1, True, False, False, False
            )
            after += [h, c]
        return x, tuple(after)


def _packed(lstm: nn.LSTM) -> list[list[Tensor]]:
    """Weights and biases of every layer as oneDNN wants them; none where there is no oneDNN."""
    if not torch.backends.mkldnn.is_available():
        return []
    size, found = lstm.hidden_size, []
    for i in range(lstm.num_layers):
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        w, u, *biases = (getattr(lstm, f"{name}_l{i}").detach() for name in names)
        try:
            weights = torch.ops.mkldnn._reorder_mkldnn_rnn_layer_weight(
                w, u, size, False, True, False, [_LENGTH, 1, size]
            )
        except (AttributeError, RuntimeError) as error:  # an op that torch may take away
            logger.info("The codec's LSTM lays its weights out at every call: %s", error)
            return []
        found.append([*weights, *biases])
    return found
