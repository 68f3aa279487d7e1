"""Any eps- or v-predicting UNet as one function: denoised = model(x, sigma)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from factory.engine.solvers.schedule import NoiseSchedule


@dataclass(frozen=True)
class Conditioning:
    """What a network is told beside latents; row by row."""

    context: Tensor
    """The prompts' tokens (row, token, width)."""
    added: Mapping[str, Tensor] | None = None
    """What Stable Diffusion XL adds to its timestep: `text_embeds` (row, width), `time_ids` (row, 6)."""
    picture: Tensor | None = None
    """Of an eight-channel editor: the picture's unscaled latent (row, channel, height, width)."""


class Denoiser:
    """Wraps a diffusers UNet; rows carry their own noise level.

    Source: k-diffusion `CompVisDenoiser` and `CompVisVDenoiser` (quantize=False).
    """

    def __init__(self, unet: Any, schedule: NoiseSchedule) -> None:
        self.unet = unet
        self.v_prediction = schedule.prediction == "v_prediction"

    def __call__(
        self, x: Tensor, sigma: Tensor, timestep: Tensor, conditioning: Conditioning
    ) -> Tensor:
        """x (row, channel, height, width), sigma and timestep (row,)."""
        level = sigma.to(x.dtype).view(-1, 1, 1, 1)
        spread = (level**2 + 1).sqrt()
        scaled = (x / spread).to(self.unet.dtype)
        if conditioning.picture is not None:
            scaled = torch.cat([scaled, conditioning.picture], 1)
        predicted = self.unet(
            scaled,
            timestep,
            conditioning.context,
            added_cond_kwargs=conditioning.added,
            return_dict=False,
        )[0].to(x.dtype)
        if self.v_prediction:
            return x / spread**2 - predicted * level / spread
        return x - predicted * level
