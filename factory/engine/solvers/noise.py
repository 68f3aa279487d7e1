"""Where the noise of a batch comes from: our own law, or another's in a comparison."""

from collections.abc import Callable

import torch
from torch import Tensor

from factory import seeds

NoiseLaw = Callable[[int, str, tuple[int, ...]], Tensor]
"""A seed, a purpose and a shape to normal noise on the CPU.

The purposes of a request are `start`, where it begins from noise, then the number of every step in
order, for the last one too, where the noise has no weight; before each stands its `noise_name`.
"""


def hashed_noise(seed: int, purpose: str, shape: tuple[int, ...]) -> Tensor:
    """The law of every run: a function of seed and purpose alone."""
    return torch.from_numpy(seeds.noise(seed, purpose, shape))
