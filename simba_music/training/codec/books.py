"""Residual books: what the first book leaves of a latent, quantised again and again."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from simba_music.training.codec.quantizer import EMAQuantizer


class ResidualBooks(nn.Module):
    """The first book, which stays as it is, and books of what the books before it left.

    While it is in training mode the other books follow their residuals (`EMAQuantizer`).
    """

    def __init__(self, first: Tensor, books: Sequence[EMAQuantizer]):
        super().__init__()
        self.register_buffer("first", first)
        self.rest = nn.ModuleList(books)

    @property
    def embeds(self) -> list[Tensor]:
        """Code vectors `[V, D]` of the books after the first."""
        return [book.get_buffer("embed") for book in self.rest]

    @torch.no_grad()
    def initialise(self, vectors: Tensor, batch: int) -> None:
        """k-means of each book on what those before it leave of latents `[N, D]`.

        `batch` latents will come a step.
        """
        left = vectors - self._nearest(vectors, self.get_buffer("first"))
        for book in self.rest:
            assert isinstance(book, EMAQuantizer)
            book.initialise(left, batch)
            left = left - self._nearest(left, book.embed)

    @torch.no_grad()
    def freeze(self) -> None:
        """End the learning of the books, whose codes become what float16 will hold."""
        self.eval()
        for embed in self.embeds:
            embed.copy_(embed.half())

    @staticmethod
    def _nearest(x: Tensor, embed: Tensor) -> Tensor:
        return embed[EMAQuantizer.nearest(x, embed)]

    @torch.no_grad()
    def forward(self, z: Tensor) -> tuple[Tensor, list[float]]:
        """What 1 to K books make of latents `[B, D, S]`: `[K, B, D, S]`.

        And the share of the latents' energy that they leave, for each number of books.
        """
        flat = z.transpose(1, 2).flatten(0, 1)
        total = self._nearest(flat, self.get_buffer("first"))
        sums = [total]
        for book in self.rest:
            assert isinstance(book, EMAQuantizer)
            left = flat - total
            ids = book.nearest(left, book.embed)
            total = total + book.embed[ids]
            if self.training:
                book.update(left, ids, len(z))
            sums.append(total)
        found = torch.stack(sums)
        shares = (found - flat).pow(2).mean((1, 2)) / flat.pow(2).mean()
        shape = (len(found), len(z), -1, z.shape[1])
        return found.view(shape).transpose(2, 3), shares.tolist()


def draw_counts(shares: Sequence[float], crops: int, generator: torch.Generator) -> Tensor:
    """From how many books each crop of a batch is decoded, `[B]`: k with the share k - 1.

    Systematic sampling: as near to the shares as whole crops come, in random order.
    """
    ends = torch.tensor(shares, dtype=torch.float64).cumsum(0)
    points = (torch.arange(crops) + torch.rand((), generator=generator)) / crops * ends[-1]
    counts = torch.searchsorted(ends, points.double(), right=True).clamp(max=len(shares) - 1) + 1
    return counts[torch.randperm(crops, generator=generator)]
