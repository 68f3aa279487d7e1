"""Euler ancestral, eta = 1: the paper's sampler.

Source: k-diffusion `sample_euler_ancestral` on `get_sigmas` (Karras et al. 2022, algorithm 2 without
churn), as in InstructPix2Pix, where both images of a pair get the same noise.
"""

import torch
from torch import Tensor

from factory.engine.solvers.schedule import NoiseSchedule
from factory.engine.solvers.solver import Levels, Road, spread


class EulerAncestral:
    """Steps down past the next level and adds noise up to it."""

    noisy = True
    remembers = False

    def road(self, schedule: NoiseSchedule, steps: int) -> Road:
        """t = linspace(last, 0, steps), then level 0; one step starts and ends at the last timestep."""
        last = len(schedule.sigmas) - 1
        timesteps = torch.linspace(last, 0, steps, dtype=torch.float64)
        sigmas = torch.cat([schedule.sigma_at(timesteps), torch.zeros(1, dtype=torch.float64)])
        return Road(timesteps, sigmas, float(sigmas[0]))

    def step(
        self, x: Tensor, denoised: Tensor, at: Levels, noise: Tensor | None, last: Tensor | None
    ) -> Tensor:
        """As `Solver`."""
        variance = at.sigma_next**2 * (at.sigma**2 - at.sigma_next**2) / at.sigma**2
        up = variance.clamp(min=0).sqrt().minimum(at.sigma_next)
        down = (at.sigma_next**2 - up**2).sqrt()
        slope = (x - denoised) / spread(at.sigma, x)
        x = x + slope * spread(down - at.sigma, x)
        assert noise is not None
        # At the last step the next level and so `up` are 0: the noise has no weight.
        return x + noise * spread(up, x)


SOLVER = EulerAncestral()
