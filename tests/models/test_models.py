import pytest
import torch
from conftest import CODES, lm_config, random_lm
from model_checks import TOTAL_S, batch, codes, given, random_text, stepped

from simba_music.conditioning.beat import Pulse
from simba_music.conditioning.key import Key
from simba_music.conditioning.types import TextEmbedding
from simba_music.models.einfft import EinFFT
from simba_music.models.mamba2 import CHUNK, Mamba2, ssd
from simba_music.models.text_encoder import left_pad

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
        {"conditions": {"length": {"longest_s": 30.0, "end_clock": True}}},
        {"conditions": {"beat": {}, "key": {}, "line_up": {"names": (("piano",), ("drums",))}}},
    )
]


VALUES = {
    "beat": [Pulse(90.0, 1.5), None, Pulse(120.0)],
    "key": [Key(9, "minor"), None, Key(2, "dorian")],
    "line_up": [(0, 1), None, (1,)],
}


@pytest.mark.parametrize(("backbone", "mixer", "changes"), KINDS)
def test_forward_equals_one_token_steps(backbone, mixer, changes):
    lm = random_lm(lm_config(backbone, mixer, **changes))
    tokens = codes(3, 1, CHUNK + 21)
    conditions = given(lm, tokens.shape[-1], **VALUES)
    together = lm(tokens, conditions)
    assert together.abs().max() > 1
    steps = stepped(lm, tokens, conditions, range(1, tokens.shape[-1]))
    torch.testing.assert_close(steps, together, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("backbone", "mixer", "changes"), KINDS)
def test_left_padding_cannot_touch_the_state(backbone, mixer, changes):
    lm = random_lm(lm_config(backbone, mixer, **changes))
    tokens, text = codes(3, 1, 30), random_text()
    mixed = lm(tokens, given(lm, 30, text=text, **VALUES))
    garbage = TextEmbedding(torch.where(text.mask[..., None], text.states, 1e3), text.mask)
    torch.testing.assert_close(lm(tokens, given(lm, 30, text=garbage, **VALUES)), mixed)
    for row, length in enumerate((2, 5, 6)):
        alone_text = TextEmbedding(*(t[row : row + 1, -length:] for t in text))
        own = {name: values[row : row + 1] for name, values in VALUES.items()}
        alone = lm(
            tokens[row : row + 1],
            given(lm, 30, text=alone_text, null=(row == 2,), total_s=TOTAL_S[row:], **own),
        )
        torch.testing.assert_close(alone, mixed[row : row + 1], atol=1e-4, rtol=0)


@pytest.mark.parametrize(("backbone", "mixer", "changes"), KINDS)
def test_no_frame_sees_a_later_one(backbone, mixer, changes):
    lm = random_lm(lm_config(backbone, mixer, **changes))
    tokens, conditions = codes(3, 1, 40), given(lm, 40, **VALUES)
    changed = tokens.clone()
    changed[..., 20:] = (changed[..., 20:] + 1) % CODES
    before, after = lm(tokens, conditions), lm(changed, conditions)
    torch.testing.assert_close(before[:, :, :21], after[:, :, :21])
    assert not torch.allclose(before[:, :, 21:], after[:, :, 21:])


@pytest.mark.parametrize("conditioning", ["prefix", "cross"])
def test_text_length_and_place_all_matter(conditioning):
    for backbone in ("simba", "transformer"):
        lm = random_lm(lm_config(backbone, conditioning=conditioning))
        tokens, text = codes(3, 1, 30), random_text()
        base = lm(tokens, given(lm, 30, text=text))
        other = TextEmbedding(text.states * 2, text.mask)
        for changed in (
            lm(tokens, given(lm, 30, text=other))[:2],
            lm(tokens, given(lm, 30, text=text, null=(True, True, False))),
            lm(tokens, given(lm, 30, text=text, total_s=tuple(s + 2 for s in TOTAL_S))),
            lm(tokens, given(lm, 30, text=text, first=100)),
        ):
            assert not torch.allclose(changed, base[: len(changed)], atol=1e-3)


def test_a_plane_in_blocks_is_the_plane():
    lm = random_lm(lm_config("simba", positions="sinusoidal", **KINDS[-1][2]))
    found = batch(lm, **VALUES)
    whole = lm.plane(found.conditioning(60, 50))
    blocks = [lm.plane(found.conditioning(20, 50, first)) for first in (0, 20, 40)]
    torch.testing.assert_close(torch.cat(blocks, 1), whole, atol=1e-5, rtol=0)


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
    conditions = given(lm, 2)
    state, plane = lm.init_state(conditions, 1), lm.plane(conditions)
    _, state = lm.step(torch.full((3, 1, 1), CODES), plane[:, :1], state)
    with pytest.raises(ValueError, match="larger max_length"):
        lm.step(torch.zeros(3, 1, 1, dtype=torch.long), plane[:, 1:], state)


def test_left_pad_keeps_order_and_clears_padding():
    states = torch.arange(8.0).view(2, 4, 1) + 1
    mask = torch.tensor([[True, True, False, False], [True, True, True, True]])
    moved, new_mask = left_pad(states, mask)
    assert moved[0, :, 0].tolist() == [0, 0, 1, 2] and moved[1, :, 0].tolist() == [5, 6, 7, 8]
    assert new_mask[0].tolist() == [False, False, True, True]
