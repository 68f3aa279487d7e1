"""Where a shape stands, as a part of the miniature's image embedding.

Captions name no place, so a contrastive loss alone makes CLIP blind to it, and no gate can see a
shape that moved. Four dimensions of the image embedding are held to a code of the centre, and the
same four of the text embedding to zero: a move is then a change at right angles to all that words
can ask for, and both the direction similarity and the images' own similarity fall with it.
"""

from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from factory.miniature import world

DIMENSIONS = 4
SHARE = 0.5
"""Of the image embedding's squared norm."""
RADIANS_PER_SIDE = 12.0
"""`world.PLACES` spans 3.6 radians: no two places share a code, and 4 px make 0.75 radian."""


def placement_codes(scenes: list[world.Scene]) -> Tensor:
    """Sine and cosine of each centre's x and y, float32 (scene, 4) of squared norm `SHARE`."""
    centres = torch.tensor([(scene.x - 0.5, scene.y - 0.5) for scene in scenes])
    angles = centres * RADIANS_PER_SIDE
    return torch.cat([angles.cos(), angles.sin()], 1) * sqrt(SHARE / 2)


def placement_loss(image: Tensor, text: Tensor, codes: Tensor) -> Tensor:
    """Squared distance of the images' code to `codes` and of the texts' to zero; unit embeddings."""
    aim = F.mse_loss(image[:, :DIMENSIONS], codes) + text[:, :DIMENSIONS].square().mean()
    return aim * DIMENSIONS
