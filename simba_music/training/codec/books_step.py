"""Books step: residual books and a decoder that plays any number of them, for tokens that stay."""

import copy
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from transformers import EncodecModel

from simba_music.errors import RequestError
from simba_music.training.codec.books import ResidualBooks, draw_counts
from simba_music.training.codec.losses import MelDistance
from simba_music.training.codec.model import INPUT_GAIN, book_codes, export
from simba_music.training.codec.preset import CodecPreset
from simba_music.training.codec.quantizer import EMAQuantizer
from simba_music.training.codec.step import CodecTrainer
from simba_music.training.ranks import ALONE, Ranks


class BooksTrainer(CodecTrainer):
    """Learns the books after the first, and a decoder by quantiser dropout.

    Each crop is decoded from its first k books (Zeghidour et al. 2021, section III-C), k drawn
    with the preset's shares. Encoder and first book stay; so do the others if the start has them.
    What is exported is the moving average of the decoder.
    """

    parts = (*CodecTrainer.parts, "books", "average")

    def __init__(
        self, preset: CodecPreset, device: str, start: Path | None = None, ranks: Ranks = ALONE
    ):
        """Start from an exported codec of one book, or of as many as the preset has.

        Raises:
            RequestError: If it has others.
        """
        super().__init__(preset, device, start, ranks)
        shape = preset.shape
        assert start and preset.decoder_only and len(preset.book_shares) == shape.books
        rest = [
            EMAQuantizer(shape.book_codes, 128, preset.ema_decay, preset.dead_below, ranks=ranks)
            for _ in range(shape.books - 1)
        ]
        self.books = ResidualBooks(self.quantizer.embed.clone(), rest).to(device)
        _, *known = book_codes(start)
        if known and [len(codes) for codes in known] != shape.codes_per_book[1:]:
            raise RequestError(
                f"{start} has {len(known)} residual books of {[len(codes) for codes in known]} "
                f"codes, the preset {shape.codes_per_book[1:]}. Start from a codec of one book."
            )
        for book, codes in zip(rest, known, strict=False):
            book.initialise(codes.to(device), 1, rounds=0)
        if known:
            self.books.freeze()
        self.quantising = bool(known)  # otherwise k-means comes first
        self.average = copy.deepcopy(self.model.decoder).eval().requires_grad_(False)
        self.distance = MelDistance(shape.sample_rate).to(device)
        self.counts = torch.zeros(0)

    @torch.no_grad()
    def start_quantising(self, batches: Iterator[Tensor], vectors: int | None = None) -> None:
        """k-means the books after the first on what the encoder puts out."""
        self.books.initialise(*self._encoded(batches, vectors or self.preset.book_vectors))
        self.quantising = True

    def step(self, x: Tensor) -> dict[str, float]:
        """One optimiser step on audio `[B, T]`; returns the losses."""
        found = super().step(x)
        decay = min(self.preset.average_decay, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            pairs = zip(self.average.parameters(), self.model.decoder.parameters(), strict=True)
            for average, parameter in pairs:
                average.lerp_(parameter, 1 - decay)
        return found

    @torch.no_grad()
    def _latents(self, x: Tensor, batch: int) -> tuple[Tensor, Tensor, dict[str, float]]:
        """As many books of each crop of `x` `[B, T]` as were drawn for it, `[B, D, S]`."""
        assert self.quantising
        preset = self.preset
        if self.books.training and self.fraction >= preset.books_fraction:
            self.books.freeze()
        # Not autocast: what is left after three books is little more than bfloat16's rounding.
        sums, left = self.books(self.encode(x[:, None] * INPUT_GAIN))
        generator = torch.Generator().manual_seed(preset.seed + self.steps)
        counts = draw_counts(preset.book_shares, batch, generator)
        self.counts = counts[self.ranks.rows(batch)]
        chosen = sums[(self.counts - 1).to(x.device), torch.arange(len(x), device=x.device)]
        logged = {f"left by {k}": share for k, share in enumerate(left, 1)}
        return chosen, torch.zeros((), device=x.device), logged

    @torch.no_grad()
    def _distances(self, x: Tensor, y: Tensor) -> dict[str, float]:
        """Log-mel distances of the crops decoded from one book, and from all."""
        found = {}
        for k in (1, self.preset.shape.books):
            rows = (self.counts == k).nonzero()[:, 0].to(x.device)
            if len(rows):
                found[f"log-mel {k}"] = float(self.distance(x[rows], y[rows]))
        return found

    @torch.no_grad()
    def round_trip(self, x: Tensor) -> Tensor:
        """What all books and the averaged decoder make of crops `[B, T]`."""
        z = self.model.encoder(x[:, None].to(self.device) * INPUT_GAIN)
        learning = self.books.training
        sums, _ = self.books.eval()(z)
        self.books.train(learning)
        found: Tensor = (self.average(sums[-1])[:, 0] / INPUT_GAIN).cpu()
        return found

    def exported(self) -> EncodecModel:
        """See `CodecTrainer`; with the averaged decoder."""
        model = copy.deepcopy(self.model)
        model.decoder = copy.deepcopy(self.average)
        residual = [embed.cpu() for embed in self.books.embeds]
        return export(model.cpu(), self.quantizer.embed.cpu(), self.preset.shape, residual)
