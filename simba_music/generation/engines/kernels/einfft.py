"""The EinFFT channel mixer for G rows: a transform over four blocks, complex matrices, back."""

import numpy as np

from simba_music.generation.engines.kernels.jit import kernel
from simba_music.generation.engines.kernels.panel import padded, project_block

BLOCKS = 4
_HALF, _ZERO, _SHRINK = np.float32(0.5), np.float32(0), np.float32(0.01)


@kernel
def transform(real, imaginary, size, sign):
    """Orthonormal DFT over the 4 blocks of `[4 size]`, in place; sign -1, or +1 for the inverse."""
    for i in range(size):
        a, b, c, d = real[i], real[size + i], real[2 * size + i], real[3 * size + i]
        e, f = imaginary[i], imaginary[size + i]
        g, h = imaginary[2 * size + i], imaginary[3 * size + i]
        real[i], imaginary[i] = _HALF * (a + b + c + d), _HALF * (e + f + g + h)
        real[2 * size + i] = _HALF * (a - b + c - d)
        imaginary[2 * size + i] = _HALF * (e - f + g - h)
        real[size + i] = _HALF * (a - c - sign * (f - h))
        imaginary[size + i] = _HALF * (e - g + sign * (b - d))
        real[3 * size + i] = _HALF * (a - c + sign * (f - h))
        imaginary[3 * size + i] = _HALF * (e - g - sign * (b - d))


@kernel
def complex_linear(
    matrices, scales, by_real, by_imaginary, bias_real, bias_imaginary, x, products, rows, spectrum
):
    """Block-diagonal complex matrices of x `[2 G, D]`: real parts, then imaginary ones.

    Both parts of an input meet each half of a weight in one product.
    """
    size, groups = by_real[3], x.shape[0] // 2
    for k in range(BLOCKS):
        for g in range(2 * groups):
            rows[g, :size] = x[g, k * size : (k + 1) * size]
        first = k * padded(size)
        at = first * size
        project_block(
            matrices, scales, by_real[0] + at, by_real[1] + first, size, size, rows, products
        )
        for g in range(groups):
            for i in range(size):
                spectrum[g, k * size + i] = products[g, i] + bias_real[k * size + i]
                spectrum[groups + g, k * size + i] = (
                    products[groups + g, i] + bias_imaginary[k * size + i]
                )
        project_block(
            matrices,
            scales,
            by_imaginary[0] + at,
            by_imaginary[1] + first,
            size,
            size,
            rows,
            products,
        )
        for g in range(groups):
            for i in range(size):
                spectrum[g, k * size + i] -= products[groups + g, i]
                spectrum[groups + g, k * size + i] += products[g, i]


@kernel
def shrink(x):
    """Soft shrinkage of one value towards zero by 0.01."""
    if x > _SHRINK:
        return x - _SHRINK
    return x + _SHRINK if x < -_SHRINK else _ZERO


@kernel
def einfft(matrices, scales, where, vectors, at, x, spectrum, hidden, rows, products, y):
    """The whole mixer, `[G, D]` to `[G, D]`; see `models.einfft`.

    `where` holds its four matrices, `at` the first of its four biases; the other arrays are
    room to work in, `[2 G, D]` each.
    """
    groups, size = x.shape[0], where[0, 3]
    width = BLOCKS * size
    for g in range(groups):
        spectrum[g, :width] = x[g, :width]
        spectrum[groups + g, :width] = _ZERO
        transform(spectrum[g], spectrum[groups + g], size, np.float32(-1))
    bias = vectors[at : at + 4 * width].reshape(4, width)
    complex_linear(
        matrices, scales, where[0], where[1], bias[0], bias[1], spectrum, products, rows, hidden
    )
    for g in range(2 * groups):
        for i in range(width):
            if hidden[g, i] < _ZERO:
                hidden[g, i] = _ZERO
    complex_linear(
        matrices, scales, where[2], where[3], bias[2], bias[3], hidden, products, rows, spectrum
    )
    for g in range(2 * groups):
        for i in range(width):
            spectrum[g, i] = shrink(spectrum[g, i])
    for g in range(groups):
        transform(spectrum[g], spectrum[groups + g], size, np.float32(1))
        y[g, :width] = spectrum[g, :width]
