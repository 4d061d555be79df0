"""The native call: n steps of a language model, from tokens and plane to tokens."""

from simba_music.generation.engines.kernels.attention import attend, remember, rotate
from simba_music.generation.engines.kernels.drawing import draw, guide
from simba_music.generation.engines.kernels.einfft import einfft
from simba_music.generation.engines.kernels.jit import entry, kernel
from simba_music.generation.engines.kernels.layout import (
    CHANNEL_NORM,
    CROSS_NORM,
    DOWN,
    DT_BIAS,
    EINFFT,
    EINFFT_BIAS,
    FREQUENCIES,
    GATED_NORM,
    HEAD,
    INWARD,
    LAST_NORM,
    MIXER_NORM,
    MLP,
    NO_MIXER,
    OUTWARD,
    QUERIES,
    RATE,
    SKIP,
    TAP_BIAS,
    TAPS,
    TEXT_OUT,
    UP,
)
from simba_music.generation.engines.kernels.linear import add, mlp, normalise, project
from simba_music.generation.engines.kernels.mamba import (
    advance,
    convolve,
    decay_and_drive,
    gate,
)


@kernel
def embed(shape, weights, previous, places, plane, x):
    """Sum of the books' embeddings of `previous` `[R, K]` and the plane's row `[G, D]`."""
    for g in range(x.shape[0]):
        row = x[g]
        for i in range(shape.width):
            row[i] = plane[g, i]
        for k in range(shape.books):
            token = weights.embedding[k * (shape.codes + 1) + previous[places[g], k]]
            for i in range(shape.width):
                row[i] += token[i]


@kernel
def attention_layer(shape, weights, memory, places, layer, room):
    """Self-attention of a Transformer's block, with its residual connection."""
    w, width = weights, shape.width
    size, frequencies = width // shape.heads, w.vectors[w.begins[shape.layers, FREQUENCIES] :]
    normalise(room.x, w.vectors[w.begins[layer, MIXER_NORM] :], width, room.normed)
    project(w.matrices, w.scales, w.where[layer, INWARD], room.normed, room.wide)
    for g in range(room.x.shape[0]):
        qkv, row = room.wide[g], places[g]
        place = memory.lengths[row]
        if shape.rotary:
            rotate(qkv, 0, shape.heads, size, place, frequencies)
            rotate(qkv, width, shape.heads, size, place, frequencies)
        keys, values = qkv[width:], qkv[2 * width :]
        own, read = memory.keys[layer, row], memory.values[layer, row]
        remember(keys, values, shape.heads, size, place, own, read)
    attend(
        room.wide,
        memory.keys[layer],
        memory.values[layer],
        memory.lengths,
        places,
        1,
        shape.heads,
        size,
        room.scores,
        room.inner[0],
    )
    project(w.matrices, w.scales, w.where[layer, OUTWARD], room.inner[0], room.out)
    add(room.x, room.out, width)


@kernel
def mamba_layer(shape, weights, memory, places, layer, room):
    """The Mamba-2 mixer of a SiMBA block, with its residual connection."""
    w, inner, heads, state = weights, shape.inner, shape.heads, shape.state
    vectors, begins, channels = w.vectors, w.begins[layer], inner + 2 * state
    normalise(room.x, vectors[begins[MIXER_NORM] :], shape.width, room.normed)
    project(w.matrices, w.scales, w.where[layer, INWARD], room.normed, room.wide)
    for g in range(room.x.shape[0]):
        z, xbc = room.wide[g, :inner], room.wide[g, inner : inner + channels]
        dt = room.wide[g, inner + channels : inner + channels + heads]
        mixed, decay, drive = room.inner[0, g], room.inner[1, g], room.inner[2, g]
        y, past = room.inner[3, g], memory.conv[layer, places[g]]
        taps, bias = vectors[begins[TAPS] :], vectors[begins[TAP_BIAS] :]
        convolve(xbc, past, taps, bias, channels, mixed)
        b, c = mixed[inner : inner + state], mixed[inner + state : channels]
        rate, dt_bias = vectors[begins[RATE] :], vectors[begins[DT_BIAS] :]
        decay_and_drive(dt, dt_bias, rate, mixed, inner, heads, decay, drive)
        advance(memory.ssm[layer, places[g]], decay, drive, b, c, inner, y)
        gate(y, vectors[begins[SKIP] :], mixed, z, inner, heads)
    normalise(room.inner[3], vectors[begins[GATED_NORM] :], inner, room.normed)
    project(w.matrices, w.scales, w.where[layer, OUTWARD], room.normed, room.out)
    add(room.x, room.out, shape.width)


