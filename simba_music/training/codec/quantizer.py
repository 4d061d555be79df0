"""EMA vector quantiser: k-means start, moving averages, restart of dead codes."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simba_music.training.ranks import ALONE, Ranks


class EMAQuantizer(nn.Module):
    """Euclidean codebook learned by exponential moving averages (van den Oord 2017, app. A.1).

    A code used less than `dead_below` times as much as the mean code starts again elsewhere.
    While training, a code that is used e times as much as the mean looks `balance` times the mean
    squared error farther away than it is, so that the codes share the work.
    """

    embed: Tensor
    counts: Tensor
    sums: Tensor
    error: Tensor

    def __init__(
        self,
        size: int,
        dim: int,
        decay: float,
        dead_below: float,
        balance: float = 0.0,
        ranks: Ranks = ALONE,
    ):
        super().__init__()
        self.ranks = ranks
        self.decay, self.dead_below, self.balance = decay, dead_below, balance
        self.register_buffer("error", torch.zeros(()))
        # Codes follow their sums and counts, so no gradient and no optimiser has a part in them.
        self.register_buffer("embed", torch.zeros(size, dim))
        self.register_buffer("counts", torch.ones(size))
        self.register_buffer("sums", torch.zeros(size, dim))

    @torch.no_grad()
    def initialise(self, vectors: Tensor, batch: int, rounds: int = 12) -> None:
        """k-means (Lloyd) on encoder outputs `[N, D]`; `batch` vectors will come a step.

        Without rounds the vectors are the codes.
        """
        # Codes begin as encoder outputs, where vectors are, as in SoundStream (Zeghidour et al.
        # 2021, arXiv 2107.03312, sec. III-C): from random codes most would never be nearest.
        order = torch.randperm(len(vectors)) if rounds else torch.arange(len(vectors))
        embed = vectors[order[: len(self.embed)]].clone()
        for _ in range(rounds):
            ids = self.nearest(vectors, embed)
            sums = torch.zeros_like(embed).index_add_(0, ids, vectors)
            counts = torch.bincount(ids, minlength=len(embed)).float()
            used = counts > 0
            embed[used] = sums[used] / counts[used, None]
            # A cell that has lost its vectors starts again at one of them, or Lloyd would leave it
            # empty.
            spare = vectors[torch.randint(len(vectors), (int((~used).sum()),))]
            embed[~used] = spare
        # Start the averages at their steady state, so that no code looks dead.
        self.embed.copy_(embed)
        self.counts.fill_(batch / len(embed) / (1 - self.decay))
        self.sums.copy_(embed * self.counts[:, None])

    @staticmethod
    def nearest(x: Tensor, embed: Tensor, handicap: Tensor | float = 0.0) -> Tensor:
        """Ids `[N]` of the codes nearest to `x` `[N, D]`; `handicap` `[V]` adds to the squares."""
        # |x - e|^2 less |x|^2, which is the same for all codes: a matrix product, and no [N, V, D].
        return torch.addmm(embed.pow(2).sum(1) + handicap, x, embed.T, alpha=-2).argmin(1)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantise `z` `[B, D, S]`: straight-through codes, ids `[B*S]`, commitment loss."""
        flat = z.transpose(1, 2).reshape(-1, z.shape[1])
        handicap: Tensor | float = 0.0
        if self.training and self.balance:
            # In units of the present error, so that `balance` means the same however far training
            # is; the logarithm is zero at the mean and goes both ways.
            handicap = self.balance * self.error * (self.counts / self.counts.mean()).log()
        ids = self.nearest(flat.detach(), self.embed, handicap)
        # By the codes as they were: the update below must not move what this step is trained on.
        quantised = self.embed[ids].view(z.shape[0], -1, z.shape[1]).transpose(1, 2)
        if self.training:
            self.update(flat.detach(), ids, len(z))
        # Straight through (Bengio et al. 2013, arXiv 1308.3432). No codebook loss beside the
        # commitment, as averages do its work.
        return z + (quantised - z).detach(), ids, F.mse_loss(z, quantised)

    @torch.no_grad()
    def update(self, flat: Tensor, ids: Tensor, crops: int = 1) -> None:
        """Move codes towards the vectors `[N, D]` whose ids `[N]` they are; restart dead ones.

        They are of so many crops, end to end, and the vectors of all ranks count.
        """
        flat = self.ranks.gathered(flat.view(crops, -1, flat.shape[1])).flatten(0, 1)
        ids = self.ranks.gathered(ids.view(crops, -1)).flatten()
        error = (flat - self.embed[ids]).pow(2).sum(1).mean()
        self.error.lerp_(error, 1 - self.decay)
        self.counts.mul_(self.decay).add_(torch.bincount(ids, minlength=len(self.counts)))
        self.sums.mul_(self.decay).index_add_(0, ids, flat)
        mean = self.counts.mean()
        # A dead code takes a vector of this batch (Jukebox, Dhariwal et al. 2020, arXiv 2005.00341)
        # and the mean's count, as with less it would be dead again at the next step.
        dead = self.counts < self.dead_below * mean
        if dead.any():
            picks = flat[torch.randint(len(flat), (int(dead.sum()),), device=flat.device)]
            self.counts[dead] = mean
            self.sums[dead] = picks * mean
        self.embed.copy_(self.sums / self.counts[:, None])
        # Sums on GPUs are not the same to the last bit, and codes would drift apart.
        for buffer in (self.error, self.counts, self.sums, self.embed):
            buffer.copy_(self.ranks.of_first(buffer))
