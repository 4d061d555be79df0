"""Mamba-2 mixer: parallel (chunked SSD) forward and one-token step; mamba-ssm's kernels on CUDA."""

import functools
import logging
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from simba_music.models.config import EXPAND, LMConfig

logger = logging.getLogger(__name__)

# As in mamba-ssm, so that weights go from one to the other; its fused kernel takes 2 to 4 taps.
CONV_WIDTH = 4
# Q of the paper: work a token grows with Q inside a chunk, with 1 / Q between chunks (sec. 6).
CHUNK = 64
CLOSE = 2e-2  # of the largest value, mamba-ssm's scan to ours in float32, whose products are tf32


class MixerState(NamedTuple):
    """Decoding state of one mixer: last conv inputs `[B, C, 3]` and SSM state `[B, H, P, N]`."""

    conv: Tensor
    ssm: Tensor


def _segment_sums(a: Tensor) -> Tensor:
    """`[..., Q]` to `[..., Q, Q]`: entry (i, j) is the sum of a over (j, i], -inf above."""
    # The listing's segsum repeats a Q times, to subtract no large sums. Within a chunk of 64 they
    # are small enough for float32, as the test against the plain recurrence shows.
    cumulative = a.cumsum(-1)
    difference = cumulative[..., :, None] - cumulative[..., None, :]
    # Before exp, not after: above the diagonal the sums are positive, exp may overflow, and the
    # gradient of a masked infinity is NaN.
    above = torch.ones(difference.shape[-2:], dtype=torch.bool, device=a.device).triu(1)
    return difference.masked_fill(above, float("-inf"))


def ssd(
    x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, initial: Tensor, chunk: int = CHUNK
) -> tuple[Tensor, Tensor]:
    """State-space duality, chunk by chunk (Dao and Gu 2024, arXiv 2405.21060, listing 1).

    Computes h_t = exp(dt_t a) h_{t-1} + dt_t b_t x_t and y_t = c_t h_t for every head.

    Args:
        x: inputs `[B, S, H, P]`.
        dt: step sizes `[B, S, H]`, zero where a step must not touch the state.
        a: negative decay rates `[H]`.
        b: input projections `[B, S, N]`.
        c: output projections `[B, S, N]`.
        initial: state before the first step `[B, H, P, N]`.
        chunk: steps handled together.

    Returns:
        y `[B, S, H, P]` and the state after the last step `[B, H, P, N]`.
    """
    batch, length, heads, width = x.shape
    chunk = min(chunk, length)
    pad = -length % chunk
    # A padded step has dt 0, decays by exp(0) and adds nothing: `final` is the true last state.
    x, b, c = (F.pad(t, (0, 0) * (t.ndim - 2) + (0, pad)) for t in (x, b, c))
    dt = F.pad(dt, (0, 0, 0, pad))
    n = (length + pad) // chunk
    # Euler's step for B, as in mamba-ssm; dt goes with x, as B is shared by the heads. Decays stay
    # in float32, being sums over many steps; products with x are in its dtype.
    x = (x * dt[..., None].to(x.dtype)).view(batch, n, chunk, heads, width)
    b, c = b.view(batch, n, chunk, -1), c.view(batch, n, chunk, -1)
    log_decay = (dt * a).view(batch, n, chunk, heads).permute(0, 3, 1, 2)  # [B, H, n, Q]
    cumulative = log_decay.cumsum(-1)

    # Inside each chunk: an attention-like product with decays in place of the softmax.
    scores = (c @ b.transpose(-1, -2))[:, None] * _segment_sums(log_decay).exp().to(x.dtype)
    heads_first = x.permute(0, 3, 1, 2, 4)  # [B, H, n, Q, P]
    inside = scores @ heads_first

    # What each chunk adds to the state, and the state that enters each chunk.
    to_end = (cumulative[..., -1:] - cumulative).exp().to(x.dtype)
    added = (heads_first * to_end[..., None]).transpose(-1, -2) @ b[:, None]  # [B, H, n, P, N]
    # Float32 as the initial state: a state is summed over the whole clip.
    states = torch.cat([initial[:, :, None], added.to(initial.dtype)], dim=2)
    # A loop over chunks would be sequential; this is one product, of 36 chunks for 30 s at 75 Hz.
    between = _segment_sums(F.pad(cumulative[..., -1], (1, 0))).exp()  # [B, H, n + 1, n + 1]
    states = torch.einsum("bhzk,bhkpn->bhzpn", between, states)
    entering, final = states[:, :, :-1], states[:, :, -1]

    carried = c[:, None] @ entering.to(x.dtype).transpose(-1, -2)
    carried = carried * cumulative.exp()[..., None].to(x.dtype)
    y = (inside + carried).permute(0, 2, 3, 1, 4).reshape(batch, n * chunk, heads, width)
    return y[:, :length], final


