"""Kernels in Triton: a layer in five launches. Imported only where the package triton is."""

import triton
import triton.language as tl


@triton.jit
def _silu(x):
    return x * tl.sigmoid(x)


@triton.jit
def embed(
    counters, previous, embedding, plane, x, width, rows, ROW: tl.constexpr, BOOKS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """The plane's row of this step plus the embeddings of all books, `[G, D]` in float32."""
    g = tl.program_id(0)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = i < width
    at = tl.load(counters)
    found = tl.load(plane + (at * rows + g) * width + i, mask=inside, other=0.0)
    for k in tl.static_range(BOOKS):
        row = tl.load(previous + g * BOOKS + k) + k * ROW
        found += tl.load(embedding + row * width + i, mask=inside, other=0.0).to(tl.float32)
    tl.store(x + g * width + i, found, mask=inside)


@triton.jit
def project(
    x, norm, w, out, rows, width, outs, eps, NORM: tl.constexpr, GELU: tl.constexpr,
    RESIDUAL: tl.constexpr, G: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """`[G, out]` of `x` `[G, in]`: RMS norm before, matrix `[out, in]`, GELU or residual after.

    For few rows: each program reads BN rows of the matrix once, and all of x.
    """
    n = tl.program_id(0) * BN + tl.arange(0, BN)
    g = tl.arange(0, G)
    total = tl.zeros((G, BN, BK), tl.float32)
    squares = tl.zeros((G, BK), tl.float32)
    for start in range(0, width, BK):
        k = start + tl.arange(0, BK)
        here = (n < outs)[:, None] & (k < width)[None, :]
        weight = tl.load(w + n[:, None] * width + k[None, :], mask=here, other=0.0).to(tl.float32)
        there = (g < rows)[:, None] & (k < width)[None, :]
        own = tl.load(x + g[:, None] * width + k[None, :], mask=there, other=0.0).to(tl.float32)
        if NORM:
            squares += own * own
            own = own * tl.load(norm + k, mask=k < width, other=0.0)[None, :]
        total += own[:, None, :] * weight[None, :, :]
    y = tl.sum(total, axis=2)
    if NORM:
        y = y * (1.0 / tl.sqrt(tl.sum(squares, axis=1) / width + eps))[:, None]
    if GELU:
        y = 0.5 * y * (1.0 + tl.math.erf(y * 0.7071067811865476))
    where = out + g[:, None] * outs + n[None, :]
    kept = (g < rows)[:, None] & (n < outs)[None, :]
    if RESIDUAL:
        y += tl.load(where, mask=kept, other=0.0).to(tl.float32)
    tl.store(where, y.to(out.dtype.element_ty), mask=kept)


@triton.jit
def normalise(x, norm, out, width, eps, BLOCK: tl.constexpr):
    """RMS norm `[G, D]`, written in the dtype of `out`; a program a row."""
    g = tl.program_id(0)
    i = tl.arange(0, BLOCK)
    own = tl.load(x + g * width + i, mask=i < width, other=0.0).to(tl.float32)
    scale = 1.0 / tl.sqrt(tl.sum(own * own, axis=0) / width + eps)
    found = own * scale * tl.load(norm + i, mask=i < width, other=0.0)
    tl.store(out + g * width + i, found.to(out.dtype.element_ty), mask=i < width)


@triton.jit
def _convolved(ring, new, taps, bias, channel, length, inside):
    """SiLU of the causal convolution at some channels, whose last inputs lie in a ring of four.

    Input number t lies at place t modulo 4; place `length` modulo 4 is where `new` goes, and is
    not read, so that programs which need the same channels do not wait for each other.
    """
    found = tl.load(bias + channel, mask=inside, other=0.0)
    found += new * tl.load(taps + channel * 4 + 3, mask=inside, other=0.0)
    for j in tl.static_range(3):
        place = (length + 1 + j) % 4
        before = tl.load(ring + channel * 4 + place, mask=inside, other=0.0)
        found += before * tl.load(taps + channel * 4 + j, mask=inside, other=0.0)
    return _silu(found)


@triton.jit
def mix(
    counters, projected, ring, ssm, taps, tap_bias, dt_bias, rate, skip, out, heads, size, states,
    BP: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Mamba-2 between its projections: convolution, state, read-out and gate; see `TorchStep`.

    A program has BP channels of one head of one row, and their state `[BP, N]`.
    """
    g, h = tl.program_id(0), tl.program_id(1)
    p = tl.program_id(2) * BP + tl.arange(0, BP)
    n = tl.arange(0, BN)
    inner, channels = heads * size, heads * size + 2 * states
    length = tl.load(counters + 1 + g)
    row = projected + g * (inner + channels + heads)
    ring += g * channels * 4
    slot = length % 4
    own, known = h * size + p, p < size
    z = tl.load(row + own, mask=known, other=0.0).to(tl.float32)
    new = tl.load(row + inner + own, mask=known, other=0.0).to(tl.float32)
    u = _convolved(ring, new, taps, tap_bias, own, length, known)
    tl.store(ring + own * 4 + slot, new, mask=known)
    first = (h == 0) & (tl.program_id(2) == 0)
    new_b = tl.load(row + 2 * inner + n, mask=n < states, other=0.0).to(tl.float32)
    b = _convolved(ring, new_b, taps, tap_bias, inner + n, length, n < states)
    tl.store(ring + (inner + n) * 4 + slot, new_b, mask=(n < states) & first)
    of_c = inner + states + n
    new_c = tl.load(row + inner + of_c, mask=n < states, other=0.0).to(tl.float32)
    c = _convolved(ring, new_c, taps, tap_bias, of_c, length, n < states)
    tl.store(ring + of_c * 4 + slot, new_c, mask=(n < states) & first)
    dt = tl.load(row + inner + channels + h).to(tl.float32) + tl.load(dt_bias + h)
    dt = tl.where(dt > 20.0, dt, tl.log(1.0 + tl.exp(tl.minimum(dt, 20.0))))
    decay = tl.exp(dt * tl.load(rate + h))
    where = ssm + ((g * heads + h) * size + p[:, None]) * states + n[None, :]
    inside = known[:, None] & (n < states)[None, :]
    state = tl.load(where, mask=inside, other=0.0) * decay + (dt * u)[:, None] * b[None, :]
    tl.store(where, state, mask=inside)
    y = tl.sum(state * c[None, :], axis=1) + tl.load(skip + h) * u
    tl.store(out + g * inner + own, y * _silu(z), mask=known)


@triton.jit
def _turned(row, d, size, half, cos, sin, inside, ROTARY: tl.constexpr):
    """A query or key `[d]`, turned by its position if so wanted."""
    found = tl.load(row + d, mask=inside, other=0.0).to(tl.float32)
    if ROTARY:
        other = tl.load(row + (d + half) % size, mask=inside, other=0.0).to(tl.float32)
        found = found * cos + tl.where(d < half, -other, other) * sin
    return found


@triton.jit
def attend_part(
    counters, projected, keys, values, frequencies, peaks, sums, parts, room, heads, size, scale,
    ROTARY: tl.constexpr, D: tl.constexpr, BT: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """Attention of one head of one row over one of SPLITS parts of its cache.

    The first part also has the new token, which it writes into the cache.
    """
    g, h, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    d = tl.arange(0, D)
    inside, half = d < size, size // 2
    place = tl.minimum(tl.load(counters + 1 + g), room - 1)
    angle = place.to(tl.float32) * tl.load(frequencies + d % half, mask=inside, other=0.0)
    cos, sin = tl.cos(angle), tl.sin(angle)
    row = projected + g * 3 * heads * size + h * size
    q = _turned(row, d, size, half, cos, sin, inside, ROTARY) * scale
    own_keys = keys + (g * heads + h) * room * size
    own_values = values + (g * heads + h) * room * size
    peak = tl.full((), float("-inf"), tl.float32)
    total = tl.zeros((), tl.float32)
    found = tl.zeros((D,), tl.float32)
    span = (place + SPLITS - 1) // SPLITS
    end = tl.minimum((part + 1) * span, place)
    for start in range(part * span, end, BT):
        t = start + tl.arange(0, BT)
        seen = (t < end)[:, None] & inside[None, :]
        offsets = t[:, None] * size + d[None, :]
        k = tl.load(own_keys + offsets, mask=seen, other=0.0).to(tl.float32)
        v = tl.load(own_values + offsets, mask=seen, other=0.0).to(tl.float32)
        scores = tl.where(t < end, tl.sum(q[None, :] * k, axis=1), float("-inf"))
        higher = tl.maximum(peak, tl.max(scores, axis=0))
        weights, before = tl.exp(scores - higher), tl.exp(peak - higher)
        total = total * before + tl.sum(weights, axis=0)
        found = found * before + tl.sum(weights[:, None] * v, axis=0)
        peak = higher
    if part == 0:
        kind = keys.dtype.element_ty
        key = _turned(row + heads * size, d, size, half, cos, sin, inside, ROTARY).to(kind)
        value = tl.load(row + 2 * heads * size + d, mask=inside, other=0.0).to(kind)
        tl.store(own_keys + place * size + d, key, mask=inside)
        tl.store(own_values + place * size + d, value, mask=inside)
        score = tl.sum(q * key.to(tl.float32), axis=0)
        higher = tl.maximum(peak, score)
        weight, before = tl.exp(score - higher), tl.exp(peak - higher)
        total = total * before + weight
        found = found * before + weight * value.to(tl.float32)
        peak = higher
    at = (g * heads + h) * SPLITS + part
    tl.store(peaks + at, peak)
    tl.store(sums + at, total)
    tl.store(parts + at * D + d, found)


@triton.jit
def attend_whole(
    peaks, sums, parts, out, heads, size, D: tl.constexpr, SPLITS: tl.constexpr
):  # fmt: skip
    """The parts of `attend_part` as one, `[G, H d]`."""
    g, h = tl.program_id(0), tl.program_id(1)
    s, d = tl.arange(0, SPLITS), tl.arange(0, D)
    at = (g * heads + h) * SPLITS + s
    peak = tl.load(peaks + at)
    share = tl.exp(peak - tl.max(peak, axis=0))
    total = tl.sum(share * tl.load(sums + at), axis=0)
    part = tl.load(parts + at[:, None] * D + d[None, :])
    found = tl.sum(share[:, None] * part, axis=0) / total
    tl.store(out + (g * heads + h) * size + d, found, mask=d < size)


@triton.jit
def cross(
    queries, keys, values, mask, out, heads, room, size, scale, D: tl.constexpr, L: tl.constexpr
):  # fmt: skip
    """Attention of one head of one row over the text's states."""
    g, h = tl.program_id(0), tl.program_id(1)
    d, t = tl.arange(0, D), tl.arange(0, L)
    q = tl.load(queries + (g * heads + h) * size + d, mask=d < size, other=0.0).to(tl.float32)
    seen = tl.load(mask + g * room + t, mask=t < room, other=0) != 0
    offsets = ((g * heads + h) * room + t[:, None]) * size + d[None, :]
    here = seen[:, None] & (d < size)[None, :]
    k = tl.load(keys + offsets, mask=here, other=0.0).to(tl.float32)
    v = tl.load(values + offsets, mask=here, other=0.0).to(tl.float32)
    scores = tl.where(seen, tl.sum(q[None, :] * k, axis=1) * scale, float("-inf"))
    weights = tl.exp(scores - tl.max(scores, axis=0))
    found = tl.sum(weights[:, None] * v, axis=0) / tl.sum(weights, axis=0)
    tl.store(out + (g * heads + h) * size + d, found, mask=d < size)


@triton.jit
def draw(
    counters, logits, noise, active, temperatures, guidances, top_ks, codes, previous, damaged,
    batch, books, vocab, bos, GUIDED: tl.constexpr, V: tl.constexpr,
):  # fmt: skip
    """Guidance, temperature, top-k and the race for one book of one request; see `draw.drawn`."""
    b, k = tl.program_id(0), tl.program_id(1)
    at, i = tl.load(counters), tl.arange(0, V)
    known = i < vocab
    one = tl.load(logits + (b * books + k) * vocab + i, mask=known, other=float("-inf"))
    if GUIDED:
        row = logits + ((b + batch) * books + k) * vocab
        other = tl.load(row + i, mask=known, other=0.0)
        scale = tl.load(guidances + b)
        mixed = tl.where(known, other + scale * (one - other), float("-inf"))
        one = tl.where(scale == 1.0, one, mixed)
    tl.store(damaged + b, True, mask=tl.sum((one != one).to(tl.int32), axis=0) > 0)
    temperature = tl.load(temperatures + b)
    greedy = temperature == 0.0
    scaled = one / tl.where(greedy, 1.0, temperature)
    # Keys that are ordered as the numbers are; the k-th largest is found bit by bit.
    bits = scaled.to(tl.int32, bitcast=True)
    ordered = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(tl.int64) + 2147483648
    wanted, least = tl.load(top_ks + b), tl.zeros((), tl.int64)
    for step in tl.static_range(32):
        higher = least + (1 << (31 - step))
        enough = tl.sum((ordered >= higher).to(tl.int32), axis=0) >= wanted
        least = tl.where(enough, higher, least)
    kept = tl.where(ordered >= least, scaled, float("-inf"))
    likely = tl.exp(kept - tl.max(kept, axis=0))
    drawn = tl.load(noise + ((at * batch + b) * books + k) * vocab + i, mask=known, other=1.0)
    raced = tl.where(greedy, one, likely / drawn)
    found = tl.argmax(tl.where(known, raced, float("-inf")), axis=0).to(tl.int64)
    place = b * books + k
    found = tl.where(tl.load(active + at * batch * books + place) != 0, found, bos)
    tl.store(codes + at * batch * books + place, found)
    tl.store(previous + place, found)
    if GUIDED:
        tl.store(previous + batch * books + place, found)
