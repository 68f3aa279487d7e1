"""Pictures to latents and back."""

from typing import Any

from torch import Tensor

from factory.engine.staging import ahead


class Autoencoder:
    """Wraps diffusers' `AutoencoderKL`; what is sampled has unit variance: (latent - shift) x scaling."""

    def __init__(self, network: Any) -> None:
        self.network = network
        config = network.config
        self.factor = 2 ** (len(config.block_out_channels) - 1)
        """Pixels of a side to one of the latent's."""
        self.channels = int(config.latent_channels)
        self.scaling = float(config.scaling_factor)
        self.shift = float(getattr(config, "shift_factor", None) or 0.0)

    def moments(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, each (picture, channel, height, width) and unscaled, of uint8 pictures
        (picture, 3, height, width).
        """
        weights = next(self.network.parameters())
        # On the device, which takes bytes in a quarter of the time; [0, 255] to [-1, 1] as the original.
        x = ahead(pictures, weights.device).to(weights.dtype) / 127.5 - 1
        found = self.network.encode(x).latent_dist
        return found.mean, found.logvar

    def unit(self, latents: Tensor) -> Tensor:
        """Latents as the network's moments have them, to unit variance."""
        return (latents - self.shift) * self.scaling

    def decode(self, latents: Tensor) -> Tensor:
        """Sampled latents to images in about [-1, 1], in the latents' numbers."""
        weights = next(self.network.parameters())
        decoded: Tensor = self.network.decode(
            (latents / self.scaling + self.shift).to(weights.dtype)
        ).sample
        return decoded.to(latents.dtype)