@kernel
def text_layer(shape, weights, memory, places, layer, room):
    """Cross-attention to the text's keys and values, with its residual connection."""
    w, width = weights, shape.width
    normalise(room.x, w.vectors[w.begins[layer, CROSS_NORM] :], width, room.normed)
    project(w.matrices, w.scales, w.where[layer, QUERIES], room.normed, room.wide)
    attend(
        room.wide,
        memory.text_keys[layer],
        memory.text_values[layer],
        memory.text_lengths,
        places,
        0,
        shape.cross_heads,
        width // shape.cross_heads,
        room.scores,
        room.inner[0],
    )
    project(w.matrices, w.scales, w.where[layer, TEXT_OUT], room.inner[0], room.out)
    add(room.x, room.out, width)


@kernel
def channel_layer(shape, weights, layer, room):
    """The channel mixer, MLP or EinFFT, with its residual connection."""
    w, width = weights, shape.width
    if shape.mixer == NO_MIXER:
        return
    normalise(room.x, w.vectors[w.begins[layer, CHANNEL_NORM] :], width, room.normed)
    where = w.where[layer]
    if shape.mixer == MLP:
        mlp(w.matrices, w.scales, where[UP], where[DOWN], room.normed, room.wide, room.out)
    else:
        a, b, c, d = room.spectrum[0], room.spectrum[1], room.spectrum[2], room.spectrum[3]
        at = w.begins[layer, EINFFT_BIAS]
        einfft(
            w.matrices, w.scales, where[EINFFT:], w.vectors, at, room.normed, a, b, c, d, room.out
        )
    add(room.x, room.out, width)


@kernel
def step(shape, weights, memory, places, plane, room):
    """Logits `[G, V1 + V2 ...]` of a step of the rows at `places`, into `room`; moves them on."""
    w = weights
    embed(shape, w, memory.previous, places, plane, room.x)
    for layer in range(shape.layers):
        if shape.inner:
            mamba_layer(shape, w, memory, places, layer, room)
        else:
            attention_layer(shape, w, memory, places, layer, room)
        if shape.cross_heads:
            text_layer(shape, w, memory, places, layer, room)
        channel_layer(shape, w, layer, room)
    for place in places:
        memory.lengths[place] += 1
    norm = w.vectors[w.begins[shape.layers, LAST_NORM] :]
    normalise(room.x, norm, shape.width, room.normed)
    project(w.matrices, w.scales, w.where[shape.layers, HEAD], room.normed, room.logits)


@kernel
def sample(weights, seats, room, b, k, noise):
    """A code for book k of request b from the logits in `room`, or -1 if one is NaN."""
    first, last = weights.books[k], weights.books[k + 1]
    logits, codes = room.logits[:, first:last], last - first
    own, other, keys = room.drawn[0, :codes], room.drawn[1, :codes], room.keys[:codes]
    unconditional = seats.unconditional[b]
    if not guide(logits, b, unconditional, seats.guidance[b], unconditional >= 0, own):
        return -1
    temperature, top_k, top_p = seats.temperature[b], seats.top_k[b], seats.top_p[b]
    return draw(own, noise[:codes], temperature, top_k, top_p, other, keys)


@entry
def decode(shape, weights, memory, seats, plane, noise, active, room, tokens, sound, kept):
    """Sample n steps of B requests into `tokens` `[B, K, n]`.

    A row sums in the same order whatever the others are, so they change nothing of it.

    Args:
        shape: sizes of the model.
        weights: its weights.
        memory: the state, changed in place.
        seats: which rows of it, and settings of sampling.
        plane: `[G, n, D]`.
        noise: `[n, B, K, V]`, exponential; with n = 0, `tokens` are given and nothing is sampled.
        active: `[B, K, n]`; where False, `bos` stands in place of a code.
        room: to work in.
        tokens: where they go.
        sound: `[B]`, made False where a logit is NaN; what is drawn then means nothing.
        kept: `[n, G, V1 + V2 ...]` for the logits of all steps, or `[0, 0, 0]`.
    """
    batch, codes, places = tokens.shape[0], shape.codes, seats.places
    for i in range(tokens.shape[2]):
        step(shape, weights, memory, places, plane[:, i], room)
        if kept.shape[0]:
            kept[i] = room.logits[:, : weights.books[shape.books]]
        for b in range(batch):
            for k in range(shape.books):
                if noise.shape[0]:
                    code = sample(weights, seats, room, b, k, noise[i, b, k])
                    sound[b] = sound[b] and code >= 0
                    tokens[b, k, i] = max(code, 0) if active[b, k, i] else codes
                memory.previous[places[b], k] = tokens[b, k, i]
                if seats.unconditional[b] >= 0:
                    memory.previous[places[seats.unconditional[b]], k] = tokens[b, k, i]
