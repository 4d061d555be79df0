"""What the tests of models and of their conditions share."""

import itertools

import torch
from conftest import CODES

from simba_music.generation.decoding import prefill
from simba_music.generation.request import GenerationRequest
from simba_music.models.text_encoder import TextEmbedding, TextEncoder


def conditions(batch=3, length=6):
    text = torch.randn(batch, length, 384)
    mask = torch.ones(batch, length, dtype=torch.bool)
    mask[0, :4] = False
    mask[1, :1] = False
    null = torch.tensor([False, False, True])[:batch]
    total_s = torch.tensor([10.0, 20.0, 3.0])[:batch]
    return TextEmbedding(text, mask), null, total_s


def added_by(lm, vectors, prompt, **settings):
    """What `vectors` of a model add to the condition of every frame, row by row of its batch."""
    encoder = TextEncoder.load(lm.config.text_encoder)
    request = GenerationRequest(prompt, duration_s=2, **settings)
    before, kept = prefill(lm, encoder, [request]).condition, vectors.clone()
    vectors.zero_()
    added = before - prefill(lm, encoder, [request]).condition
    vectors.copy_(kept)
    return added


def assert_steps_hear(lm, length, cuts, rows=(0, 2), **told):
    """Steps from cut to cut hear what is `told` as the forward pass does, in these rows alone."""
    text, null, total_s = conditions()
    tokens, first = torch.randint(0, CODES, (3, 1, length)), torch.zeros(3, dtype=torch.long)
    together = lm(tokens, text, null, total_s, first, **told)
    state = lm.init_state(text, null, total_s, length, **told)
    begun = torch.nn.functional.pad(tokens[..., :-1], (1, 0), value=CODES)
    parts = []
    for start, end in itertools.pairwise((0, *cuts, length)):
        logits, state = lm.step(begun[..., start:end], state)
        parts.append(logits)
    torch.testing.assert_close(torch.cat(parts, 2), together, atol=1e-4, rtol=0)
    silent = lm(tokens, text, null, total_s, first)
    moved = (silent - together).abs().amax((1, 2, 3))
    for row, by in enumerate(moved):
        assert by > 0.1 if row in rows else by < 1e-5
