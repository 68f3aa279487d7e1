"""Where the noise of a batch comes from: our own law, or another's in a comparison."""

from collections.abc import Callable

import torch
from torch import Tensor

from factory import seeds
from factory.pairs.source import Draw

NoiseLaw = Callable[[Draw, str, tuple[int, ...]], Tensor]
"""A candidate, a purpose and a shape to normal noise on the CPU.

The purposes are `start`, once, then the number of every step in order, for the last one too, where
the noise has no weight.
"""


def hashed_noise(draw: Draw, purpose: str, shape: tuple[int, ...]) -> Tensor:
    """The law of every run: a function of the candidate's seed and the purpose alone."""
    return torch.from_numpy(seeds.noise(draw.seed, purpose, shape))