class CausalConv(torch.autograd.Function):
    """Depthwise convolution over time by shifted products.

    On a CPU it takes a third of the time of a grouped convolution, whose gradient is slow.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, padded: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """`[B, S, C]` of inputs `[B, S + 3, C]`, weights `[C, 4]` and biases `[C]`."""
        length = padded.shape[1] - CONV_WIDTH + 1
        taps = weight.to(padded.dtype).t()
        ctx.save_for_backward(padded, weight)
        y = torch.addcmul(bias.to(padded.dtype), padded[:, :length], taps[0])
        for k in range(1, CONV_WIDTH):
            y.addcmul_(padded[:, k : k + length], taps[k])
        return y

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of the inputs, weights and biases."""
        padded, weight = ctx.saved_tensors  # type: ignore[attr-defined]
        (gradient,) = gradients
        length, taps = gradient.shape[1], weight.to(padded.dtype).t()
        of_padded = torch.zeros_like(padded)
        of_taps = []
        for k in range(CONV_WIDTH):
            shifted = slice(k, k + length)
            of_padded[:, shifted].addcmul_(gradient, taps[k])
            # Summed over B * S products in the weights' dtype: bfloat16 has 8 bits for it.
            of_taps.append((gradient * padded[:, shifted]).sum((0, 1), dtype=weight.dtype))
        return of_padded, torch.stack(of_taps, 1), gradient.sum((0, 1), dtype=weight.dtype)


class Kernels(NamedTuple):
    """mamba-ssm's scan and causal-conv1d's convolution, for training and prefill on CUDA."""

    scan_combined: Callable[..., tuple[Tensor, Tensor]]
    convolve_fn: Callable[..., Tensor]

    def scan(
        self, x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, initial: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `ssd`."""
        y, final = self.scan_combined(
            x,
            dt,
            a,
            b[:, :, None].contiguous(),
            c[:, :, None].contiguous(),
            chunk_size=CHUNK,
            initial_states=initial,
            return_final_states=True,
        )
        return y, final

    def convolve(self, padded: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """As `CausalConv`, with SiLU: `[B, S, C]` of inputs `[B, S + 3, C]`."""
        y = self.convolve_fn(
            padded.transpose(1, 2), weight.to(padded.dtype), bias.to(padded.dtype), None, None,
            activation="silu",
        )  # fmt: skip
        return y.transpose(1, 2)[:, CONV_WIDTH - 1 :]


@functools.cache
def cuda_kernels() -> Kernels | None:
    """mamba-ssm's kernels if they import and compute what PyTorch does; says once why not."""
    try:
        from causal_conv1d import causal_conv1d_fn
        from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined

        kernels = Kernels(mamba_chunk_scan_combined, causal_conv1d_fn)
        problem = _difference(kernels)
    except Exception as error:  # builds for another torch or CUDA raise errors of many kinds
        problem = f"{type(error).__name__}: {error}"
    if problem:
        logger.info("mamba-ssm is not used, PyTorch computes Mamba-2: %s", problem)
        return None
    return kernels


@torch.no_grad()
def _difference(kernels: Kernels) -> str:
    """What is wrong with mamba-ssm's kernels on this GPU; empty if nothing."""
    random = torch.Generator("cuda").manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random, device="cuda")

    dt, a, initial = F.softplus(normal(1, 80, 4)), -normal(4).exp(), normal(1, 4, 16, 16)
    inputs = normal(1, 80, 4, 16), dt, a, normal(1, 80, 16), normal(1, 80, 16), initial
    pairs = list(zip(kernels.scan(*inputs), ssd(*inputs), strict=True))
    convolved = normal(1, 83, 64), normal(64, CONV_WIDTH), normal(64)
    by_hand: Callable[..., Tensor] = CausalConv.apply
    pairs.append((kernels.convolve(*convolved), F.silu(by_hand(*convolved))))
    error = max(float((x - y).abs().max() / y.abs().max()) for x, y in pairs)
    return "" if error < CLOSE else f"its values differ by {error:.1e} of the largest"


def kernels_of(model: nn.Module) -> str:
    """What computes Mamba-2 when a model trains or reads a prefix: mamba-ssm or torch."""
    mixers = [module for module in model.modules() if isinstance(module, Mamba2)]
    on_cuda = any(mixer.D.is_cuda for mixer in mixers)
    return "mamba-ssm" if on_cuda and cuda_kernels() is not None else "torch"


def mamba_ssm_lm(config: LMConfig, device: str) -> nn.Module:
    """mamba-ssm's own language model of a config's width, depth and state, bf16, to be timed.

    Raises:
        ImportError: If mamba-ssm does not import.
    """
    from mamba_ssm.models.config_mamba import MambaConfig
    from mamba_ssm.models.mixer_seq_simple import MambaLMHeadModel

    shape = MambaConfig(
        d_model=config.d_model,
        n_layer=config.n_layers,
        vocab_size=config.vocab,
        ssm_cfg={"layer": "Mamba2", "d_state": config.d_state, "headdim": 64},
    )
    model: nn.Module = MambaLMHeadModel(shape, device=device, dtype=torch.bfloat16)
    return model.eval()


