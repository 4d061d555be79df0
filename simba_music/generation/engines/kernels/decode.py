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
def embed(shape, weights, previous, plane, x):
    """Sum of the books' embeddings of `previous` `[G, K]` and the plane's row `[G, D]`."""
    for g in range(x.shape[0]):
        row = x[g]
        for i in range(shape.width):
            row[i] = plane[g, i]
        for k in range(shape.books):
            token = weights.embedding[k * (shape.codes + 1) + previous[g, k]]
            for i in range(shape.width):
                row[i] += token[i]


@kernel
def attention_layer(shape, weights, memory, layer, room):
    """Self-attention of a Transformer's block, with its residual connection."""
    w, width = weights, shape.width
    size, frequencies = width // shape.heads, w.vectors[w.begins[shape.layers, FREQUENCIES] :]
    normalise(room.x, w.vectors[w.begins[layer, MIXER_NORM] :], width, room.normed)
    project(w.matrices, w.scales, w.where[layer, INWARD], room.normed, room.wide)
    for g in range(room.x.shape[0]):
        qkv, place = room.wide[g], memory.lengths[g]
        if shape.rotary:
            rotate(qkv, 0, shape.heads, size, place, frequencies)
            rotate(qkv, width, shape.heads, size, place, frequencies)
        keys, values = qkv[width:], qkv[2 * width :]
        own, read = memory.keys[layer, g], memory.values[layer, g]
        remember(keys, values, shape.heads, size, place, own, read)
    attend(
        room.wide,
        memory.keys[layer],
        memory.values[layer],
        memory.lengths + 1,
        shape.heads,
        size,
        room.scores,
        room.inner[0],
    )
    project(w.matrices, w.scales, w.where[layer, OUTWARD], room.inner[0], room.out)
    add(room.x, room.out, width)


@kernel
def mamba_layer(shape, weights, memory, layer, room):
    """The Mamba-2 mixer of a SiMBA block, with its residual connection."""
    w, inner, heads, state = weights, shape.inner, shape.heads, shape.state
    vectors, begins, channels = w.vectors, w.begins[layer], inner + 2 * state
    normalise(room.x, vectors[begins[MIXER_NORM] :], shape.width, room.normed)
    project(w.matrices, w.scales, w.where[layer, INWARD], room.normed, room.wide)
    for g in range(room.x.shape[0]):
        z, xbc = room.wide[g, :inner], room.wide[g, inner : inner + channels]
        dt = room.wide[g, inner + channels : inner + channels + heads]
        mixed, decay, drive = room.inner[0, g], room.inner[1, g], room.inner[2, g]
        y, past = room.inner[3, g], memory.conv[layer, g]
        taps, bias = vectors[begins[TAPS] :], vectors[begins[TAP_BIAS] :]
        convolve(xbc, past, taps, bias, channels, mixed)
        b, c = mixed[inner : inner + state], mixed[inner + state : channels]
        rate, dt_bias = vectors[begins[RATE] :], vectors[begins[DT_BIAS] :]
        decay_and_drive(dt, dt_bias, rate, mixed, inner, heads, decay, drive)
        advance(memory.ssm[layer, g], decay, drive, b, c, inner, y)
        gate(y, vectors[begins[SKIP] :], mixed, z, inner, heads)
    normalise(room.inner[3], vectors[begins[GATED_NORM] :], inner, room.normed)
    project(w.matrices, w.scales, w.where[layer, OUTWARD], room.normed, room.out)
    add(room.x, room.out, shape.width)


@kernel
def text_layer(shape, weights, memory, layer, room):
    """Cross-attention to the text's keys and values, with its residual connection."""
    w, width = weights, shape.width
    normalise(room.x, w.vectors[w.begins[layer, CROSS_NORM] :], width, room.normed)
    project(w.matrices, w.scales, w.where[layer, QUERIES], room.normed, room.wide)
    attend(
        room.wide,
        memory.text_keys[layer],
        memory.text_values[layer],
        memory.text_lengths,
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
def step(shape, weights, memory, plane, room):
    """Logits `[G, V1 + V2 ...]` of one step, into `room`; moves the state on."""
    w = weights
    embed(shape, w, memory.previous, plane, room.x)
    for layer in range(shape.layers):
        if shape.inner:
            mamba_layer(shape, w, memory, layer, room)
        else:
            attention_layer(shape, w, memory, layer, room)
        if shape.cross_heads:
            text_layer(shape, w, memory, layer, room)
        channel_layer(shape, w, layer, room)
    memory.lengths[:] += 1
    norm = w.vectors[w.begins[shape.layers, LAST_NORM] :]
    normalise(room.x, norm, shape.width, room.normed)
    project(w.matrices, w.scales, w.where[shape.layers, HEAD], room.normed, room.logits)


@kernel
def sample(weights, draws, room, batch, b, k, noise):
    """A code for book k of request b from the logits in `room`, or -1 if one is NaN."""
    first, last = weights.books[k], weights.books[k + 1]
    logits, codes = room.logits[:, first:last], last - first
    own, other, keys = room.drawn[0, :codes], room.drawn[1, :codes], room.keys[:codes]
    unconditional = batch + b if draws.guided else b
    if not guide(logits, b, unconditional, draws.guidance, draws.guided, own):
        return -1
    own_noise = noise[:codes]
    return draw(own, own_noise, draws.temperature, draws.top_k, draws.top_p, other, keys)


@entry
def decode(shape, weights, memory, plane, noise, active, draws, room, tokens, kept):
    """Sample n steps into `tokens` `[B, K, n]`; False if a logit was NaN.

    Args:
        shape: sizes of the model.
        weights: its weights.
        memory: the state, changed in place.
        plane: `[G, n, D]`.
        noise: `[n, B, K, V]`, exponential; with n = 0, `tokens` are given and nothing is sampled.
        active: `[K, n]`; where False, `bos` stands in place of a code.
        draws: settings of sampling.
        room: to work in.
        tokens: where they go.
        kept: `[n, G, V1 + V2 ...]` for the logits of all steps, or `[0, 0, 0]`.
    """
    sound, batch, groups, codes = True, tokens.shape[0], plane.shape[0], shape.codes
    for i in range(tokens.shape[2]):
        step(shape, weights, memory, plane[:, i], room)
        if kept.shape[0]:
            kept[i] = room.logits[:, : weights.books[shape.books]]
        for b in range(batch):
            for k in range(shape.books):
                if noise.shape[0]:
                    code = sample(weights, draws, room, batch, b, k, noise[i, b, k])
                    sound = sound and code >= 0
                    tokens[b, k, i] = code if active[k, i] else codes
                for g in range(b, groups, batch):
                    memory.previous[g, k] = tokens[b, k, i]
        if not sound:
            return False
    return True
