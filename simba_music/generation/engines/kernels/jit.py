"""How kernels are compiled: options, exponential and GELU as polynomials."""

import math
from collections.abc import Callable
from typing import TypeVar

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

Function = TypeVar("Function", bound=Callable[..., object])

# Sums may be reordered, which is what lets LLVM use vectors. NaN and infinity keep their meaning
# (no `nnan`, no `ninf`): a damaged checkpoint must show as NaN logits.
FAST = {"reassoc", "contract", "arcp", "nsz", "afn"}


def kernel(function: Function) -> Function:
    """Compile on first call, without the GIL; for functions that other kernels call alone."""
    compiled: Function = numba.njit(
        nogil=True,
        fastmath=FAST,
        error_model="numpy",
        no_cpython_wrapper=True,
        no_cfunc_wrapper=True,
    )(function)
    return compiled


def entry(function: Function) -> Function:
    """As `kernel`, and kept on disk; for what Python calls."""
    compiled: Function = numba.njit(
        nogil=True, fastmath=FAST, error_model="numpy", no_cfunc_wrapper=True, cache=True
    )(function)
    return compiled


@intrinsic
def float_of_bits(typing_context, bits):
    """The float32 whose bits are those of an int32 or uint32."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(bits), generate


_LOG2E = np.float32(1.44269504)
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(-2.12194440e-4)
_EXP = tuple(
    np.float32(c)
    for c in (
        1.9875691500e-4,
        1.3981999507e-3,
        8.3334519073e-3,
        4.1665795894e-2,
        0.16666665459,
        0.5,
    )
)
_ONE, _HALF, _TWO = np.float32(1), np.float32(0.5), np.float32(2)
_LOWEST, _HIGHEST = np.float32(-87), np.float32(88)


@kernel
def exp(x):
    """e^x in float32, to 2 units in the last place (the polynomial of Cephes' expf).

    Without a branch or a call, so that loops over it become vector code; libm's is 8 times slower.
    """
    x = _LOWEST if x < _LOWEST else x
    x = _HIGHEST if x > _HIGHEST else x
    n = np.floor(x * _LOG2E + _HALF)
    r = x - n * _LN2_HIGH - n * _LN2_LOW
    c = _EXP
    p = ((((c[0] * r + c[1]) * r + c[2]) * r + c[3]) * r + c[4]) * r + c[5]
    return (p * r * r + r + _ONE) * float_of_bits(
        np.int32((np.int32(n) + np.int32(127)) << np.int32(23))
    )


@kernel
def silu(x):
    """X times its logistic function."""
    return x / (_ONE + exp(-x))


_ROOT_HALF = np.float32(math.sqrt(0.5))
_P = np.float32(0.3275911)
_ERF = tuple(
    np.float32(c) for c in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
)


@kernel
def gelu(x):
    """X times the normal distribution function; erf to 1.5e-7 (Abramowitz and Stegun, 7.1.26)."""
    z = x * _ROOT_HALF
    size = np.abs(z)
    t = _ONE / (_ONE + _P * size)
    c = _ERF
    tail = ((((c[0] * t + c[1]) * t + c[2]) * t + c[3]) * t + c[4]) * t * exp(-size * size)
    signed = _ONE - tail if z > np.float32(0) else tail - _ONE
    return _HALF * x * (_ONE + signed)
