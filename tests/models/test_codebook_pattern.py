import random
from dataclasses import FrozenInstanceError

import pytest
import torch

from simba_music.models.codebook_pattern import PATTERNS, pattern

SPECIAL = -1
_rng = random.Random(0)
SIZES = [(1, 1), (1, 40), (8, 1), (8, 40)]
SIZES += [(_rng.randint(1, 8), _rng.randint(1, 40)) for _ in range(16)]
CASES = [("single", 1, frames) for _, frames in SIZES]
CASES += [(name, books, frames) for name in ("delay", "flat") for books, frames in SIZES]
every_case = pytest.mark.parametrize(("name", "books", "frames"), CASES)


def numbered(books, frames, batch=2):
    """Codes `[B, K, S]` all of which differ."""
    return torch.arange(batch * books * frames).reshape(batch, books, frames)


def blocks(total, rng):
    """(first, length) of random blocks that follow one another up to `total`."""
    at = 0
    while at < total:
        length = rng.randint(1, 7)
        yield at, min(length, total - at)
        at += length


@every_case
def test_revert_undoes_apply(name, books, frames):
    codes = numbered(books, frames)
    tokens = pattern(name).apply(codes, SPECIAL)
    assert tokens.shape == (2, books, pattern(name).steps(frames, books))
    assert tokens.dtype == codes.dtype
    assert torch.equal(pattern(name).revert(tokens), codes)


@every_case
def test_steps_are_those_of_the_paper(name, books, frames):
    expected = {"single": frames, "delay": frames + books - 1, "flat": frames * books}
    assert pattern(name).steps(frames, books) == expected[name]


@every_case
def test_every_code_appears_once_and_special_fills_the_rest(name, books, frames):
    codes = numbered(books, frames)
    tokens = pattern(name).apply(codes, SPECIAL)
    assert torch.equal(tokens[tokens != SPECIAL].sort().values, codes.flatten())
    for row in range(books):  # in its own book, in order
        kept = tokens[0, row]
        assert torch.equal(kept[kept != SPECIAL], codes[0, row])


@every_case
def test_active_is_where_apply_puts_codes(name, books, frames):
    one = pattern(name)
    tokens = one.apply(numbered(books, frames, 1), SPECIAL)[0]
    steps = tokens.shape[1]
    held = one.active(books, 0, steps, frames)
    assert held.dtype == torch.bool and torch.equal(held, tokens != SPECIAL)
    assert not one.active(books, steps, 9, frames).any()


@every_case
@pytest.mark.parametrize("known", [True, False])
def test_blocks_of_steps_are_parts_of_the_whole(name, books, frames, known):
    one, rng = pattern(name), random.Random(books * 100 + frames)
    steps, end = one.steps(frames, books), frames if known else None
    parts = list(blocks(steps, rng))
    active = torch.cat([one.active(books, first, n, end) for first, n in parts], dim=1)
    assert torch.equal(active, one.active(books, 0, steps, end))
    frame = torch.cat([one.frame_of(first, n, books, end) for first, n in parts])
    assert torch.equal(frame, one.frame_of(0, steps, books, end)) and frame.dtype == torch.int64


@every_case
def test_a_clip_without_end_begins_as_one_of_known_length(name, books, frames):
    one = pattern(name)
    until = one.steps(frames, books) - books + 1
    assert torch.equal(one.active(books, 0, until), one.active(books, 0, until, frames))
    assert torch.equal(one.frame_of(0, until, books), one.frame_of(0, until, books, frames))


@every_case
def test_no_step_sees_a_later_frame_than_its_own_in_its_book_or_those_below(name, books, frames):
    """A code follows all of its frame's codes of lower books, and none of a later frame."""
    codes = torch.arange(frames).expand(1, books, frames).contiguous()  # each says its frame
    tokens = pattern(name).apply(codes, SPECIAL)[0]
    for step in range(tokens.shape[1]):
        seen = tokens[:, :step]
        for book in range(books):
            own = int(tokens[book, step])
            if own == SPECIAL:
                continue
            before = [int(seen[lower].max()) if step else SPECIAL for lower in range(books)]
            assert before[book] == own - 1  # of its own book, all frames before it
            assert all(lower >= own for lower in before[:book])
            assert all(upper < own for upper in before[book:])
            if name == "flat":
                assert all(lower == own for lower in before[:book])


