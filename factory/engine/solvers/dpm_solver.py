"""DPM-Solver++(2M): second order from two predictions, so that some 20 steps do.

Source: Lu et al. 2022 (arXiv:2211.01095), algorithm 2; matches diffusers' `DPMSolverMultistepScheduler` as
Stable Diffusion configures it (dpmsolver++, midpoint, second order, `timestep_spacing` linspace,
`final_sigmas_type` zero), the first and the last step of first order.
"""

import torch
from torch import Tensor

from factory.engine.solvers.schedule import NoiseSchedule
from factory.engine.solvers.solver import Levels, Road, spread


class DpmSolver:
    """In terms of -log sigma; x / sqrt(alpha) turns the paper's update into k-diffusion's."""

    noisy = False
    remembers = True

    def road(self, schedule: NoiseSchedule, steps: int) -> Road:
        """Whole timesteps, evenly from the last, then level 0."""
        last = len(schedule.sigmas) - 1
        timesteps = torch.linspace(last, 0, steps + 1, dtype=torch.float64).round()[:-1]
        sigmas = torch.cat([schedule.sigmas[timesteps.long()], torch.zeros(1, dtype=torch.float64)])
        return Road(timesteps, sigmas, float((1 + sigmas[0] ** 2).sqrt()))

    def step(
        self, x: Tensor, denoised: Tensor, at: Levels, noise: Tensor | None, last: Tensor | None
    ) -> Tensor:
        """As `Solver`."""
        assert last is not None
        long, short = (at.sigma / at.sigma_next).log(), (at.sigma_last / at.sigma).log()
        # Of first order at both ends: nothing is known before the first step, the last has no end.
        second = (at.sigma_next > 0) & (short > 0)
        weight = torch.where(second, long / (2 * short), 0)
        slope = spread(weight, x) * (denoised - last)
        shrink = spread(at.sigma_next / at.sigma, x)
        return shrink * x + (1 - shrink) * (denoised + slope)


SOLVER = DpmSolver()
