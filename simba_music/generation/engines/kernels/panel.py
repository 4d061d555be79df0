"""The innermost loop: 32 outputs of a matrix-vector product, as vector instructions.

Weights lie in panels of 32 rows, `[panels, width, 32]`: a step of the loop reads the next 32
weights, one of each row, and multiplies them with one input. So memory is read from front to back,
which is what its prefetcher expects, no sum runs inside a vector, and sums stay in registers.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, register_jitable

from simba_music.generation.engines.kernels.jit import kernel

LANES = 32  # two registers of AVX-512, four of AVX2
_AHEAD = 1024  # bytes; the processor's own prefetcher stops at every page of memory

_BYTE = ir.IntType(8).as_pointer()
_I32, _I64 = ir.IntType(32), ir.IntType(64)
_SUMS = ir.VectorType(ir.FloatType(), LANES)
_WHOLE = ir.VectorType(_I32, LANES)


@register_jitable
def padded(rows: int) -> int:
    """Rows of all panels that hold so many."""
    return -(-rows // LANES) * LANES


def _prefetch(builder: ir.IRBuilder, place: Any, size: int) -> None:
    kinds = [_BYTE, _I32, _I32, _I32]
    function = builder.module.declare_intrinsic(
        "llvm.prefetch", [_BYTE], ir.FunctionType(ir.VoidType(), kinds)
    )
    for line in range(0, size, 64):
        at = builder.gep(builder.bitcast(place, _BYTE), [_I64(_AHEAD + line)])
        builder.call(function, [at, _I32(0), _I32(3), _I32(1)])


def _widen(builder: ir.IRBuilder, stored: Any, kind: types.Type) -> Any:
    """32 stored weights as float32: themselves, int8, or bfloat16 (the upper half of a float32)."""
    if kind == types.int8:
        return builder.sitofp(builder.sext(stored, _WHOLE), _SUMS)
    if kind == types.uint16:
        upper = builder.shl(builder.zext(stored, _WHOLE), ir.Constant(_WHOLE, [16] * LANES))
        return builder.bitcast(upper, _SUMS)
    return stored


def _data(context: Any, builder: ir.IRBuilder, kind: types.Type, array: Any) -> Any:
    return cgutils.create_struct_proxy(kind)(context, builder, array).data


def _multiply(
    context: Any,
    builder: ir.IRBuilder,
    kind: types.Array,
    base: Any,
    width: Any,
    inputs: Sequence[Any],
) -> list[Any]:
    """The loop: 32 sums for each input vector, all from one reading of the weights."""
    stored = ir.VectorType(context.get_data_type(kind.dtype), LANES)
    zero = ir.Constant(_SUMS, [0.0] * LANES)
    sums = [cgutils.alloca_once_value(builder, zero) for _ in inputs]
    for place in sums:
        builder.store(zero, place)
    undefined, first = ir.Constant(_SUMS, ir.Undefined), ir.Constant(_WHOLE, [0] * LANES)
    with cgutils.for_range(builder, width) as loop:
        at = builder.gep(base, [builder.mul(loop.index, _I64(LANES))])
        _prefetch(builder, at, context.get_abi_sizeof(stored))
        loaded = builder.load(builder.bitcast(at, stored.as_pointer()), align=1)
        weights = _widen(builder, loaded, kind.dtype)
        for place, values in zip(sums, inputs, strict=True):
            one = builder.load(builder.gep(values, [loop.index]))
            spread = builder.shuffle_vector(
                builder.insert_element(undefined, one, _I32(0)), undefined, first
            )
            product = builder.fmul(weights, spread, flags=("contract",))
            builder.store(builder.fadd(product, builder.load(place), flags=("contract",)), place)
    return [builder.load(place) for place in sums]


def _generate(count: int) -> Callable[..., Any]:
    """Code of a panel product of `count` input vectors; see `panel_of_one`."""

    def generate(context, builder, signature, arguments):
        weights, start, width = arguments[:3]
        kinds, row = signature.args, arguments[-1]
        inputs = [_data(context, builder, kinds[3 + i], arguments[3 + i]) for i in range(count)]
        outputs = [
            _data(context, builder, kinds[3 + count + i], arguments[3 + count + i])
            for i in range(count)
        ]
        base = builder.gep(_data(context, builder, kinds[0], weights), [start])
        sums = _multiply(context, builder, kinds[0], base, width, inputs)
        for found, output in zip(sums, outputs, strict=True):
            place = builder.bitcast(builder.gep(output, [row]), _SUMS.as_pointer())
            builder.store(found, place, align=4)
        return context.get_dummy_value()

    return generate


@intrinsic
def panel_of_one(typing_context, weights, start, width, x, y, row):
    """Y[row : row + 32] = the panel at weights[start] times x[:width]; all arrays have one axis."""
    return types.void(weights, types.int64, types.int64, x, y, types.int64), _generate(1)


@intrinsic
def panel_of_two(typing_context, weights, start, width, x, x2, y, y2, row):
    """As `panel_of_one`, for two inputs and outputs."""
    whole = types.int64
    return types.void(weights, whole, whole, x, x2, y, y2, whole), _generate(2)


@kernel
def project_block(matrices, scales, start, first, rows, width, x, y):
    """Y `[G, rows]` = x `[G, width]` times the matrix whose panels begin at weight `start`.

    `first` is the scale of its first row; y has room for whole panels.
    """
    groups = x.shape[0]
    for row in range(0, rows, LANES):
        at = start + row * width
        for g in range(0, groups - 1, 2):
            panel_of_two(matrices, at, width, x[g], x[g + 1], y[g], y[g + 1], row)
        if groups % 2:
            panel_of_one(matrices, at, width, x[groups - 1], y[groups - 1], row)
    for g in range(groups):  # by 1 where weights are not int8
        out = y[g]
        for i in range(rows):
            out[i] *= scales[first + i]


def aligned(shape: tuple[int, ...], dtype: npt.DTypeLike) -> np.ndarray:
    """Zeros at the beginning of a line of the cache: a panel that lies across two costs double."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


def in_panels(rows: np.ndarray) -> np.ndarray:
    """`[R, I]` as `[panels, I, 32]`, with rows of zeros to fill the last panel."""
    count, width = rows.shape
    filled = np.zeros((padded(count), width), rows.dtype)
    filled[:count] = rows
    panels = filled.reshape(padded(count) // LANES, LANES, width)
    return np.ascontiguousarray(panels.transpose(0, 2, 1))
