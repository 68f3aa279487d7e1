"""Any eps- or v-predicting UNet as one function: denoised = model(x, sigma)."""

from typing import Any

from torch import Tensor

from factory.engine.solvers.schedule import NoiseSchedule


class Denoiser:
    """Wraps a diffusers UNet; rows carry their own noise level.

    Source: k-diffusion `CompVisDenoiser` and `CompVisVDenoiser` (quantize=False).
    """

    def __init__(self, unet: Any, schedule: NoiseSchedule) -> None:
        self.unet = unet
        self.v_prediction = schedule.prediction == "v_prediction"

    def __call__(self, x: Tensor, sigma: Tensor, timestep: Tensor, context: Tensor) -> Tensor:
        """x (row, channel, height, width), sigma and timestep (row,), context (row, token, width)."""
        level = sigma.to(x.dtype).view(-1, 1, 1, 1)
        spread = (level**2 + 1).sqrt()
        scaled = (x / spread).to(self.unet.dtype)
        predicted = self.unet(scaled, timestep, context, return_dict=False)[0].to(x.dtype)
        if self.v_prediction:
            return x / spread**2 - predicted * level / spread
        return x - predicted * level
