"""Fused step of the graph engine: the kernels in Triton instead of PyTorch's, five a layer."""

import torch
import torch.nn.functional as F
from torch import Tensor

from simba_music.generation.engines.graph import triton_kernels
from simba_music.generation.engines.graph.buffers import Buffers
from simba_music.generation.engines.graph.step import EPS, TorchStep
from simba_music.generation.engines.graph.weights import CrossWeights, MixerWeights
from simba_music.models.lm import in_books

FEW_ROWS = 8  # up to which a matrix is read for all rows by one program; above, cuBLAS is faster
PROGRAMS = 512  # that a matrix is shared by, so that enough of it is on its way at any moment
TILE = 2048  # numbers of a matrix that a program holds
PARTS, KEYS = 8, 32  # parts of a cache, and places of it that are read at a time
WIDEST_BOOK = 8192  # codes that one program can draw from
CHANNELS = 16  # of a head, in one program of the mixer


def power(size: int) -> int:
    """The power of two from which on there is room for so many."""
    return 1 << max(0, size - 1).bit_length()


class FusedStep(TorchStep):
    """See `TorchStep`; what is between two matrices is in their kernels, in float32."""

    kernels = "fused"

    def logits(self, buffers: Buffers, plane: Tensor) -> Tensor:
        """Logits `[G, K, V]` of the next step; see `TorchStep`."""
        embedded = F.embedding(buffers.previous + self.books, self.weights.embedding)
        return self._from(buffers, plane + embedded.float().sum(1))

    def __call__(self, buffers: Buffers) -> None:
        """One step of the chunk."""
        config, rows = self.config, buffers.size.rows
        x = torch.empty_like(buffers.plane[0])
        block = min(256, power(config.d_model))
        triton_kernels.embed[(rows, -(-config.d_model // block))](
            buffers.counters, buffers.previous, self.weights.embedding, buffers.plane, x,
            config.d_model, rows, ROW=config.vocab + 1, BOOKS=config.n_codebooks, BLOCK=block,
        )  # fmt: skip
        self.draw(buffers, self._from(buffers, x))
        buffers.counters.add_(1)

    def draw(self, buffers: Buffers, logits: Tensor) -> None:
        """See `TorchStep`; where all codes must be sorted, or are too many, as there."""
        config, size = self.config, buffers.size
        if size.nucleus or config.vocab > WIDEST_BOOK:
            super().draw(buffers, logits)
            return
        triton_kernels.draw[(size.batch, config.n_codebooks)](
            buffers.counters, logits, buffers.noise, buffers.active, buffers.temperature,
            buffers.guidance, buffers.top_k, buffers.codes, buffers.previous, buffers.damaged,
            size.batch, config.n_codebooks, config.vocab, buffers.bos, GUIDED=size.guided,
            V=power(config.vocab), num_warps=8,
        )  # fmt: skip

    def _from(self, buffers: Buffers, x: Tensor) -> Tensor:
        """Logits `[G, K, V]` of the embedded step `[G, D]`, which is changed."""
        for layer, block in enumerate(self.weights.blocks):
            if block.mixer is not None:
                self._mix_into(x, block.norm, block.mixer, buffers, layer)
            else:
                assert block.qkv is not None and block.outward is not None
                self._attend_into(x, block.norm, block.qkv, block.outward, buffers, layer)
            if block.cross is not None:
                self._cross_into(x, block.cross, buffers, layer)
            if block.mlp is not None:
                hidden = self._project(x, block.mlp.up, block.channel_norm, gelu=True)
                self._project(hidden, block.mlp.down, into=x)
            elif block.channel_norm is not None:
                x.add_(self._channels(x, block))
        found = self._project(x, self.weights.head, self.weights.norm)
        return in_books(found.float(), self.config.codes_per_book, self.config.vocab)

    def _project(
        self,
        x: Tensor,
        matrix: Tensor,
        norm: Tensor | None = None,
        gelu: bool = False,
        into: Tensor | None = None,
    ) -> Tensor:
        """`[G, out]` of `[G, in]`, normed before, through GELU after, or added to `into`."""
        (rows, width), outs = x.shape, len(matrix)
        if rows > FEW_ROWS:
            return self._project_many(x, matrix, norm, gelu, into)
        out = x.new_empty(rows, outs, dtype=torch.float32) if into is None else into
        columns = min(8, power(max(1, outs // PROGRAMS)))
        triton_kernels.project[(-(-outs // columns),)](
            x, x if norm is None else norm, matrix, out, rows, width, outs, EPS,
            NORM=norm is not None, GELU=gelu, RESIDUAL=into is not None, G=power(rows),
            BN=columns, BK=min(TILE // columns, power(width)), num_warps=8 if rows > 4 else 4,
        )  # fmt: skip
        return out

    def _project_many(
        self, x: Tensor, matrix: Tensor, norm: Tensor | None, gelu: bool, into: Tensor | None
    ) -> Tensor:
        (rows, width), own = x.shape, x
        if norm is not None:
            own = x.new_empty(rows, width, dtype=matrix.dtype)
            triton_kernels.normalise[(rows,)](x, norm, own, width, EPS, BLOCK=power(width))
        found = F.linear(own.to(matrix.dtype), matrix)
        if into is not None:
            return into.add_(found)
        return F.gelu(found) if gelu else found

    def _mix_into(
        self, x: Tensor, norm: Tensor, mixer: MixerWeights, buffers: Buffers, layer: int
    ) -> None:
        ssm = buffers.ssm[layer]
        rows, heads, size, states = ssm.shape
        projected = self._project(x, mixer.inward, norm)
        gated = x.new_empty(rows, heads * size)
        triton_kernels.mix[(rows, heads, -(-size // CHANNELS))](
            buffers.counters, projected, buffers.conv[layer], ssm, mixer.taps, mixer.tap_bias,
            mixer.dt_bias, mixer.rate, mixer.skip, gated, heads, size, states,
            BP=CHANNELS, BN=power(states),
        )  # fmt: skip
        self._project(gated, mixer.outward, mixer.norm, into=x)

    def _attend_into(
        self, x: Tensor, norm: Tensor, qkv: Tensor, outward: Tensor, buffers: Buffers, layer: int
    ) -> None:
        rows, heads, room, size = buffers.keys[layer].shape
        wide = power(size)
        projected = self._project(x, qkv, norm)
        peaks, sums = x.new_empty(2, rows, heads, PARTS).unbind(0)
        parts, attended = x.new_empty(rows, heads, PARTS, wide), x.new_empty(rows, heads * size)
        triton_kernels.attend_part[(rows, heads, PARTS)](
            buffers.counters, projected, buffers.keys[layer], buffers.values[layer],
            self.frequencies, peaks, sums, parts, room, heads, size, size**-0.5,
            ROTARY=self.config.positions == "rope", D=wide, BT=KEYS, SPLITS=PARTS,
        )  # fmt: skip
        triton_kernels.attend_whole[(rows, heads)](
            peaks, sums, parts, attended, heads, size, D=wide, SPLITS=PARTS
        )
        self._project(attended, outward, into=x)

    def _cross_into(self, x: Tensor, weights: CrossWeights, buffers: Buffers, layer: int) -> None:
        keys = buffers.text_keys[layer]
        rows, heads, room, size = keys.shape
        queries = self._project(x, weights.queries, weights.norm)
        attended = x.new_empty(rows, heads * size)
        triton_kernels.cross[(rows, heads)](
            queries, keys, buffers.text_values[layer], buffers.text_mask, attended, heads, room,
            size, size**-0.5, D=power(size), L=power(room),
        )  # fmt: skip
        self._project(attended, weights.outward, into=x)
