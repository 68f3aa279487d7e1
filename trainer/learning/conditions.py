"""The frozen networks of a training: pictures to latents, instructions to contexts."""

from typing import Any

import torch
from torch import Tensor

from factory.engine.autoencoder import Autoencoder
from factory.engine.text.encoder import TextEncoder


class Conditions:
    """Encodes what the network is told; the law uses latents' means and variances.

    In float32 as the original; diffusers' script runs them in the training's number format.
    """

    def __init__(self, autoencoder: Any, text: TextEncoder) -> None:
        self.autoencoder = Autoencoder(autoencoder.eval().requires_grad_(False))
        self.text = text
        text.encoder.eval().requires_grad_(False)

    @torch.no_grad()
    def latents(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, each (picture, 4, height, width), of uint8 pictures (picture, 3, ., .)."""
        return self.autoencoder.moments(pictures)
