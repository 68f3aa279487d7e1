"""The training law of InstructPix2Pix, one micro-batch at a time: tensors in, a loss per item out."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from factory.engine.solvers.schedule import NoiseSchedule
from factory.errors import ModelError
from trainer.learning.order import TIMESTEPS

NUMBERS = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.float32,
}
"""Of weights, latents and loss, by `law.dtype`."""


@dataclass(frozen=True)
class MicroBatch:
    """Items as the network's world sees them; all tensors share one device and number format."""

    mean: Tensor
    """Mean of the edited picture's latent, unscaled (item, 4, height, width)."""
    log_variance: Tensor
    """Of the same latent."""
    condition: Tensor
    """Mean of the original picture's latent, unscaled, zeros where it was dropped."""
    context: Tensor
    """Instructions, or the empty one where dropped (item, token, width)."""
    timestep: Tensor
    """0..999, int64 (item,)."""
    posterior: Tensor
    """Normal noise for drawing the edited picture's latent, as `mean`."""
    noise: Tensor
    """Normal noise that the network is to find, as `mean`."""
    added: dict[str, Tensor] | None = None
    """What the network adds to the timestep, by its own names; Stable Diffusion XL's alone."""

    def __len__(self) -> int:
        return len(self.timestep)

    def to(self, device: torch.device) -> "MicroBatch":
        """There; from pinned memory without waiting."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> "MicroBatch":
        """In memory from which a CUDA device copies by itself."""
        return self._each(Tensor.pin_memory)

    def _each(self, act: Callable[[Tensor], Tensor]) -> "MicroBatch":
        tensors = {
            of.name: act(getattr(self, of.name)) for of in fields(self) if of.name != "added"
        }
        added = self.added and {name: act(tensor) for name, tensor in self.added.items()}
        return MicroBatch(**tensors, added=added)


class Objective:
    """Mean squared error of the noise (or of v), at an even timestep, on a sampled latent.

    Source: Brooks et al. 2023 (arXiv:2211.09800), equation 2, and `ddpm_edit.py`: the target is the
    scaled sample of the edited picture's latent, the condition the unscaled mean of the original's.
    v: Salimans & Ho 2022 (arXiv:2202.00512), section 4.
    """

    def __init__(self, schedule: NoiseSchedule, scaling: float) -> None:
        """Raises `ModelError` for a schedule of another length than all of SD's."""
        if len(schedule.sigmas) != TIMESTEPS:
            raise ModelError(
                f"scheduler: num_train_timesteps must be {TIMESTEPS}, got {len(schedule.sigmas)}"
            )
        self.kept = 1 / (1 + schedule.sigmas**2)
        """Share of the signal's variance at each timestep (alpha bar), float64."""
        self.predicts_v = schedule.prediction == "v_prediction"
        self.scaling = scaling

    def losses(self, unet: Any, batch: MicroBatch) -> Tensor:
        """One loss per item (item,): the mean over channels and places, at least float32."""
        # As the autoencoder's own distribution clamps it.
        deviation = (0.5 * batch.log_variance.clamp(-30, 20)).exp()
        latent = (batch.mean + deviation * batch.posterior) * self.scaling
        if self.kept.device != batch.timestep.device:
            # Once, and not in every step: it would wait for the device.
            self.kept = self.kept.to(batch.timestep.device)
        kept = self.kept[batch.timestep].to(latent).view(-1, 1, 1, 1)
        signal, spread = kept.sqrt(), (1 - kept).sqrt()
        noisy = signal * latent + spread * batch.noise
        aim = signal * batch.noise - spread * latent if self.predicts_v else batch.noise
        seen = torch.cat([noisy, batch.condition], 1)
        found = unet(
            seen, batch.timestep, batch.context, added_cond_kwargs=batch.added, return_dict=False
        )[0]
        return (found.to(aim.dtype) - aim).square().flatten(1).mean(1)
