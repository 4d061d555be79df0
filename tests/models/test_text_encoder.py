"""The bundled text encoder: states that the checkpoints learned from, whatever pads them."""

import pytest
import torch
from conftest import MINILM

from simba_music.conditioning.text import mean_states
from simba_music.models.config import TextEncoderRef
from simba_music.models.text_encoder import TextEncoder

PROMPTS = ["calm solo piano", "heavy metal with distorted guitars and drums"]
FIRST = [[-0.0105, -0.3646, 0.0989, 0.0555], [-0.5021, 0.2311, 0.2258, 0.2254]]


@pytest.fixture(scope="module")
def encoder():
    return TextEncoder.load(TextEncoderRef.model_validate(MINILM))


def test_states_are_those_that_the_checkpoints_learned_from(encoder):
    """Another release of transformers must not tokenise or compute otherwise."""
    found = encoder.encode(PROMPTS)
    assert found.states.shape == (2, 9, 384) and found.mask.sum(1).tolist() == [5, 9]
    assert [encoder.count_tokens(prompt) for prompt in PROMPTS] == [5, 9]
    torch.testing.assert_close(mean_states(found)[:, :4], torch.tensor(FIRST), atol=2e-4, rtol=0)


def test_padding_stands_at_the_left_is_zero_and_changes_nothing(encoder):
    together, alone = encoder.encode(PROMPTS), encoder.encode(PROMPTS[:1])
    assert not together.mask[0, :4].any() and not together.states[0, :4].any()
    torch.testing.assert_close(together.states[0, 4:], alone.states[0], atol=1e-4, rtol=0)
