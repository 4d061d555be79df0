"""Codebook patterns: in which order a model reads and writes K books: single, delay, flat.

Copet et al. 2023, arXiv 2306.05284, section 2.2. A pattern lays codes `[B, K, S]` out over steps:
tokens `[B, K, T]`, where T counts steps of the language model, not samples. In all three, code s
of book k stands at step `s * stride + k`. `single` is one book, a step a frame. `delay` moves each
book a step behind the one before it, so that a step holds codes of K frames. `flat` has a stride of
K: a step holds one code, and depends on all before it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class CodebookPattern:
    """Where each code stands; made by `pattern(name)`."""

    name: str
    one_book: bool = False  # whether K must be 1
    one_code: bool = False  # whether a step holds one code, not one of every book

    def steps(self, frames: int, n_codebooks: int) -> int:
        """Steps T for so many frames S: `single` S, `delay` S + K - 1, `flat` S * K.

        Raises:
            ValueError: If there are no frames, or the pattern cannot have so many books.
        """
        if frames < 1:
            raise ValueError(f"{frames} frames have no steps. Give one frame or more.")
        return (frames - 1) * self._stride(n_codebooks) + n_codebooks

    def apply(self, codes: Tensor, special: int) -> Tensor:
        """Tokens `[B, K, T]` of codes `[B, K, S]`; places without a code hold `special`.

        Raises:
            ValueError: If the codes have another shape, or the pattern cannot have so many books.
        """
        # With `delay` the K codes of a step are drawn as if independent; as they belong to K
        # frames, book k still follows book k - 1 of its own frame. `flat` needs no such assumption,
        # and K times the steps (sec. 2.2).
        batch, books, frames = _shape(codes, "codes [B, K, S]")
        stride, steps = self._stride(books), self.steps(frames, books)
        tokens = codes.new_full((batch, books, steps), special)
        for book in range(books):
            tokens[:, book, book : book + (frames - 1) * stride + 1 : stride] = codes[:, book]
        return tokens

    def revert(self, tokens: Tensor) -> Tensor:
        """Codes `[B, K, S]` of tokens `[B, K, T]`.

        Raises:
            ValueError: If the tokens have another shape, or T steps are not a whole number of
                frames.
        """
        _, books, steps = _shape(tokens, "tokens [B, K, T]")
        stride, frames = self._stride(books), self.complete(steps, books)
        if frames < 1 or self.steps(frames, books) != steps:
            raise ValueError(
                f"{steps} steps of {books} codebooks are not a whole number of frames in the "
                f"pattern {self.name!r}. Give steps(S, {books}) of them, such as "
                f"{self.steps(max(1, frames), books)}."
            )
        rows = [
            tokens[:, book, book : book + (frames - 1) * stride + 1 : stride]
            for book in range(books)
        ]
        return torch.stack(rows, dim=1)

    def places(self, frames: int, n_codebooks: int) -> Tensor:
        """Long `[K, S]`: the step at which the code of each book and frame stands."""
        stride = self._stride(n_codebooks)
        return torch.arange(frames) * stride + torch.arange(n_codebooks)[:, None]

    def active(
        self, n_codebooks: int, first_step: int, steps: int, frames: int | None = None
    ) -> Tensor:
        """Bool `[K, n]`: which books hold a code at `n = steps` steps from `first_step` on.

        Args:
            n_codebooks: K.
            first_step: where the block begins.
            steps: its length n.
            frames: length S of the clip; None where it has no known end.

        Raises:
            ValueError: If the pattern cannot have so many books.
        """
        stride = self._stride(n_codebooks)
        # Steps since each book began: negative while it waits for those before it.
        since = torch.arange(first_step, first_step + steps) - torch.arange(n_codebooks)[:, None]
        holds = (since >= 0) & (since % stride == 0)
        return holds if frames is None else holds & (since < frames * stride)

    def frame_of(
        self, first_step: int, steps: int, n_codebooks: int, frames: int | None = None
    ) -> Tensor:
        """Long `[n]`: the frame whose conditions each of `n = steps` steps gets.

        It is that of the first book's code; steps after it, where `frames` is known, get the last.

        Raises:
            ValueError: If the pattern cannot have so many books.
        """
        # The first book carries most of the sound, later ones the rest (residual quantisation).
        found = torch.arange(first_step, first_step + steps) // self._stride(n_codebooks)
        return found if frames is None else found.clamp(max=frames - 1)

    def complete(self, steps_done: int, n_codebooks: int) -> int:
        """Frames all of whose codes are known after so many steps.

        Raises:
            ValueError: If the pattern cannot have so many books.
        """
        # A frame is whole once its last book has come, n_codebooks - 1 steps after its first.
        return max(0, (steps_done - n_codebooks) // self._stride(n_codebooks) + 1)

    def _stride(self, n_codebooks: int) -> int:
        """Steps from a frame to the next."""
        if n_codebooks < 1:
            raise ValueError(f"{n_codebooks} codebooks hold nothing. Give one or more.")
        if self.one_book and n_codebooks > 1:
            others = " or ".join(repr(p.name) for p in PATTERNS.values() if not p.one_book)
            raise ValueError(
                f"The pattern {self.name!r} has one codebook, not {n_codebooks}. Use {others}, or "
                "the first codebook alone."
            )
        return n_codebooks if self.one_code else 1


def _shape(tensor: Tensor, wanted: str) -> tuple[int, int, int]:
    """The sizes of a tensor of ids with three axes."""
    # [B, S] and [K, S] look alike, and either would broadcast into nonsense without an error.
    if tensor.ndim != 3 or tensor.is_floating_point() or 0 in tensor.shape[1:]:
        raise ValueError(
            f"Got {tensor.dtype} of shape {list(tensor.shape)} instead of integer {wanted}. A clip "
            "alone is a batch of one, and a single codebook keeps its axis, K = 1."
        )
    batch, books, length = tensor.shape
    return batch, books, length


PATTERNS = {
    made.name: made
    for made in (
        CodebookPattern("single", one_book=True),
        CodebookPattern("delay"),
        CodebookPattern("flat", one_code=True),
    )
}


def pattern(name: str) -> CodebookPattern:
    """The pattern of a name.

    Raises:
        ValueError: If there is none of that name.
    """
    if name not in PATTERNS:
        raise ValueError(f"No codebook pattern {name!r}. There are {', '.join(PATTERNS)}.")
    return PATTERNS[name]
