"""The workers of a training: who am I, sums over all, one process for all files."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from schemas.training.fit import Law, Where


class Group:
    """A worker's view of its process group; a single process without one is a group of one."""

    def __init__(self) -> None:
        joined = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if joined else 0
        self.size = dist.get_world_size() if joined else 1

    @property
    def leads(self) -> bool:
        """Whether this worker writes what is written once."""
        return self.rank == 0

    def slots(self, batch: int) -> range:
        """This worker's part of a step's slots: all but equal, none empty where `batch` >= size."""
        return range(self.rank * batch // self.size, (self.rank + 1) * batch // self.size)

    def sum(self, values: Tensor) -> Tensor:
        """Over all workers."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def share(self, value: Any) -> Any:
        """What the leader has; called by all."""
        if self.size == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held)
        return held[0]

    def gather(self, value: Any) -> list[Any]:
        """What each worker has, in their order; called by all."""
        held = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(held, value)
        return held

    def leave(self) -> None:
        """Without the others, where that tells those that wait for this worker, as gloo does.

        NCCL lets them time out, and might have this worker wait for them.
        """
        if self.size > 1 and dist.get_backend() == "gloo":
            dist.destroy_process_group()

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            dist.barrier()


@dataclass(frozen=True)
class Workplace:
    """By what law a worker trains, with how much at once, where and beside whom."""

    law: Law
    compute: Where
    device: torch.device
    group: Group


@contextmanager
def silent(network: Any, wanted: bool) -> Iterator[None]:
    """Inside, gradients are only gathered here and not summed over workers; cut weights stay whole."""
    if wanted and hasattr(network, "no_sync"):
        with network.no_sync():
            yield
    elif hasattr(network, "set_requires_gradient_sync"):
        network.set_requires_gradient_sync(not wanted)
        network.set_reshard_after_backward(not wanted)
        yield
    else:
        yield
