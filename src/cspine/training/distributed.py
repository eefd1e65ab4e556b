"""One process or many: what torchrun tells, and the few collectives that are needed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

from cspine.execution.worker import end_with_parent


@dataclass(frozen=True)
class DistributedContext:
    """This process among all that train together."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """True in the one process that writes files and prints."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Add up values over all processes.

        Parameters
        ----------
        values : Tensor of any shape
            This process's.

        Returns
        -------
        Tensor of the same shape
            The sum over all processes, on their device; `values` itself where this one stands alone.
        """
        if self.world_size > 1:
            values = values.to(self.device)
            distributed.all_reduce(values)
        return values

    def broadcast_buffers(self, module: nn.Module) -> None:
        """Give every process the first one's buffers.

        Each process has batch norm's running figures of its own samples.

        Parameters
        ----------
        module : Module
            The network whose buffers are overwritten.
        """
        if self.world_size > 1:
            for buffer in module.buffers():
                distributed.broadcast(buffer, 0)

    def barrier(self) -> None:
        """Return when all processes have come here."""
        if self.world_size > 1:
            distributed.barrier()


@contextmanager
def init_distributed() -> Iterator[DistributedContext]:
    """Join the processes that torchrun started, or stand alone.

    Yields
    ------
    DistributedContext
        This process among them, with its GPU or the CPU.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:  # a killed torchrun leaves its processes behind
        end_with_parent(os.getppid())
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if world_size == 1:
        yield DistributedContext(0, 1, device)
        return
    distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield DistributedContext(rank, world_size, device)
    finally:
        distributed.destroy_process_group()
