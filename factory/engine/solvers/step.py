"""The solvers, one step each; every pair of the batch stands at a step of its own.

Shapes: x and denoised are (pair, image, channel, height, width) with image 0 the original and 1
the edited; sigma and sigma_next are (pair,); noise is (pair, channel, height, width), the same for
both images of a pair.
"""

from torch import Tensor


def _per_pair(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like.dtype).view(-1, *[1] * (like.ndim - 1))


def euler_ancestral(
    x: Tensor, denoised: Tensor, sigma: Tensor, sigma_next: Tensor, noise: Tensor
) -> Tensor:
    """One ancestral Euler step, eta = 1.

    Source: k-diffusion `sample_euler_ancestral` (Karras et al. 2022, algorithm 2 without churn);
    both images of a pair get the same noise, as in InstructPix2Pix.
    """
    variance = sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2
    up = variance.clamp(min=0).sqrt().minimum(sigma_next)
    down = (sigma_next**2 - up**2).sqrt()
    slope = (x - denoised) / _per_pair(sigma, x)
    x = x + slope * _per_pair(down - sigma, x)
    # At the last step sigma_next and so `up` are 0: the noise has no weight.
    return x + noise.unsqueeze(1) * _per_pair(up, x)


def ddim(x: Tensor, denoised: Tensor, sigma: Tensor, sigma_next: Tensor, noise: Tensor) -> Tensor:
    """One DDIM step, eta = 0: an Euler step in sigma on x / sqrt(alpha); the noise is not used.

    Source: Song et al. 2021 (arXiv:2010.02502), equations 12 and 13.
    """
    slope = (x - denoised) / _per_pair(sigma, x)
    return x + slope * _per_pair(sigma_next - sigma, x)


STEP_OF = {"euler_ancestral": euler_ancestral, "ddim": ddim}
