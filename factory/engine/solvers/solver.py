"""What a solver is: the road that it walks, and one step of it for many latents at once."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from factory.engine.solvers.schedule import NoiseSchedule


@dataclass(frozen=True)
class Road:
    """The noise levels that a solver passes. Latents are kept as x / sqrt(alpha), clean at level 0."""

    timesteps: Tensor
    """What the network is told at each step, float64 (steps,), may be fractional."""
    sigmas: Tensor
    """Noise level before each step and after the last, float64 (steps + 1,)."""
    start_scale: float
    """The first latent is normal noise times this."""

    def __len__(self) -> int:
        return len(self.timesteps)


@dataclass(frozen=True)
class Levels:
    """Where each of several latents stands, float64 (latent,)."""

    sigma: Tensor
    """Before the step."""
    sigma_next: Tensor
    """After it."""
    sigma_last: Tensor
    """Before the step before; that of this step where it is the first."""

    def at(self, places: Tensor) -> "Levels":
        """Of some of them."""
        of = (self.sigma, self.sigma_next, self.sigma_last)
        return Levels(*(level.index_select(0, places) for level in of))


class Solver(Protocol):
    """Elementwise in its latents, so that each gets what it gets alone."""

    noisy: bool
    """Whether a step takes fresh noise."""
    remembers: bool
    """Whether a step takes the prediction of the step before: all that is kept of the past. One that
    wants more of it wants more of `Batch`, which keeps it for each latent."""

    def road(self, schedule: NoiseSchedule, steps: int) -> Road:
        """The noise levels of so many steps."""

    def step(
        self, x: Tensor, denoised: Tensor, at: Levels, noise: Tensor | None, last: Tensor | None
    ) -> Tensor:
        """The latents after a step. x, the prediction, the noise and the prediction of the step before are
        (latent, channel, height, width); in the first step the last is the prediction itself.
        """


def spread(values: Tensor, like: Tensor) -> Tensor:
    """One value for each latent, in its numbers and over all of its elements."""
    return values.to(like.dtype).view(-1, *[1] * (like.ndim - 1))
