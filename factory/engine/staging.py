"""Host values to a device that copies them by itself, so that nobody waits for what it does now; and back.

CUDA copies so from and into page-locked memory alone; with any other a copy blocks whatever it is told.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def ahead(values: Tensor, device: torch.device) -> Tensor:
    """Values of the host, as a tensor on the device; what is there already stays."""
    return locked(values, device).to(device, non_blocking=device.type != "cpu")


def ahead_into(place: Tensor, values: Tensor) -> None:
    """The same into a place on the device that stays where it is; numbers become the place's."""
    held = locked(values.to(place.dtype), place.device)
    place.copy_(held, non_blocking=place.device.type != "cpu")


def home(values: Sequence[Tensor]) -> list[Tensor]:
    """Values of one device, in the host's memory; waits once, for all of them and for what makes them."""
    far = [each.device for each in values if each.device.type == "cuda"]
    # torch itself takes page-locked memory for such copies, and keeps it for the next ones.
    here = [each.to("cpu", non_blocking=bool(far)) for each in values]
    if far:
        torch.cuda.current_stream(far[0]).record_event().synchronize()
    return here


def locked(values: Tensor, device: torch.device) -> Tensor:
    """Values of the host in memory from which the device takes them by itself; it may be where they are."""
    is_far = device.type == "cuda" and values.device.type == "cpu"
    return values.pin_memory() if is_far and not values.is_pinned() else values
