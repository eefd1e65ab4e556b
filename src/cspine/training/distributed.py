"""One process or many: what torchrun tells, and the few collectives that are needed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

from cspine import stage


@dataclass(frozen=True)
class Place:
    """Where this process stands among all that train together."""

    rank: int
    ranks: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """True in the one process that writes files and prints."""
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """The sum of `values` over all processes."""
        if self.ranks > 1:
            values = values.to(self.device)
            distributed.all_reduce(values)
        return values

    def share_buffers(self, module: nn.Module) -> None:
        """Give every process the first one's buffers: each has batch norm's running figures of its own samples."""
        if self.ranks > 1:
            for buffer in module.buffers():
                distributed.broadcast(buffer, 0)

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.ranks > 1:
            distributed.barrier()


@contextmanager
def joined() -> Iterator[Place]:
    """Join the processes that torchrun started, or stand alone."""
    if "TORCHELASTIC_RUN_ID" in os.environ:  # a killed torchrun leaves its processes behind
        stage.end_with(os.getppid())
    rank, ranks = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if ranks == 1:
        yield Place(0, 1, device)
        return
    distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Place(rank, ranks, device)
    finally:
        distributed.destroy_process_group()
