"""A network over the workers of a group: each has all of it, or a share of its state (FSDP2)."""

from typing import Any

import torch
from torch import Tensor
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from trainer.group import Group


def spread(network: Any, group: Group, shard: bool) -> Any:
    """The network to call: gradients are averaged over the workers. Alone it is the given one.

    `shard` cuts each parameter, in place, along its first dimension; its gradient, average and moments
    follow. Weights are gathered once per optimiser step and given up after its last backward, so workers
    may differ in their number of micro-batches. They stay float32 and `law.dtype` is autocast's, as
    without shards.
    """
    if group.size == 1:
        return network
    if not shard:
        device = next(network.parameters()).device
        ids = [device.index] if device.type == "cuda" else None
        return torch.nn.parallel.DistributedDataParallel(network, device_ids=ids)
    for block in (*network.down_blocks, network.mid_block, *network.up_blocks, network):
        fully_shard(block, reshard_after_forward=False)
    return network


def is_cut(tensor: Tensor) -> bool:
    """Whether other workers hold other parts of it."""
    return isinstance(tensor, DTensor)


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor; where it is cut, all workers call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def put(tensor: Tensor, into: Tensor) -> None:
    """Copy a whole tensor's values; where `into` is cut, this worker's part of them."""
    if isinstance(into, DTensor):
        mesh = into.device_mesh
        rows = -(-len(tensor) // mesh.size())
        tensor = tensor[mesh.get_local_rank() * rows :][:rows]
        into = into.to_local()
    into.copy_(tensor)
