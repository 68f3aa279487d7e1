"""LPIPS with AlexNet, of weights that are given: how different two pictures look to a network.

The state is that of the `lpips` package's `LPIPS(net="alex")`, as safetensors:
docs/evaluation.md has the line that saves it. Its licence is BSD-2; AlexNet's weights
are torchvision's.

Source: Zhang et al. 2018 (arXiv:1801.03924), equation 1, version 0.1 of the package.
"""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from factory.errors import ModelError
from schemas.recipe import ModelSource

# Of the package's ScalingLayer, on pictures in [-1, 1]: ImageNet's mean and deviation there.
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
# Stride, padding and whether a pooling of 3 by steps of 2 comes before, of each convolution.
_LAYERS = ((4, 2, False), (1, 2, True), (1, 1, True), (1, 1, False), (1, 1, False))
_PLACES = (0, 3, 6, 8, 10)
LEAST_PX = 31
"""A smaller side has no pixel left for the last layers."""


def load_lpips(source: ModelSource, device: torch.device) -> Callable[[Tensor, Tensor], float]:
    """The distance by a file that is there. Raises `ModelError` where it is not such a state."""
    path = Path(source.source)
    state = load_file(path)
    layers, weights = [], []
    try:
        for number, place in enumerate(_PLACES):
            name = f"net.slice{number + 1}.{place}"
            layers.append(
                [state[f"{name}.{part}"].float().to(device) for part in ("weight", "bias")]
            )
            weights.append(state[f"lin{number}.model.1.weight"].float().to(device).flatten())
    except KeyError as error:
        raise ModelError(
            f"{path}: must be the state of LPIPS(net='alex'), got no {error}"
        ) from None
    shift = torch.tensor(_SHIFT, device=device).view(1, 3, 1, 1)
    scale = torch.tensor(_SCALE, device=device).view(1, 3, 1, 1)

    def features(picture: Tensor) -> list[Tensor]:
        """Unit vectors over channels, after each convolution."""
        x, found = (2 * picture - 1 - shift) / scale, []
        for (weight, bias), (stride, padding, pools) in zip(layers, _LAYERS, strict=True):
            if pools:
                x = F.max_pool2d(x, 3, 2)
            x = F.relu(F.conv2d(x, weight, bias, stride, padding))
            found.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return found

    def distance(first: Tensor, second: Tensor) -> float:
        if min(first.shape[-2:]) < LEAST_PX:
            size = [max(side, LEAST_PX) for side in first.shape[-2:]]
            first, second = (F.interpolate(one, size, mode="bilinear") for one in (first, second))
        pairs = zip(features(first), features(second), weights, strict=True)
        return sum(
            float(torch.einsum("bchw,c->bhw", (a - b).square(), weight).mean())
            for a, b, weight in pairs
        )

    return distance
