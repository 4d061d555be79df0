"""Ranks: processes of one training, on one machine or several, that share every step's batch.

Each takes some rows of a batch; sums over all ranks stand where one process has sums over its
batch, so that n ranks with b rows each do what one process does with n b.
"""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from simba_music.errors import RequestError


class _Sum(torch.autograd.Function):
    """Sum over ranks; each rank's gradient is that of the sum of what all ranks make of it."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        found = own.clone()
        dist.all_reduce(found)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        found = gradients[0].clone()
        dist.all_reduce(found)
        return found


@dataclass(frozen=True)
class Ranks:
    """This process's number among so many; alone by default, when nothing is exchanged."""

    rank: int = 0
    count: int = 1
    device: str = "cpu"

    @property
    def first(self) -> bool:
        """Whether this process writes files and says how it goes."""
        return self.rank == 0

    def rows(self, batch: int) -> slice:
        """The rows of a batch that are this rank's, every `count`-th; some have one row more.

        Raises:
            RequestError: If there are fewer rows than ranks.
        """
        if batch < self.count:
            raise RequestError(
                f"A batch of {batch} cannot be shared by {self.count} processes. Start fewer."
            )
        return slice(self.rank, None, self.count)

    def sum(self, own: Tensor) -> Tensor:
        """The sum over all ranks, of any shape; gradients pass."""
        if self.count == 1:
            return own
        found: Tensor = _Sum.apply(own)  # type: ignore[no-untyped-call]
        return found

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up the gradients of all ranks; a parameter without one has zero."""
        if self.count == 1:
            return
        own = list(parameters)
        flat = [torch.zeros_like(p) if p.grad is None else p.grad for p in own]
        whole = torch.cat([gradient.flatten() for gradient in flat])
        dist.all_reduce(whole)
        for p, part in zip(own, whole.split([p.numel() for p in own]), strict=True):
            p.grad = part.view_as(p).clone()

    def norm(self, own: Tensor) -> float:
        """Norm of the rows of all ranks together."""
        if self.count == 1:
            return float(own.norm())
        return float(self.sum(own.detach().pow(2).sum()).sqrt())

    def collected(self, own: Tensor) -> list[Tensor]:
        """What each rank has, by rank; they may differ in their first size. Without gradients."""
        own = own.detach()
        if self.count == 1:
            return [own]
        mine = torch.tensor([len(own)], device=self.device)
        counts = [torch.zeros_like(mine) for _ in range(self.count)]
        dist.all_gather(counts, mine)
        padded = own.new_zeros(max(int(count) for count in counts), *own.shape[1:])
        padded[: len(own)] = own
        found = [torch.zeros_like(padded) for _ in counts]
        dist.all_gather(found, padded)
        return [part[: int(n)] for part, n in zip(found, counts, strict=True)]

    def gathered(self, own: Tensor) -> Tensor:
        """The whole batch again from `rows` of it; without gradients."""
        parts = self.collected(own)
        whole = own.new_empty(sum(map(len, parts)), *own.shape[1:])
        for rank, part in enumerate(parts):
            whole[rank :: self.count] = part
        return whole

    def of_first(self, own: Tensor) -> Tensor:
        """The first rank's tensor; that of the others says shape and dtype."""
        if self.count == 1:
            return own
        found = own.to(self.device)
        dist.broadcast(found, 0)
        return found

    def number_of_first(self, own: float) -> float:
        """The first rank's number, for what must be decided alike."""
        return float(self.of_first(torch.tensor(own, dtype=torch.float64)))

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.count > 1:
            dist.barrier()

    def check_same(self, what: str, own: object) -> None:
        """See that all ranks begin with the same; else they would wait for each other for ever.

        Raises:
            RequestError: On every rank, if they do not.
        """
        digest = hashlib.sha256(repr(own).encode()).digest()[:6]
        mine = torch.tensor([[int.from_bytes(digest)]], device=self.device)
        if len(torch.cat(self.collected(mine)).unique()) > 1:
            raise RequestError(
                f"The processes of this training differ in {what}; here it is {own!r}. All of them "
                "must see the same files: put the corpus and --out in a folder that they share."
            )

    def share_norms(self, model: nn.Module) -> None:
        """Have a model's batch norms take their statistics over the rows of all ranks."""
        if self.count == 1:
            return
        for module in model.modules():
            for name, child in module.named_children():
                if isinstance(child, nn.BatchNorm2d):
                    setattr(module, name, _SharedNorm(child, self))


ALONE = Ranks()


class _SharedNorm(nn.BatchNorm2d):
    """Batch norm over the rows of all ranks; torch's own does so on GPUs alone."""

    def __init__(self, norm: nn.BatchNorm2d, ranks: Ranks):
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.weight, self.bias, self.ranks = norm.weight, norm.bias, ranks
        for name, buffer in norm.named_buffers():
            setattr(self, name, buffer)

    def forward(self, input: Tensor) -> Tensor:
        """See `nn.BatchNorm2d`; `[B, C, H, W]`."""
        if not self.training:
            return super().forward(input)
        assert self.running_mean is not None and self.running_var is not None
        size = input.new_tensor(float(input.numel() // input.shape[1]))
        whole = self.ranks.sum(torch.cat([input.sum((0, 2, 3)), size[None]]))
        count = whole[-1].detach()
        mean = whole[:-1] / count
        apart = input - mean[:, None, None]
        variance = self.ranks.sum(apart.pow(2).sum((0, 2, 3))) / count
        with torch.no_grad():
            share = self.momentum or 0.0
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance * count / (count - 1), share)
            self.get_buffer("num_batches_tracked").add_(1)
        found = apart * (variance + self.eps).rsqrt()[:, None, None]
        return found * self.weight[:, None, None] + self.bias[:, None, None]


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """The ranks that `torchrun` started, of which each GPU has one; alone if it started none.

    None leaves before all are done. Within another `joined` it is the same ranks.
    """
    if not (dist.is_available() and dist.is_torchelastic_launched()):
        yield Ranks(device=device)
        return
    gpu, outer = device.startswith("cuda"), dist.is_initialized()
    if gpu:
        device = f"cuda:{dist.get_node_local_rank()}"
        torch.cuda.set_device(device)
    if not outer:
        dist.init_process_group("nccl" if gpu else "gloo")
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size(), device)
        dist.barrier()
    finally:
        if not outer:
            dist.destroy_process_group()
