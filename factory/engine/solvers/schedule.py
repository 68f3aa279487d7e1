"""Noise levels: sigma as a function of the training timestep, and the steps of each solver."""

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


@dataclass(frozen=True)
class Steps:
    """The road from noise to picture that a solver walks."""

    timesteps: Tensor
    """What the network is told at each step, float64 (steps,), descending, may be fractional."""
    sigmas: Tensor
    """Noise level before each step and after the last, float64 (steps + 1,), descending."""
    start_scale: float
    """The first latent is normal noise times this."""

    def __len__(self) -> int:
        return len(self.timesteps)


def euler_ancestral_steps(schedule: NoiseSchedule, steps: int) -> Steps:
    """t = linspace(last, 0, steps), then sigma 0. Source: k-diffusion `get_sigmas`, as in IP2P.

    One step starts and ends at the last timestep.
    """
    last = len(schedule.sigmas) - 1
    timesteps = torch.linspace(last, 0, steps, dtype=torch.float64)
    sigmas = torch.cat([schedule.sigma_at(timesteps), torch.zeros(1, dtype=torch.float64)])
    return Steps(timesteps, sigmas, float(sigmas[0]))


def ddim_steps(schedule: NoiseSchedule, steps: int) -> Steps:
    """Leading spacing with offset 1, ending at timestep 0's noise, as Stable Diffusion's DDIM.

    Matches diffusers' `DDIMScheduler(steps_offset=1, set_alpha_to_one=False)`: 981, 961, ..., 1
    for 50 steps. The latent is kept as x / sqrt(alpha), hence the start scale sqrt(1 + sigma^2).
    """
    count = len(schedule.sigmas)
    stride = count // steps
    timesteps = torch.arange(steps - 1, -1, -1, dtype=torch.float64) * stride + 1
    timesteps = timesteps.clamp(max=count - 1)
    before = (timesteps - stride).clamp(min=0)
    sigmas = torch.cat([schedule.sigma_at(timesteps), schedule.sigma_at(before[-1:])])
    return Steps(timesteps, sigmas, float((1 + sigmas[0] ** 2).sqrt()))


STEPS_OF = {"euler_ancestral": euler_ancestral_steps, "ddim": ddim_steps}
