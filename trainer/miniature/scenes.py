"""Training scenes of the miniature's world; the held-out captions never occur here."""

import random

import numpy as np
import torch
from torch import Tensor

from factory.miniature import world


def training_scenes(count: int, seed: int) -> list[world.Scene]:
    """Scenes drawn evenly from the world less the held-out captions."""
    held_out = set(world.held_out_captions())
    rng = random.Random(f"scenes {seed}")
    scenes: list[world.Scene] = []
    while len(scenes) < count:
        scene = world.sample(rng)
        if world.caption(scene) not in held_out:
            scenes.append(scene)
    return scenes


def render_all(scenes: list[world.Scene]) -> Tensor:
    """Pictures, uint8 (scene, 3, 64, 64)."""
    pictures = np.stack([world.render(scene, supersample=3) for scene in scenes])
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()


def cover_all(scenes: list[world.Scene]) -> Tensor:
    """How much of each pixel the shape covers, uint8 (scene, 64, 64), 255 is all."""
    shares = [
        world.coverage(scene.shape, world.RADIUS[scene.size], scene.x, scene.y, supersample=3)
        for scene in scenes
    ]
    return torch.from_numpy(np.rint(np.stack(shares) * 255).astype(np.uint8))


def paint(coverage: Tensor, colours: Tensor) -> Tensor:
    """Pictures in [0, 1] (scene, 3, 64, 64) from coverage and colours (scene, 2, 3) of 0..255."""
    share = coverage[:, None].float() / 255
    ground, figure = colours[:, 0, :, None, None], colours[:, 1, :, None, None]
    return (ground + share * (figure - ground)) / 255
