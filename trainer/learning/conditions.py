"""The frozen networks of a training: pictures to latents, instructions to contexts."""

from typing import Any

import torch
from torch import Tensor

from factory.engine.text import TextEncoder


class Conditions:
    """Encodes what the network is told; the law uses latents' means and variances.

    In float32 as the original; diffusers' script runs them in the training's number format.
    """

    def __init__(self, autoencoder: Any, text: TextEncoder) -> None:
        self.autoencoder = autoencoder.eval().requires_grad_(False)
        self.text = text
        text.encoder.eval().requires_grad_(False)
        self.factor = 2 ** (len(autoencoder.config.block_out_channels) - 1)

    @property
    def scaling(self) -> float:
        """By which target latents are multiplied."""
        return float(self.autoencoder.config.scaling_factor)

    @torch.no_grad()
    def latents(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, each (picture, 4, height, width), of uint8 pictures (picture, 3, ., .)."""
        weights = next(self.autoencoder.parameters())
        # The original's range: [0, 255] to [-1, 1].
        x = pictures.to(weights.device, weights.dtype) / 127.5 - 1
        found = self.autoencoder.encode(x).latent_dist
        return found.mean, found.logvar
