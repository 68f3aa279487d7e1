"""What may happen to a picture of a scene: damage that stays readable, and damage that does not.

Each kind is drawn anew for every scene; the oracle's tests and its benchmark use them.
"""

import io
import random
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from factory.miniature import world
from factory.miniature.oracle import ATTRIBUTES, PLACEMENT_PX, read

Planes = NDArray[np.float64]
Picture = NDArray[np.uint8]
Grains = np.random.Generator
Damage = Callable[[world.Scene, random.Random, Grains], Planes]


def to_picture(planes: Planes) -> Picture:
    return np.rint(planes).clip(0, 255).astype(np.uint8)


def jpeg(picture: Picture) -> Picture:
    stored = io.BytesIO()
    Image.fromarray(picture).save(stored, "JPEG", quality=75)
    return np.asarray(Image.open(stored).convert("RGB"))


def soften(planes: Planes, radius_px: float) -> Planes:
    """A Gaussian blur, the picture taken as periodic."""
    waves = np.fft.fftfreq(world.SIDE_PX)
    fall = np.exp(-2 * (np.pi * radius_px) ** 2 * (waves[:, None] ** 2 + waves**2))[..., None]
    return np.asarray(np.fft.ifft2(np.fft.fft2(planes, axes=(0, 1)) * fall, axes=(0, 1)).real)


def blotches(grains: Grains, radius_px: float, strength: float) -> Planes:
    """Noise of one standard deviation per channel, correlated over twice the radius or so."""
    noise = soften(grains.normal(size=(world.SIDE_PX, world.SIDE_PX, 3)), radius_px)
    return np.asarray(noise / noise.std() * strength)


def wobble(planes: Planes, grains: Grains, strength_px: float) -> Planes:
    """Every pixel taken from a place nearby, neighbours from nearby places."""
    rows, columns = np.mgrid[: world.SIDE_PX, : world.SIDE_PX]
    drift = blotches(grains, 5, strength_px)
    far = world.SIDE_PX - 1.001
    y, x = (rows + drift[..., 0]).clip(0, far), (columns + drift[..., 1]).clip(0, far)
    top, left = y.astype(int), x.astype(int)
    down, right = (y - top)[..., None], (x - left)[..., None]
    upper = planes[top, left] * (1 - right) + planes[top, left + 1] * right
    lower = planes[top + 1, left] * (1 - right) + planes[top + 1, left + 1] * right
    return np.asarray(upper * (1 - down) + lower * down)


def drawn(scene: world.Scene) -> Planes:
    return world.render(scene).astype(np.float64)


def off_colour(scene: world.Scene, grains: Grains) -> Planes:
    """The scene with either colour off by up to 10 a channel, each by its own amount."""
    share = world.coverage(scene.shape, world.RADIUS[scene.size], scene.x, scene.y)[..., None]
    inside, outside = grains.uniform(-10, 10, (2, 3))
    return np.asarray(drawn(scene) + share * inside + (1 - share) * outside)


def grainy_jpeg(scene: world.Scene, rng: random.Random, grains: Grains) -> Planes:
    grainy = drawn(scene) + grains.normal(0, 8, (world.SIDE_PX, world.SIDE_PX, 3))
    return jpeg(to_picture(grainy)).astype(np.float64)


def as_sampled(scene: world.Scene, rng: random.Random, grains: Grains) -> Planes:
    """What a small diffusion model makes: colours off, edges soft and wavy, faint blotches."""
    soft = soften(off_colour(scene, grains), 1)
    return wobble(soft, grains, 0.5) + blotches(grains, 2, 4)


READABLE: dict[str, Damage] = {
    "as drawn": lambda scene, rng, grains: drawn(scene),
    "grain of 8 and JPEG 75": grainy_jpeg,
    "as sampled by a model": as_sampled,
}


def blend(scene: world.Scene, rng: random.Random, grains: Grains) -> Planes:
    return (drawn(scene) + drawn(world.sample(rng))) / 2


def blend_of_an_edit(scene: world.Scene, rng: random.Random, grains: Grains) -> Planes:
    edited = world.edit(scene, rng.choice(world.EDIT_KINDS), rng)
    return (drawn(scene) + drawn(world.place(edited, rng))) / 2


def half_washed(scene: world.Scene, rng: random.Random, grains: Grains) -> Planes:
    keep = rng.uniform(0.3, 0.8)
    washed = keep * soften(drawn(scene), rng.uniform(0.5, 2.5)) + (1 - keep) * 127
    return washed + blotches(grains, rng.uniform(1, 4), rng.uniform(40, 80))


SQUARE = (world.SIDE_PX, world.SIDE_PX, 3)
UNREADABLE: dict[str, Damage] = {
    "Gaussian noise": lambda scene, rng, grains: grains.normal(127, rng.uniform(20, 100), SQUARE),
    "uniform noise": lambda scene, rng, grains: grains.uniform(0, 255, SQUARE),
    "smooth noise": lambda scene, rng, grains: (
        grains.uniform(0, 255, 3) + blotches(grains, rng.uniform(0.7, 16), rng.uniform(10, 90))
    ),
    "blank": lambda scene, rng, grains: (
        grains.uniform(0, 255, 3) + grains.normal(0, rng.uniform(0, 8), SQUARE)
    ),
    "blank in a colour of the world": lambda scene, rng, grains: (
        world.tint(np.array(world.COLOURS[scene.colour], dtype=np.float64), scene.style)
        + grains.normal(0, 2, SQUARE)
    ),
    "blend of two scenes": blend,
    "blend of a scene and its edit": blend_of_an_edit,
    "blend of two shapes in one place": lambda scene, rng, grains: (
        (drawn(scene) + drawn(world.edit(scene, "shape", rng))) / 2
    ),
    "half denoised": lambda scene, rng, grains: (
        drawn(scene) + blotches(grains, rng.uniform(1.5, 4), rng.uniform(40, 80))
    ),
    "almost denoised": lambda scene, rng, grains: (
        soften(drawn(scene), 1) + blotches(grains, 2.5, 25)
    ),
    "half denoised and washed out": half_washed,
}


def is_right(scene: world.Scene, picture: Picture) -> bool:
    """Whether every attribute and the place are read as they were drawn."""
    reading = read(picture)
    return (
        reading is not None
        and all(getattr(reading, name) == getattr(scene, name) for name in ATTRIBUTES)
        and world.SIDE_PX * np.hypot(reading.x - scene.x, reading.y - scene.y) <= PLACEMENT_PX
    )
