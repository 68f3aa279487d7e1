"""A network over the workers of a group: each has all of it, or a share of its state (FSDP2)."""

from typing import Any

import torch
from torch import Tensor
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from trainer.learning.group import Group


def spread(network: Any, group: Group, shard: bool) -> Any:
    """The network to call: gradients are averaged over the workers. Alone it is the given one.

    `shard` cuts each parameter, in place, along its first dimension. Its gradient, average and moments
    follow, and `State` works on the parts: PyTorch's arithmetic on cut tensors costs seconds a step.
    Weights are gathered once per optimiser step and given up after its last backward, so workers may
    differ in their number of micro-batches. They stay float32 and `law.dtype` is autocast's, as without
    shards.
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


def local_part(tensor: Tensor) -> Tensor:
    """This worker's part of a tensor, in the same memory; one that is not cut is its own."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def gather_whole(part: Tensor, like: Tensor) -> Tensor:
    """What all workers hold parts of, cut as `like` is; where that is cut, all of them call this."""
    if not isinstance(like, DTensor):
        return part
    return DTensor.from_local(
        part, like.device_mesh, like.placements, shape=like.shape, stride=like.stride()
    ).full_tensor()


def set_part(tensor: Tensor, part: Tensor, like: Tensor) -> None:
    """Copy this worker's part of a whole tensor, cut as `like` is."""
    if isinstance(like, DTensor):
        rows = -(-len(tensor) // like.device_mesh.size())
        tensor = tensor[like.device_mesh.get_local_rank() * rows :][:rows]
    part.copy_(tensor)
