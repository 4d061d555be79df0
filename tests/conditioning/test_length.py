import torch
from conftest import lm_config, random_lm
from model_checks import codes, given, random_text

from simba_music.conditioning.length import END_BINS, End, Length
from simba_music.conditioning.request import Crop, Request
from simba_music.conditioning.types import Span
from simba_music.generation.decoding import read_requests
from simba_music.models.text_encoder import TextEncoder

ENDING = {"longest_s": 30.0, "end_clock": True, "tail_s": 1.5}
ENDING |= {"earliest_end_s": 5.0, "unguided_lead_s": 0.5}


def test_the_end_of_a_request_lies_a_tail_later_and_later_still_in_the_unconditional_branch():
    lm = random_lm(lm_config("simba", conditions={"length": ENDING}))
    encoder = TextEncoder.load(lm.config.text_encoder)
    requests = [Request("drums", duration_s=s, seed=0) for s in (3, 6)]
    ends = read_requests(lm.config, encoder, requests).values["length"]
    assert ends == [End(5, 5), End(7.5, 7.5), End(5, 5.5), End(7.5, 8)]


def test_a_crop_has_the_time_to_the_end_of_its_piece_and_none_where_that_is_not_known():
    length = Length(longest_s=30)
    assert length.from_crop(Crop(remaining_s=12.5), None) == End(12.5, 12.5)
    assert length.from_crop(Crop(), "calm") is None


def test_features_are_elapsed_and_total_time_and_the_last_four_seconds():
    length = Length(**ENDING)
    span = Span(torch.tensor([0, 0, 200]), 300, 50)
    found = length.features([End(6.0, 6.0), None, End(99.0, 99.0)], span)
    assert found.shape == (3, 300, length.width) == (3, 300, 2 * 61 + END_BINS)
    elapsed, total, end = found.split([61, 61, END_BINS], dim=-1)
    assert elapsed[0].argmax(-1).tolist() == [i // 25 for i in range(300)]
    assert elapsed[2, 0].argmax() == 8  # four seconds in
    assert total[0].argmax(-1).eq(12).all() and total[2].argmax(-1).eq(60).all()
    assert not total[1].any() and not end[1].any()  # an unknown length
    assert not end[0, :100].any() and end[0, 101:].sum(-1).eq(1).all()
    assert not end[2].any()


def test_the_last_four_seconds_alone_are_counted_down():
    lm = random_lm(lm_config("simba", conditions={"length": ENDING}))
    tokens, text = codes(3, 1, 50), random_text()
    with torch.no_grad():  # total time apart, only the end clock is left
        lm.conditions["length"][:122] = 0
    logits = [lm(tokens, given(lm, 50, text=text, total_s=(s, s, s))) for s in (4.0, 6.0, 1e6)]
    assert not torch.equal(logits[0], logits[1])
    torch.testing.assert_close(logits[1], logits[2])
