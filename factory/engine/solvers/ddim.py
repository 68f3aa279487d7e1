"""DDIM, eta = 0: an Euler step in sigma on x / sqrt(alpha).

Source: Song et al. 2021 (arXiv:2010.02502), equations 12 and 13.
"""

import torch
from torch import Tensor

from factory.engine.solvers.schedule import NoiseSchedule
from factory.engine.solvers.solver import Levels, Road, spread


class Ddim:
    """From noise to picture."""

    noisy = False
    remembers = False

    def road(self, schedule: NoiseSchedule, steps: int) -> Road:
        """Leading spacing with offset 1, ending at timestep 0's noise, as Stable Diffusion's DDIM.

        Matches diffusers' `DDIMScheduler(steps_offset=1, set_alpha_to_one=False)`: 981, 961, ..., 1
        for 50 steps.
        """
        count = len(schedule.sigmas)
        stride = count // steps
        timesteps = torch.arange(steps - 1, -1, -1, dtype=torch.float64) * stride + 1
        timesteps = timesteps.clamp(max=count - 1)
        before = (timesteps - stride).clamp(min=0)
        sigmas = torch.cat([schedule.sigma_at(timesteps), schedule.sigma_at(before[-1:])])
        return Road(timesteps, sigmas, float((1 + sigmas[0] ** 2).sqrt()))

    def step(
        self, x: Tensor, denoised: Tensor, at: Levels, noise: Tensor | None, last: Tensor | None
    ) -> Tensor:
        """As `Solver`."""
        slope = (x - denoised) / spread(at.sigma, x)
        return x + slope * spread(at.sigma_next - at.sigma, x)


SOLVER = Ddim()
