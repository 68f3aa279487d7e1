"""Ranges of images on the tensor side: [-1, 1] from the decoder, [0, 1] for scores, 0..255 to store."""

import torch
from torch import Tensor

from factory.pictures import Picture


def to_unit(decoded: Tensor) -> Tensor:
    """From the decoder's [-1, 1] to [0, 1], clamped."""
    return (decoded / 2 + 0.5).clamp(0, 1)


def to_picture(image: Tensor) -> Picture:
    """(3, height, width) in [0, 1] to bytes, rounded to nearest (the original truncates)."""
    # Bytes on the device, a quarter of what would leave it otherwise.
    pixels = (image.float() * 255).round().to(torch.uint8).permute(1, 2, 0)
    picture: Picture = pixels.cpu().numpy()
    return picture
