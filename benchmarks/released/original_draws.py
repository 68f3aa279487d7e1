"""What InstructPix2Pix draws for a candidate: everything in a chain, from one seed of 32 bits.

Source: timothybrooks/instruct-pix2pix, dataset_creation/generate_img_dataset.py.
`torch.manual_seed(seed)` seeds the CPU's generator and CUDA's alike. From CUDA's come, in order, the
start, (1, 4, 64, 64), and the noise of every step but the last, each the same for both images; from
the CPU's p, then guidance (then the next candidate's seed, which is why workers repeat each other).
CUDA's generator is another algorithm than the CPU's: its numbers need a CUDA device.
"""

import torch
from torch import Tensor

from schemas.recipe import Recipe


class ChainedNoise:
    """The original's noise as a `NoiseLaw`, for one candidate at a time.

    `device` is where the numbers are drawn; `cuda` for what was released. With `cpu` the noise still
    has a generator of its own, so that p and guidance do not depend on it.
    """

    def __init__(self, device: torch.device) -> None:
        self.generator = torch.Generator(device)

    def __call__(self, seed: int, purpose: str, shape: tuple[int, ...]) -> Tensor:
        if purpose == "start":
            self.generator.manual_seed(seed)
        # In float32 under autocast too. The last step's draw is one more than the original's, and
        # the next candidate seeds again.
        noise = torch.randn((1, *shape), generator=self.generator, device=self.generator.device)
        return noise[0].cpu()


def drawn_settings(seed: int, recipe: Recipe) -> tuple[float, float]:
    """p and guidance of a seed, within the recipe's ranges; the same on every machine."""
    generator = torch.Generator().manual_seed(seed)
    p, guidance = (
        low + torch.rand((), generator=generator).item() * (high - low)
        for low, high in (recipe.p, recipe.guidance)
    )
    return p, guidance
