"""Host values to a device that copies them by itself: nobody waits for what it does now.

CUDA copies so from page-locked memory alone; from any other a copy blocks whatever it is told.
"""

import torch
from torch import Tensor


def ahead(values: Tensor, device: torch.device) -> Tensor:
    """Values of the host, as a tensor on the device; what is there already stays."""
    return _locked(values, device).to(device, non_blocking=device.type != "cpu")


def ahead_into(place: Tensor, values: Tensor) -> None:
    """The same into a place on the device that stays where it is; numbers become the place's."""
    held = _locked(values.to(place.dtype), place.device)
    place.copy_(held, non_blocking=place.device.type != "cpu")


def _locked(values: Tensor, device: torch.device) -> Tensor:
    is_far = device.type == "cuda" and values.device.type == "cpu"
    return values.pin_memory() if is_far else values
