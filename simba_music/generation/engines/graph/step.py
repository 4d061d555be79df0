"""Step of the graph engine in PyTorch: from tokens before to tokens after, all on buffers."""

import torch
import torch.nn.functional as F
from torch import Tensor

from simba_music.generation.engines.graph.buffers import Buffers
from simba_music.generation.engines.graph.draw import drawn, guided
from simba_music.generation.engines.graph.weights import (
    Block,
    CrossWeights,
    MixerWeights,
    Weights,
)
from simba_music.models.config import LMConfig
from simba_music.models.lm import in_books
from simba_music.models.mamba2 import CONV_WIDTH
from simba_music.models.transformer import rope_frequencies

EPS = 1e-5  # of every RMS norm of the models


class TorchStep:
    """The step of one model in plain PyTorch.

    The residual stream is float32; matrices multiply in their dtype; state, norms and sums of
    Mamba-2 are float32. Nothing in it waits for the device or depends on a value there, so that
    it can be captured.
    """

    kernels = "torch"

    def __init__(self, config: LMConfig, weights: Weights):
        self.config, self.weights = config, weights
        device = weights.head.device
        self.books = torch.arange(config.n_codebooks, device=device) * (config.vocab + 1)
        self.frequencies = rope_frequencies(config.d_model // config.n_heads, device)

    def logits(self, buffers: Buffers, plane: Tensor) -> Tensor:
        """Logits `[G, K, V]`, float32, of the next step, whose rows of the plane are `[G, D]`."""
        embedded = F.embedding(buffers.previous + self.books, self.weights.embedding)
        x = plane + embedded.float().sum(1)
        attention = self._places(buffers) if buffers.keys else None
        taps = self._tap_order(buffers.length) if buffers.conv else None
        for layer, block in enumerate(self.weights.blocks):
            if block.mixer is not None and taps is not None:
                memory = buffers.conv[layer], buffers.ssm[layer]
                x = x + self._mix(x, block, block.mixer, *memory, *taps)
            elif attention is not None:
                x = x + self._attend(x, block, buffers, layer, *attention)
            if block.cross is not None:
                x = x + self._cross(x, block.cross, buffers, layer)
            if block.channel_norm is not None:
                x = x + self._channels(x, block)
        head = F.linear(self._normed(x, self.weights.norm), self.weights.head)
        return in_books(head.float(), self.config.codes_per_book, self.config.vocab)

    def __call__(self, buffers: Buffers) -> None:
        """One step of the chunk: codes to where its number says, and the number moves on."""
        plane = buffers.plane.index_select(0, buffers.at)[0]
        self.draw(buffers, self.logits(buffers, plane))
        buffers.counters.add_(1)

    def draw(self, buffers: Buffers, logits: Tensor) -> None:
        """Draw this step's codes from its logits `[G, K, V]`, and note what is damaged."""
        at, batch = buffers.at, buffers.size.batch
        one = guided(logits, buffers.guidance) if buffers.size.guided else logits
        buffers.damaged.logical_or_(torch.isnan(one).flatten(1).any(1))
        tokens = drawn(one, buffers.noise.index_select(0, at)[0], buffers)
        tokens = torch.where(buffers.active.index_select(0, at)[0], tokens, buffers.bos)
        buffers.codes.index_copy_(0, at, tokens[None])
        buffers.previous.view(-1, batch, tokens.shape[1]).copy_(tokens)

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        """RMS norm of `[G, D]` in float32, in the dtype of the matrix that follows."""
        return F.rms_norm(x, x.shape[-1:], weight, EPS).to(self.weights.head.dtype)

    def _tap_order(self, length: Tensor) -> tuple[Tensor, Tensor]:
        """Where the new input goes in a ring of four `[G, 1, 1]`, and the tap of each place.

        Input number t lies at place t modulo 4, so that the newest, number `length`, meets tap 3.
        """
        places = torch.arange(CONV_WIDTH, device=length.device)
        return (length % CONV_WIDTH)[:, None, None], (places - length[:, None] - 1) % CONV_WIDTH

    def _mix(
        self,
        x: Tensor,
        block: Block,
        mixer: MixerWeights,
        ring: Tensor,
        ssm: Tensor,
        place: Tensor,
        order: Tensor,
    ) -> Tensor:
        """Mamba-2 `[G, D]`; moves its last inputs `[G, C, 4]` and state `[G, H, P, N]` on."""
        rows, heads, size, states = ssm.shape
        inner = heads * size
        projected = F.linear(self._normed(x, block.norm), mixer.inward).float()
        z, xbc, dt = projected.split([inner, inner + 2 * states, heads], -1)
        ring.scatter_(2, place.expand(-1, ring.shape[1], 1), xbc[..., None])
        taps = mixer.taps[:, order].transpose(0, 1)
        mixed = F.silu((ring * taps).sum(-1) + mixer.tap_bias)
        u, b, c = mixed.split([inner, states, states], -1)
        u = u.view(rows, heads, size)
        dt = F.softplus(dt + mixer.dt_bias)
        ssm.mul_((dt * mixer.rate).exp()[..., None, None])
        ssm.addcmul_((dt[..., None] * u)[..., None], b[:, None, None])
        y = torch.matmul(ssm, c[:, None, :, None])[..., 0] + mixer.skip[:, None] * u
        gated = y.flatten(1) * F.silu(z)
        return F.linear(self._normed(gated, mixer.norm), mixer.outward)

    def _places(self, buffers: Buffers) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Where rows write `[G, 1, 1, 1]`, what they see `[G, 1, 1, T]`, and cos and sin of RoPE.

        A row whose cache is full, which only an empty slot's can be, writes its last place anew.
        """
        place = buffers.length.clamp(max=buffers.size.cache - 1)[:, None, None, None]
        seen = torch.arange(buffers.size.cache, device=place.device) <= place
        angle = place[..., 0].float() * self.frequencies
        return place, seen, angle.cos(), angle.sin()

    def _attend(
        self,
        x: Tensor,
        block: Block,
        buffers: Buffers,
        layer: int,
        place: Tensor,
        seen: Tensor,
        cos: Tensor,
        sin: Tensor,
    ) -> Tensor:
        """Self-attention `[G, D]`; its key and value go to their place in the cache."""
        assert block.qkv is not None and block.outward is not None
        projected = F.linear(self._normed(x, block.norm), block.qkv)
        q, k, v = projected.view(len(x), 3, self.config.n_heads, -1).unbind(1)
        if self.config.positions == "rope":
            q, k = (_rotated(t, cos, sin) for t in (q, k))
        index = place.expand(-1, q.shape[1], 1, q.shape[2])
        for cache, new in ((buffers.keys[layer], k), (buffers.values[layer], v)):
            cache.scatter_(2, index, new[:, :, None])
        attended = F.scaled_dot_product_attention(
            q[:, :, None], buffers.keys[layer], buffers.values[layer], attn_mask=seen
        )
        return F.linear(attended.flatten(1), block.outward)

    def _cross(self, x: Tensor, cross: CrossWeights, buffers: Buffers, layer: int) -> Tensor:
        """Attention over the text `[G, D]`."""
        queries = F.linear(self._normed(x, cross.norm), cross.queries)
        attended = F.scaled_dot_product_attention(
            queries.view(len(x), self.config.cross_heads, 1, -1),
            buffers.text_keys[layer],
            buffers.text_values[layer],
            attn_mask=buffers.text_mask,
        )
        return F.linear(attended.flatten(1), cross.outward)

    def _channels(self, x: Tensor, block: Block) -> Tensor:
        """The channel mixer `[G, D]`."""
        assert block.channel_norm is not None
        if block.mlp is not None:
            hidden = F.gelu(F.linear(self._normed(x, block.channel_norm), block.mlp.up))
            return F.linear(hidden, block.mlp.down)
        assert block.einfft is not None
        normed = F.rms_norm(x, x.shape[-1:], block.channel_norm, EPS)
        found: Tensor = block.einfft(normed[:, None])[:, 0]
        return found


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """RoPE of `[G, H, d]` by an angle a row, `[G, 1, d / 2]`; see `transformer.rotate`."""
    first, second = x.float().chunk(2, -1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], -1).to(x.dtype)
