"""Noise levels: sigma as a function of the training timestep."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from factory.errors import ModelError


@dataclass(frozen=True)
class NoiseSchedule:
    """What the network was trained on."""

    sigmas: Tensor
    """Noise level at each training timestep, float64 (timesteps,), ascending."""
    prediction: Literal["epsilon", "v_prediction"]

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "NoiseSchedule":
        """From a diffusers scheduler config. Raises `ModelError` for schedules that are not SD's."""
        for name in ("trained_betas", "rescale_betas_zero_snr"):
            if config.get(name):
                raise ModelError(f"scheduler: {name} is not supported, got {config[name]!r}")
        count = int(config.get("num_train_timesteps", 1000))
        start, end = float(config["beta_start"]), float(config["beta_end"])
        match config.get("beta_schedule"):
            case "scaled_linear":
                betas = torch.linspace(start**0.5, end**0.5, count, dtype=torch.float64) ** 2
            case "linear":
                betas = torch.linspace(start, end, count, dtype=torch.float64)
            case other:
                raise ModelError(
                    f"scheduler: beta_schedule must be scaled_linear or linear, got {other!r}"
                )
        prediction = config.get("prediction_type", "epsilon")
        if prediction not in ("epsilon", "v_prediction"):
            raise ModelError(
                f"scheduler: prediction_type must be epsilon or v_prediction, got {prediction!r}"
            )
        kept = (1 - betas).cumprod(0)
        return cls(((1 - kept) / kept).sqrt(), prediction)

    def sigma_at(self, timestep: Tensor) -> Tensor:
        """Sigma at fractional timesteps, linear in log sigma (k-diffusion's `t_to_sigma`)."""
        low = timestep.floor().long()
        high = timestep.ceil().long()
        share = timestep - low
        return ((1 - share) * self.sigmas[low].log() + share * self.sigmas[high].log()).exp()
