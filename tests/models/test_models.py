import pytest
import torch
from conftest import CODES, lm_config, random_lm
from model_checks import conditions

from simba_music.models.einfft import EinFFT
from simba_music.models.mamba2 import CHUNK, Mamba2, ssd
from simba_music.models.text_encoder import TextEmbedding, left_pad

KINDS = [
    (backbone, mixer, changes)
    for backbone, mixer in (
        ("simba", "mlp"),
        ("simba", "einfft"),
        ("mamba", "none"),
        ("transformer", "mlp"),
    )
    for changes in (
        {},
        {"conditioning": "cross"},
        {"positions": "sinusoidal"},
        {"beat_clock": True},
        {"end_clock": True},
        {"key_signature": True},
        {"line_up": (("piano",), ("drums", "percussion"))},
    )
]


@pytest.mark.parametrize(("backbone", "mixer", "changes"), KINDS)
def test_forward_equals_one_token_steps(backbone, mixer, changes):
    lm = random_lm(lm_config(backbone, mixer, **changes))
    text, null, total_s = conditions()
    tokens = torch.randint(0, CODES, (3, 1, CHUNK + 21))
    together = lm(tokens, text, null, total_s, torch.zeros(3, dtype=torch.long))
    state = lm.init_state(text, null, total_s, tokens.shape[-1])
    previous, steps = torch.full((3, 1, 1), CODES), []
    for i in range(tokens.shape[-1]):
        logits, state = lm.step(previous, state)
        steps.append(logits)
        previous = tokens[..., i : i + 1]
    assert together.abs().max() > 1
    torch.testing.assert_close(torch.cat(steps, 2), together, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("backbone", "mixer", "changes"), KINDS)
def test_left_padding_cannot_touch_the_state(backbone, mixer, changes):
    lm = random_lm(lm_config(backbone, mixer, **changes))
    text, null, total_s = conditions()
    tokens, first = torch.randint(0, CODES, (3, 1, 30)), torch.zeros(3, dtype=torch.long)
    mixed = lm(tokens, text, null, total_s, first)
    garbage = TextEmbedding(torch.where(text.mask[..., None], text.states, 1e3), text.mask)
    torch.testing.assert_close(lm(tokens, garbage, null, total_s, first), mixed)
    for row, length in enumerate((2, 5, 6)):
        alone_text = TextEmbedding(*(t[row : row + 1, -length:] for t in text))
        one = slice(row, row + 1)
        alone = lm(tokens[one], alone_text, null[one], total_s[one], first[one])
        torch.testing.assert_close(alone, mixed[one], atol=1e-4, rtol=0)


@pytest.mark.parametrize(("backbone", "mixer", "changes"), KINDS)
def test_no_frame_sees_a_later_one(backbone, mixer, changes):
    lm = random_lm(lm_config(backbone, mixer, **changes))
    text, null, total_s = conditions()
    tokens, first = torch.randint(0, CODES, (3, 1, 40)), torch.zeros(3, dtype=torch.long)
    changed = tokens.clone()
    changed[..., 20:] = (changed[..., 20:] + 1) % CODES
    before = lm(tokens, text, null, total_s, first)
    after = lm(changed, text, null, total_s, first)
    torch.testing.assert_close(before[:, :, :21], after[:, :, :21])
    assert not torch.allclose(before[:, :, 21:], after[:, :, 21:])


@pytest.mark.parametrize("conditioning", ["prefix", "cross"])
def test_text_length_and_place_all_matter(conditioning):
    for backbone in ("simba", "transformer"):
        lm = random_lm(lm_config(backbone, conditioning=conditioning))
        text, null, total_s = conditions()
        tokens, first = torch.randint(0, CODES, (3, 1, 30)), torch.zeros(3, dtype=torch.long)
        base = lm(tokens, text, null, total_s, first)
        other_text = TextEmbedding(text.states * 2, text.mask)
        for changed in (
            lm(tokens, other_text, null, total_s, first)[:2],
            lm(tokens, text, ~null, total_s, first),
            lm(tokens, text, null, total_s + 2, first),
            lm(tokens, text, null, total_s, first + 100),
        ):
            assert not torch.allclose(changed, base[: len(changed)], atol=1e-3)


@pytest.mark.parametrize("length", [1, 5, CHUNK, CHUNK + 1, 3 * CHUNK - 2])
def test_ssd_equals_the_naive_recurrence(length):
    torch.manual_seed(0)
    batch, heads, width, size = 2, 3, 4, 5
    x, dt = torch.randn(batch, length, heads, width), torch.rand(batch, length, heads)
    dt[:, length // 2] = 0
    a = -torch.rand(heads) * 4
    b, c = torch.randn(batch, length, size), torch.randn(batch, length, size)
    h = torch.randn(batch, heads, width, size)
    y, final = ssd(x, dt, a, b, c, h)
    for t in range(length):
        h = h * torch.exp(dt[:, t] * a)[..., None, None] + torch.einsum(
            "bh,bhp,bn->bhpn", dt[:, t], x[:, t], b[:, t]
        )
        torch.testing.assert_close(
            y[:, t], torch.einsum("bhpn,bn->bhp", h, c[:, t]), atol=1e-4, rtol=1e-4
        )
    torch.testing.assert_close(final, h, atol=1e-4, rtol=1e-4)


def test_mamba2_state_carries_over_pieces_of_any_length():
    torch.manual_seed(0)
    mixer = Mamba2(16, 8, 4).requires_grad_(False)
    x = torch.randn(2, 90, 16)
    whole, last = mixer.step(x, mixer.init_state(2, x.device), None)
    state, parts = mixer.init_state(2, x.device), []
    for start, end in ((0, 1), (1, 3), (3, 70), (70, 90)):
        y, state = mixer.step(x[:, start:end], state, None)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(state.ssm, last.ssm, atol=1e-5, rtol=1e-4)
    assert state.ssm.dtype == torch.float32


def test_einfft_mixes_channels_and_not_tokens():
    torch.manual_seed(0)
    mixer, x = EinFFT(16).requires_grad_(False), torch.randn(1, 6, 16)
    changed = x.clone()
    changed[:, 3, 0] += 1
    difference = (mixer(changed) - mixer(x)).abs()
    assert difference[:, [0, 1, 2, 4, 5]].max() == 0
    assert (difference[0, 3] > 1e-6).sum() > 8


def test_a_full_kv_cache_is_an_error():
    lm = random_lm(lm_config("transformer"))
    text, null, total_s = conditions()
    state = lm.init_state(text, null, total_s, 1)
    _, state = lm.step(torch.full((3, 1, 1), CODES), state)
    with pytest.raises(ValueError, match="larger max_length"):
        lm.step(torch.zeros(3, 1, 1, dtype=torch.long), state)


def test_left_pad_keeps_order_and_clears_padding():
    states = torch.arange(8.0).view(2, 4, 1) + 1
    mask = torch.tensor([[True, True, False, False], [True, True, True, True]])
    moved, new_mask = left_pad(states, mask)
    assert moved[0, :, 0].tolist() == [0, 0, 1, 2] and moved[1, :, 0].tolist() == [5, 6, 7, 8]
    assert new_mask[0].tolist() == [False, False, True, True]
