"""Each solver alone: against diffusers' scheduler, and there and back."""

from collections.abc import Callable

import diffusers
import pytest
import torch

from factory.engine.solvers import solver_of
from factory.engine.solvers.schedule import NoiseSchedule
from factory.engine.solvers.solver import Levels
from tests.factory.engine.reference_samplers import invert_ddim, sample_unguided
from tests.factory.engine.tiny import SCHEDULER

torch.set_num_threads(1)
SCHEDULE = NoiseSchedule.from_config(SCHEDULER)
ABAR = 1 / (1 + SCHEDULE.sigmas**2)
SHAPE = (1, 4, 8, 8)


Network = Callable[[torch.Tensor, float], torch.Tensor]


def predicted(x: torch.Tensor, timestep: float) -> torch.Tensor:
    """A smooth stand-in for a network: the noise that it sees in a latent of unit variance."""
    return torch.tanh(x * (1 + timestep / 999)) * 0.9 + 0.1 * x.roll(1, -1)


def walked(name: str, start: torch.Tensor, steps: int) -> torch.Tensor:
    """One latent of unit variance along a solver's road, to one of unit variance."""
    solver = solver_of(name)
    road = solver.road(SCHEDULE, steps)
    x = start * (1 + road.sigmas[0] ** 2).sqrt()
    last = None
    for step in range(len(road)):
        sigma = road.sigmas[step]
        denoised = x - sigma * predicted(x / (1 + sigma**2).sqrt(), float(road.timesteps[step]))
        at = Levels(sigma[None], road.sigmas[step + 1][None], road.sigmas[max(step - 1, 0)][None])
        x, last = solver.step(x, denoised, at, None, denoised if last is None else last), denoised
    return x / (1 + road.sigmas[-1] ** 2).sqrt()


def by_diffusers(
    scheduler: object, start: torch.Tensor, steps: int, network: Network = predicted
) -> torch.Tensor:
    """The same by one of its schedulers, whose `step` would go on in float32: its updates alone."""
    scheduler.set_timesteps(steps)
    levels = [SCHEDULE.sigmas[t] for t in scheduler.timesteps.long()]
    scheduler.sigmas = torch.stack([*levels, torch.zeros((), dtype=torch.float64)])
    x, outputs = start, []
    for step, timestep in enumerate(scheduler.timesteps):
        scheduler._step_index = step
        noise = network(x, float(timestep))
        outputs = [*outputs[-1:], scheduler.convert_model_output(noise, sample=x)]
        if step in (0, steps - 1):
            x = scheduler.dpm_solver_first_order_update(outputs[-1], sample=x)
        else:
            x = scheduler.multistep_dpm_solver_second_order_update(outputs, sample=x)
    return x


def dpm_scheduler() -> diffusers.DPMSolverMultistepScheduler:
    """DPM-Solver++(2M), on our timesteps."""
    return diffusers.DPMSolverMultistepScheduler.from_config(
        SCHEDULER, algorithm_type="dpmsolver++", solver_order=2, timestep_spacing="linspace"
    )


@pytest.mark.parametrize("steps", [1, 2, 7, 20, 50])
def test_dpm_solver_is_diffusers(steps):
    start = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    scheduler = dpm_scheduler()
    theirs = by_diffusers(scheduler, start, steps)
    road = solver_of("dpm_solver").road(SCHEDULE, steps)
    assert road.timesteps.tolist() == scheduler.timesteps.tolist()
    torch.testing.assert_close(walked("dpm_solver", start, steps), theirs, rtol=0, atol=1e-6)


def test_dpm_solver_is_of_second_order():
    """Half as many steps again have a quarter of the error, near enough; DDIM's has half."""
    start = torch.randn(SHAPE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def error(name: str, steps: int) -> float:
        return float((walked(name, start, steps) - exact[name]).abs().mean())

    exact = {name: walked(name, start, 999) for name in ("dpm_solver", "ddim")}
    assert error("dpm_solver", 20) < 0.6 * error("ddim", 20)


@pytest.mark.parametrize("steps", [10, 50, 250])
def test_inversion_and_sampling_come_back_as_near_as_a_slow_reference(steps):
    start = torch.randn(SHAPE, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    noise = walked("ddim_inversion", start, steps)
    expected = invert_ddim(ABAR, predicted, start, steps)[-1]
    torch.testing.assert_close(noise, expected, rtol=0, atol=1e-9)
    back = walked("ddim", noise, steps)
    theirs = sample_unguided(ABAR, predicted, expected, steps)
    torch.testing.assert_close(back, theirs, rtol=0, atol=1e-9)
    assert (back - start).abs().mean() < 20 / steps


def test_a_solver_that_is_not_there_is_told():
    with pytest.raises(ValueError, match="no solver is called 'euler'"):
        solver_of("euler")
    with pytest.raises(ValueError, match="no solver is called 'schedule'"):
        solver_of("schedule")
