"""DDIM inversion: the same steps backwards, from a picture's latent to the noise that gives it again.

Source: Dhariwal & Nichol 2021 (arXiv:2105.05233), appendix F, in the convention of null-text inversion and
pnp-diffusers: a step to a noisier level tells the network that level's timestep, not the present one's.
"""

from factory.engine.solvers.ddim import Ddim
from factory.engine.solvers.schedule import NoiseSchedule
from factory.engine.solvers.solver import Road


class DdimInversion(Ddim):
    """From picture to noise: DDIM's levels turned round. What it starts from must be given."""

    def road(self, schedule: NoiseSchedule, steps: int) -> Road:
        """From timestep 0's level, for which a clean latent is taken, to 981 for 50 steps."""
        down = super().road(schedule, steps)
        return Road(down.timesteps.flip(0), down.sigmas.flip(0), 1.0)


SOLVER = DdimInversion()
