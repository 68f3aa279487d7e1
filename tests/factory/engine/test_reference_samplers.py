"""The reference's schedule against values from outside."""

from itertools import pairwise
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from tests.factory.engine.reference_samplers import (
    PredictionType,
    alphas_cumprod,
    ddim_timesteps,
    euler_sigmas,
    fractional_timestep,
    sample_euler_ancestral,
)
from tests.factory.engine.tiny import SCHEDULER

torch.set_num_threads(1)

ABAR = alphas_cumprod(SCHEDULER)
SCHEDULERS: Any = diffusers  # whose constructors carry no types


def test_three_sigmas_have_the_values_worked_out_in_fifty_digits() -> None:
    sigmas = euler_sigmas(ABAR, 3)
    # t = 999, 499.5 (the geometric mean of sigma at 499 and 500), 0, and the 0 appended.
    golden = [14.614641229333635971, 1.6155802601603266415, 0.029167158151720066620, 0.0]
    assert sigmas.tolist() == pytest.approx(golden, rel=1e-12, abs=0)


@pytest.mark.parametrize("steps", [1, 2, 25, 100])
def test_sigmas_fall_from_the_noisiest_level_to_zero(steps: int) -> None:
    sigmas = euler_sigmas(ABAR, steps).tolist()
    assert len(sigmas) == steps + 1
    assert sigmas[0] == pytest.approx(14.614641229333635971)
    assert sigmas[-1] == 0
    assert all(before > after for before, after in pairwise(sigmas))


def test_the_timestep_of_each_sigma_is_the_fractional_one_it_was_made_from() -> None:
    sigmas = euler_sigmas(ABAR, 25)[:-1]
    found = [float(fractional_timestep(ABAR, sigma)) for sigma in sigmas]
    assert found == pytest.approx([999 - 41.625 * i for i in range(25)], abs=1e-9)


def test_ddim_timesteps_are_those_of_diffusers() -> None:
    assert ddim_timesteps(1000, 50)[:2] == [981, 961]
    scheduler = SCHEDULERS.DDIMScheduler(**SCHEDULER)
    for steps in (1, 3, 20, 30, 50):
        scheduler.set_timesteps(steps)
        assert ddim_timesteps(1000, steps) == scheduler.timesteps.tolist()


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_euler_ancestral_follows_a_linear_model_as_worked_out_in_scalars(
    prediction: PredictionType,
) -> None:
    # The model returns 0.1 of its input without and 0.3 with text: at guidance 2, 0.5 of it.
    shares = torch.tensor([0.1, 0.1, 0.3, 0.3], dtype=torch.float64).reshape(4, 1, 1, 1)
    asked: list[float] = []

    def predict(x: Tensor, t: Tensor) -> Tensor:
        asked.append(float(t))
        return shares * x

    latents = sample_euler_ancestral(
        ABAR,
        predict,
        lambda i: None,
        prediction_type=prediction,
        guidance=2.0,
        steps=3,
        initial_noise=torch.full((4, 1, 1), 0.7, dtype=torch.float64),
        step_noise=lambda i: torch.full((4, 1, 1), (-0.4, 1.1)[i], dtype=torch.float64),
    )
    sigmas = [14.614641229333635971, 1.6155802601603266415, 0.029167158151720066620, 0.0]
    x = 0.7 * sigmas[0]
    for (now, after), noise in zip(pairwise(sigmas), (-0.4, 1.1, 0.0), strict=True):
        scale = (now**2 + 1) ** -0.5
        output = 0.5 * x * scale
        clean = x - now * output if prediction == "epsilon" else x * scale**2 - now * scale * output
        # Eta 1 in closed form: the level stepped down to, then noise back up to `after`.
        down, up = after**2 / now, after * (1 - (after / now) ** 2) ** 0.5
        x = clean + (x - clean) * down / now + noise * up
    assert asked == pytest.approx([999, 499.5, 0], abs=1e-9)
    assert latents.shape == (2, 4, 1, 1)
    assert latents.flatten().tolist() == pytest.approx([x] * 8, rel=1e-12)
