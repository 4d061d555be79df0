"""What the tests of models and of their conditions share."""

import itertools

import torch
from conftest import CODES

from simba_music.conditioning.batch import ConditionBatch, encoded
from simba_music.conditioning.length import End
from simba_music.conditioning.request import Request
from simba_music.conditioning.types import TextEmbedding
from simba_music.generation.decoding import read_requests
from simba_music.models.text_encoder import TextEncoder

RATE = 50
TOTAL_S = (10.0, 20.0, 3.0)


def random_text(rows=3, length=6):
    """Left-padded states of three texts, of 2, 5 and 6 tokens."""
    mask = torch.ones(rows, length, dtype=torch.bool)
    mask[0, :4] = False
    mask[1, :1] = False
    return TextEmbedding(torch.randn(rows, length, 384), mask)


def batch(lm, text=None, null=(False, False, True), total_s=TOTAL_S, **values):
    """Conditions of as many rows as there are in `null`; what is not given is not known."""
    null = torch.tensor(null)
    text = random_text(len(null)) if text is None else text
    found = {name: values.get(name, [None] * len(null)) for name in lm.config.conditions}
    found |= {"text": encoded(text, null), "length": [End(s, s) for s in total_s[: len(null)]]}
    levels = {name: torch.ones(len(null)) for name in found}
    return ConditionBatch(lm.config.conditions, text, null, found, levels)


def given(lm, frames, first=0, **kwargs):
    """Conditioning of so many frames; see `batch`."""
    return batch(lm, **kwargs).conditioning(frames, RATE, first)


def codes(*shape):
    return torch.randint(0, CODES, shape)


def stepped(lm, tokens, conditions, cuts):
    """Logits of `tokens` `[B, K, S]` by steps from cut to cut."""
    state, plane = lm.init_state(conditions, tokens.shape[-1]), lm.plane(conditions)
    begun = torch.nn.functional.pad(tokens[..., :-1], (1, 0), value=CODES)
    parts = []
    for start, end in itertools.pairwise((0, *cuts, tokens.shape[-1])):
        logits, state = lm.step(begun[..., start:end], plane[:, start:end], state)
        parts.append(logits)
    return torch.cat(parts, 2)


def assert_steps_use(lm, length, cuts, rows=(0, 2), **values):
    """Steps from cut to cut use `values` as the forward pass does, in these rows alone."""
    tokens, text = codes(3, 1, length), random_text()
    conditions = given(lm, length, text=text, **values)
    together = lm(tokens, conditions)
    torch.testing.assert_close(stepped(lm, tokens, conditions, cuts), together, atol=1e-4, rtol=0)
    without = lm(tokens, given(lm, length, text=text))
    moved = (without - together).abs().amax((1, 2, 3))
    for row, by in enumerate(moved):
        assert by > 0.1 if row in rows else by < 1e-5


def added_by(lm, name, prompt, **settings):
    """What a condition of a model adds to the first frame `[G, D]`, row by row of its batch."""
    encoder = TextEncoder.load(lm.config.text_encoder)
    request = Request(prompt, duration_s=2, **settings)
    found = read_requests(lm.config, encoder, [request]).conditioning(1, RATE)
    return (found.features[name] @ lm.conditions[name])[:, 0]
