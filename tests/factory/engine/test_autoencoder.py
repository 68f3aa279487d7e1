"""Pictures to latents and back, as diffusers' pipelines call the same network."""

import pytest
import torch

from factory.engine.autoencoder import Autoencoder
from tests.factory.engine.tiny import tiny_parts

PICTURES = torch.arange(2 * 3 * 16 * 16).reshape(2, 3, 16, 16).remainder(251).to(torch.uint8)


@pytest.mark.parametrize("shift", [None, 0.0609, -0.4])
def test_latents_are_shifted_and_scaled(shift):
    """As `StableDiffusion3Pipeline`, of a network whose latents have another middle than 0."""
    vae = tiny_parts().vae
    vae.register_to_config(shift_factor=shift, scaling_factor=1.5305)
    of, less = Autoencoder(vae), shift or 0.0
    with torch.inference_mode():
        mean, _ = of.moments(PICTURES)
        posterior = vae.encode(PICTURES.to(torch.float64) / 127.5 - 1).latent_dist
        latents = (posterior.mean - less) * 1.5305
        torch.testing.assert_close(of.unit(mean), latents, rtol=0, atol=1e-12)
        wanted = vae.decode(latents / 1.5305 + less).sample
        torch.testing.assert_close(of.decode(latents), wanted, rtol=0, atol=1e-12)
