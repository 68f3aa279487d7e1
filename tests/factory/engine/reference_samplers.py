"""The reference's noise schedule and samplers, one pair at a time.

Behaviour matched: k-diffusion's discrete denoisers and Euler ancestral sampler, as used by
timothybrooks/instruct-pix2pix, and diffusers' DDIM.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

PredictionType = Literal["epsilon", "v_prediction"]
Predict = Callable[[Tensor, Tensor], Tensor]
"""The UNet: rows [x_src, x_dst, x_src, x_dst] and one timestep to its output for all four."""


def alphas_cumprod(scheduler: Mapping[str, Any]) -> Tensor:
    """The noise schedule of a scheduler folder's config, in float64 as CompVis computes it.

    diffusers accumulates the same product in float32, which is some 1e-6 away.
    """
    if scheduler["beta_schedule"] != "scaled_linear":
        raise ValueError(f"beta_schedule: expected scaled_linear, got {scheduler['beta_schedule']}")
    first, last = scheduler["beta_start"] ** 0.5, scheduler["beta_end"] ** 0.5
    count = scheduler["num_train_timesteps"]
    betas = torch.linspace(first, last, count, dtype=torch.float64) ** 2
    return torch.cumprod(1.0 - betas, dim=0)


def sigma_table(abar: Tensor) -> Tensor:
    """sqrt((1 - abar) / abar) of every training step."""
    return ((1 - abar) / abar).sqrt()


def euler_sigmas(abar: Tensor, steps: int) -> Tensor:
    """The `steps + 1` noise levels of k-diffusion's `get_sigmas`: log-linear in t, then 0."""
    log_sigmas = sigma_table(abar).log()
    sigmas = []
    for t in torch.linspace(len(abar) - 1, 0, steps, dtype=torch.float64):
        low, high, share = int(t.floor()), int(t.ceil()), t.frac()
        sigmas.append(((1 - share) * log_sigmas[low] + share * log_sigmas[high]).exp())
    return torch.stack([*sigmas, torch.zeros((), dtype=torch.float64)])


def fractional_timestep(abar: Tensor, sigma: Tensor) -> Tensor:
    """The t between two training steps with this log-linear sigma (k-diffusion, unquantised)."""
    log_sigmas = sigma_table(abar).log()
    low = int((log_sigmas <= sigma.log()).sum()) - 1
    low = min(max(low, 0), len(abar) - 2)
    share = (sigma.log() - log_sigmas[low]) / (log_sigmas[low + 1] - log_sigmas[low])
    return low + share.clamp(0, 1)


def ddim_timesteps(train_steps: int, steps: int) -> list[int]:
    """Leading spacing, offset 1, noisiest first: 981, 961, .., 1 for 50 of 1000."""
    stride = train_steps // steps
    return [i * stride + 1 for i in reversed(range(steps))]


def _guide(denoised: Tensor, guidance: float) -> Tensor:
    """Rows [u_src, u_dst, c_src, c_dst] -> guided [src, dst]."""
    uncond, cond = denoised.chunk(2)
    return uncond + guidance * (cond - uncond)


def sample_euler_ancestral(
    abar: Tensor,
    predict: Predict,
    before_step: Callable[[int], None],
    *,
    prediction_type: PredictionType,
    guidance: float,
    steps: int,
    initial_noise: Tensor,
    step_noise: Callable[[int], Tensor],
) -> Tensor:
    """Latents (2, 4, h, w) of source and edited image: Euler ancestral steps with eta 1."""
    sigmas = euler_sigmas(abar, steps)
    x = torch.stack([initial_noise, initial_noise]) * sigmas[0]
    for i in range(steps):
        before_step(i)
        now, after = sigmas[i], sigmas[i + 1]
        doubled = torch.cat([x, x])
        output = predict(doubled / (now**2 + 1).sqrt(), fractional_timestep(abar, now))
        if prediction_type == "v_prediction":
            denoised = doubled / (now**2 + 1) - output * now / (now**2 + 1).sqrt()
        else:
            denoised = doubled - output * now
        denoised = _guide(denoised, guidance)

        up = torch.minimum(after, (after**2 * (now**2 - after**2) / now**2).sqrt())
        down = (after**2 - up**2).sqrt()
        slope = (x - denoised) / now
        x = x + slope * (down - now)
        if after > 0:
            x = x + step_noise(i) * up  # one noise for both images
    return x


def sample_ddim(
    abar: Tensor,
    predict: Predict,
    before_step: Callable[[int], None],
    *,
    prediction_type: PredictionType,
    guidance: float,
    steps: int,
    initial_noise: Tensor,
) -> Tensor:
    """Latents (2, 4, h, w) of source and edited image: DDIM steps with eta 0."""
    x = torch.stack([initial_noise, initial_noise])
    for i, t in enumerate(ddim_timesteps(len(abar), steps)):
        before_step(i)
        # set_alpha_to_one False: the last step ends at the first training step's noise level.
        previous = t - len(abar) // steps
        a, a_previous = abar[t], abar[max(previous, 0)]
        doubled = torch.cat([x, x])
        output = predict(doubled, torch.tensor(t))
        if prediction_type == "v_prediction":
            denoised = a.sqrt() * doubled - (1 - a).sqrt() * output
        else:
            denoised = (doubled - (1 - a).sqrt() * output) / a.sqrt()
        denoised = _guide(denoised, guidance)
        eps = (x - a.sqrt() * denoised) / (1 - a).sqrt()
        x = a_previous.sqrt() * denoised + (1 - a_previous).sqrt() * eps
    return x


Network = Callable[[Tensor, float], Tensor]
"""A latent of unit variance and a timestep to the noise that is in it."""


def invert_ddim(abar: Tensor, predict: Network, start: Tensor, steps: int) -> list[Tensor]:
    """Every latent from the clean one to the noisiest: x_t = sqrt(a_t) x0 + sqrt(1 - a_t) e with
    e = network(x_s, t), the target's timestep, as null-text inversion and pnp-diffusers have it.
    """
    found, a_from = [start], abar[0]
    for t in reversed(ddim_timesteps(len(abar), steps)):
        noise = predict(found[-1], t)
        clean = (found[-1] - (1 - a_from).sqrt() * noise) / a_from.sqrt()
        found.append(abar[t].sqrt() * clean + (1 - abar[t]).sqrt() * noise)
        a_from = abar[t]
    return found


def sample_unguided(abar: Tensor, predict: Network, start: Tensor, steps: int) -> Tensor:
    """DDIM without guidance from the noisiest latent."""
    x = start
    for t in ddim_timesteps(len(abar), steps):
        a, a_to = abar[t], abar[max(t - len(abar) // steps, 0)]
        noise = predict(x, t)
        x = a_to.sqrt() * (x - (1 - a).sqrt() * noise) / a.sqrt() + (1 - a_to).sqrt() * noise
    return x