@pytest.mark.parametrize(("books", "frames"), SIZES)
def test_delayed_books_are_seen_a_frame_less_each(books, frames):
    codes = torch.arange(frames).expand(1, books, frames).contiguous()
    tokens = pattern("delay").apply(codes, SPECIAL)[0]
    for step in range(tokens.shape[1]):
        for book in range(books):
            seen = tokens[book, :step]
            assert (seen < step - book).all() or not (seen != SPECIAL).any()
            assert (seen != SPECIAL).sum() == min(frames, max(0, step - book))


@every_case
def test_frames_are_complete_once_all_their_codes_are_there(name, books, frames):
    one = pattern(name)
    tokens = one.apply(numbered(books, frames, 1), SPECIAL)[0]
    for done in range(tokens.shape[1] + 1):
        fewest = min(int((tokens[book, :done] != SPECIAL).sum()) for book in range(books))
        assert one.complete(done, books) == fewest


@every_case
def test_a_step_gets_the_conditions_of_the_first_books_frame(name, books, frames):
    one = pattern(name)
    steps = one.steps(frames, books)
    frame = one.frame_of(0, steps, books, frames)
    expected = torch.arange(steps) // (books if name == "flat" else 1)
    assert torch.equal(frame, expected.clamp(max=frames - 1))
    held = one.active(books, 0, steps, frames)[0]
    assert frame[held].tolist() == list(range(frames))


def test_delay_is_the_picture_of_the_paper():
    codes = torch.tensor([[[1, 2, 3], [4, 5, 6]]])
    assert pattern("delay").apply(codes, 0).tolist() == [[[1, 2, 3, 0], [0, 4, 5, 6]]]
    assert pattern("flat").apply(codes, 0).tolist() == [[[1, 0, 2, 0, 3, 0], [0, 4, 0, 5, 0, 6]]]
    assert pattern("single").apply(codes[:, :1], 0).tolist() == [[[1, 2, 3]]]


def test_an_unknown_name_is_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match="'parallel'. There are single, delay, flat"):
        pattern("parallel")


def test_patterns_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        pattern("delay").name = "other"


def test_several_books_in_one_are_refused():
    one = pattern("single")
    for call in (
        lambda: one.apply(numbered(2, 3), SPECIAL),
        lambda: one.revert(numbered(2, 3)),
        lambda: one.steps(3, 2),
        lambda: one.active(2, 0, 3),
        lambda: one.frame_of(0, 3, 2),
        lambda: one.complete(3, 2),
    ):
        with pytest.raises(ValueError, match="one codebook, not 2. Use 'delay' or 'flat'"):
            call()


@pytest.mark.parametrize("name", PATTERNS)
def test_wrong_shapes_are_refused_with_what_to_give(name):
    one = pattern(name)
    for wrong in (torch.zeros(2, 3).long(), torch.zeros(1, 1, 0).long(), torch.zeros(1, 1, 4)):
        with pytest.raises(ValueError, match=r"instead of integer codes \[B, K, S\]. A clip"):
            one.apply(wrong, SPECIAL)
        with pytest.raises(ValueError, match=r"instead of integer tokens \[B, K, T\]. A clip"):
            one.revert(wrong)
    with pytest.raises(ValueError, match="Give one frame or more"):
        one.steps(0, 1)
    with pytest.raises(ValueError, match="Give one or more"):
        one.steps(1, 0)


def test_steps_that_are_no_whole_frames_are_refused():
    with pytest.raises(ValueError, match=r"not a whole number of frames.*such as 9"):
        pattern("flat").revert(numbered(3, 10))
    with pytest.raises(ValueError, match=r"not a whole number of frames.*such as 4"):
        pattern("delay").revert(numbered(4, 3))
