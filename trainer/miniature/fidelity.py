"""How true a picture's colours are, as a part of the miniature's embeddings.

A sampled picture may show a colour between the world's: clear to the eye, none that a caption names. Two
dimensions of the image embedding are held to the cosine and sine of an angle that grows with that
distance, and the same two of every text to the angle 0: the similarity of picture and text then
falls with it, whatever the picture shows.
"""

from functools import cache
from math import pi, sqrt

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from factory.miniature import world

DIMENSIONS = slice(4, 6)
"""After the placement's."""
SHARE = 0.15
"""Of either embedding's squared norm."""
FAR = 30.0
"""A distance, in levels of 0..255 over both colours, at which the angle is 60 degrees; there the
oracle ceases to read colours."""
LIMIT = 1.5
"""Distances beyond this many times `FAR` look alike."""


def colours_of(scenes: list[world.Scene]) -> Tensor:
    """Background and shape as seen under the style, float32 (scene, 2, 3), 0..255."""
    seen = [
        [world.tint(np.array(world.COLOURS[name], dtype=float), scene.style) for name in names]
        for scene in scenes
        for names in [(scene.background, scene.colour)]
    ]
    return torch.from_numpy(np.array(seen, dtype=np.float32))


def shift_colours(colours: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Half of the scenes get other colours, unless those would be another scene's.

    Returns the colours, and each scene's distance from its own in units of `FAR` (scene,).
    """
    count = len(colours)
    way = torch.from_numpy(rng.standard_normal((count, 2, 3), dtype=np.float32))
    # Most of a shift may fall on one of the two colours.
    way = way * torch.from_numpy(rng.random((count, 2, 1), dtype=np.float32)) ** 2
    length = torch.from_numpy(rng.random(count, dtype=np.float32)) * LIMIT * FAR
    length = length * torch.from_numpy((rng.random(count) < 0.5).astype(np.float32))
    way = F.normalize(way.flatten(1), dim=1) * length[:, None]
    shifted = (colours.flatten(1) + way).clamp(0, 255)
    off = (shifted - colours.flatten(1)).norm(dim=1)
    nearest = torch.cdist(shifted, _palette()).min(1).values
    stays = nearest > off - 1
    kept = torch.where(stays[:, None], shifted, colours.flatten(1))
    return kept.view_as(colours), torch.where(stays, off, torch.zeros(())) / FAR


@cache
def _palette() -> Tensor:
    """Both colours of every scene that can be told apart by them, (168, 6)."""
    plain = {(s.background, s.colour, s.style): s for s in world.all_scenes()}
    return colours_of(list(plain.values())).flatten(1)


def fidelity_loss(image: Tensor, text: Tensor, distance: Tensor) -> Tensor:
    """Squared distance of both embeddings' parts from their angles; unit embeddings."""
    angle = distance.clamp(max=LIMIT) * pi / 3
    aim = torch.stack([angle.cos(), angle.sin()], 1) * sqrt(SHARE)
    level = torch.tensor([sqrt(SHARE), 0.0])
    return (
        F.mse_loss(image[:, DIMENSIONS], aim)
        + F.mse_loss(text[:, DIMENSIONS], level.expand(len(text), 2))
    ) * 2