class Mamba2(nn.Module):
    """Mamba-2 mixer `[B, S, D] -> [B, S, D]`; parameter names and shapes as in mamba-ssm."""

    def __init__(self, d_model: int, d_state: int, n_heads: int):
        super().__init__()
        self.d_inner, self.d_state, self.n_heads = EXPAND * d_model, d_state, n_heads
        # x, B and C all go through the convolution (sec. 7.1); all heads share one B and one C (the
        # multi-input form, sec. 7.2), which keeps both small.
        self.conv_channels = self.d_inner + 2 * d_state
        self.in_proj = nn.Linear(d_model, self.d_inner + self.conv_channels + n_heads, bias=False)
        self.conv1d = nn.Conv1d(
            self.conv_channels, self.conv_channels, CONV_WIDTH, groups=self.conv_channels
        )
        # dt starts log-uniform in [0.001, 0.1] (softplus inverse), A in [1, 16], as in the paper.
        dt = torch.exp(torch.empty(n_heads).uniform_(-6.9, -2.3))
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))
        self.A_log = nn.Parameter(torch.empty(n_heads).uniform_(1, 16).log())
        self.D = nn.Parameter(torch.ones(n_heads))
        self.norm = nn.RMSNorm(self.d_inner, eps=1e-5)
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=False)

    def init_state(self, batch: int, device: torch.device) -> MixerState:
        """The state before any token."""
        head = self.d_inner // self.n_heads
        return MixerState(
            torch.zeros(batch, self.conv_channels, CONV_WIDTH - 1, device=device),
            torch.zeros(batch, self.n_heads, head, self.d_state, device=device),
        )

    def step(self, x: Tensor, state: MixerState, mask: Tensor | None) -> tuple[Tensor, MixerState]:
        """Advance by S tokens (S = 1 when decoding).

        Args:
            x: `[B, S, D]`.
            state: the state before them.
            mask: `[B, S]`, False where a token must not touch the state; None means all True.

        Returns:
            Outputs `[B, S, D]` (undefined where masked) and the state after them.
        """
        # The order of mamba-ssm's in_proj, less its groups.
        z, xbc, dt = self.in_proj(x).split([self.d_inner, self.conv_channels, self.n_heads], -1)
        # Float32: in bfloat16 a decay within 0.2 % of 1 rounds to 1, and the state never forgets.
        dt = F.softplus(dt.float() + self.dt_bias)
        # What is masked must leave no trace: dt 0 keeps the state, and zeros stand in the
        # convolution as before the first token.
        if mask is not None:
            xbc, dt = xbc * mask[..., None], dt * mask[..., None]
        conv_input = torch.cat([state.conv.transpose(1, 2).to(xbc.dtype), xbc], dim=1)
        conv_state = conv_input[:, -(CONV_WIDTH - 1) :].transpose(1, 2)
        assert self.conv1d.bias is not None
        taps = self.conv1d.weight[:, 0]
        kernels = cuda_kernels() if x.is_cuda and x.shape[1] > 1 else None
        if x.shape[1] == 1:
            xbc = F.silu((conv_input * taps.t()).sum(1, keepdim=True) + self.conv1d.bias)
        elif kernels is not None:
            xbc = kernels.convolve(conv_input, taps, self.conv1d.bias)
        else:
            convolve: Callable[..., Tensor] = CausalConv.apply
            xbc = F.silu(convolve(conv_input, taps, self.conv1d.bias))
        u, b, c = xbc.split([self.d_inner, self.d_state, self.d_state], -1)
        u = u.unflatten(-1, (self.n_heads, -1))
        a = -self.A_log.float().exp()
        if x.shape[1] == 1:
            decay = (dt[:, 0] * a).exp()[..., None, None]
            drive = (dt[:, 0, :, None] * u[:, 0])[..., None] * b[:, 0, None, None, :]
            ssm = state.ssm * decay + drive
            y = (ssm @ c[:, 0, None, :, None])[..., 0][:, None]
        else:
            scan = ssd if kernels is None else kernels.scan
            y, ssm = scan(u, dt, a, b, c, state.ssm)
        # The state blurs what has just come in; D passes it on as it is, a weight a head.
        y = (y + self.D[:, None].to(u.dtype) * u).flatten(-2)
        # Gate, then norm: mamba-ssm's default, and what keeps large models stable (sec. 7.1).
        gated = (y * F.silu(z)).to(self.norm.weight.dtype)  # the fused norm wants one dtype
        return self.out_proj(self.norm(gated)), MixerState(conv_state, ssm)
