"""The innermost loop: 32 outputs of a matrix-vector product, as vector instructions.

Weights lie in panels of 32 rows, `[panels, width, 32]`: a step of the loop reads the next 32
weights, one of each row, and multiplies them with one input. So memory is read from front to back,
which is what its prefetcher expects, no sum runs inside a vector, and sums stay in registers.
Rows of a batch meet a panel several at a time.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic, register_jitable

from simba_music.generation.engines.kernels.jit import kernel

LANES = 32  # two registers of AVX-512, four of AVX2
_AHEAD = 1024  # bytes; the processor's own prefetcher stops at every page of memory

_BYTE = ir.IntType(8).as_pointer()
_I32, _I64 = ir.IntType(32), ir.IntType(64)


def _block() -> tuple[int, int]:
    """Rows and lanes that are summed at a time: half of the vector registers hold the sums.

    Every weight is then read once for so many rows, which is what makes a batch faster.
    """
    wide = binding.get_host_cpu_features().get("avx512f")
    return (8, LANES) if wide else (4, LANES // 2)


MANY, PART = _block()


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
    """Stored weights as float32: themselves, int8, or bfloat16 (the upper half of a float32)."""
    lanes = stored.type.count
    whole, floats = ir.VectorType(_I32, lanes), ir.VectorType(ir.FloatType(), lanes)
    if kind == types.int8:
        return builder.sitofp(builder.sext(stored, whole), floats)
    if kind == types.uint16:
        upper = builder.shl(builder.zext(stored, whole), ir.Constant(whole, [16] * lanes))
        return builder.bitcast(upper, floats)
    return stored


def _array(context: Any, builder: ir.IRBuilder, kind: types.Type, array: Any) -> Any:
    return cgutils.create_struct_proxy(kind)(context, builder, array)


def _row(context: Any, builder: ir.IRBuilder, kind: types.Type, array: Any, row: Any) -> Any:
    """Where a row of an array of two axes begins."""
    found = _array(context, builder, kind, array)
    stride = builder.udiv(builder.extract_value(found.strides, 0), _I64(4))
    return builder.gep(found.data, [builder.mul(row, stride)])


def _multiply(
    context: Any,
    builder: ir.IRBuilder,
    kind: types.Array,
    base: Any,
    width: Any,
    inputs: Sequence[Any],
    lanes: int,
) -> list[Any]:
    """The loop: sums for each input vector, all from one reading of the weights from `base` on.

    Every sum adds its products in the order of the inputs, however many others there are.
    """
    stored = ir.VectorType(context.get_data_type(kind.dtype), lanes)
    floats = ir.VectorType(ir.FloatType(), lanes)
    zero = ir.Constant(floats, [0.0] * lanes)
    sums = [cgutils.alloca_once_value(builder, zero) for _ in inputs]
    for place in sums:
        builder.store(zero, place)
    undefined = ir.Constant(floats, ir.Undefined)
    first = ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes)
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


def _panel_of(count: int, lanes: int = LANES) -> Callable[..., Any]:
    """Code of the product of a panel with `count` rows of inputs, or with one vector (count 1)."""

    def generate(context, builder, signature, arguments):
        weights, start, width, x, y, row = arguments[:6]
        kinds = signature.args
        if count == 1:
            inputs = [_array(context, builder, kinds[3], x).data]
            outputs = [_array(context, builder, kinds[4], y).data]
        else:
            rows = [builder.add(arguments[6], _I64(i)) for i in range(count)]
            inputs = [_row(context, builder, kinds[3], x, one) for one in rows]
            outputs = [_row(context, builder, kinds[4], y, one) for one in rows]
        data = _array(context, builder, kinds[0], weights).data
        for part in range(0, LANES, lanes):
            base = builder.gep(data, [builder.add(start, _I64(part))])
            sums = _multiply(context, builder, kinds[0], base, width, inputs, lanes)
            for found, output in zip(sums, outputs, strict=True):
                at = builder.gep(output, [builder.add(row, _I64(part))])
                builder.store(found, builder.bitcast(at, found.type.as_pointer()), align=4)
        return context.get_dummy_value()

    return generate


@intrinsic
def panel_of_one(typing_context, weights, start, width, x, y, row):
    """Y[row : row + 32] = the panel at weights[start] times x[:width]; all arrays have one axis."""
    return types.void(weights, types.int64, types.int64, x, y, types.int64), _panel_of(1)


@intrinsic
def panel_of_two(typing_context, weights, start, width, x, y, row, g):
    """As `panel_of_one`, for the rows g and g + 1 of x and y, which have two axes."""
    whole = types.int64
    return types.void(weights, whole, whole, x, y, whole, whole), _panel_of(2)


@intrinsic
def panel_of_many(typing_context, weights, start, width, x, y, row, g):
    """As `panel_of_two`, for `MANY` rows."""
    whole = types.int64
    return types.void(weights, whole, whole, x, y, whole, whole), _panel_of(MANY, PART)


@kernel
def project_block(matrices, scales, start, first, rows, width, x, y):
    """Y `[G, rows]` = x `[G, width]` times the matrix whose panels begin at weight `start`.

    `first` is the scale of its first row; y has room for whole panels.
    """
    groups = x.shape[0]
    for row in range(0, rows, LANES):
        at, g = start + row * width, 0
        while g + MANY <= groups:
            panel_of_many(matrices, at, width, x, y, row, g)
            g += MANY
        while g + 2 <= groups:
            panel_of_two(matrices, at, width, x, y, row, g)
            g += 2
        if g < groups:
            panel_of_one(matrices, at, width, x[g], y[g], row)
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
