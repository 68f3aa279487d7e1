"""The oracle reads what the world draws, through damage that a model does, and nothing else.

Shares are asserted over fixed draws; each kind of damage is drawn anew for every scene.
"""

import io
import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from factory.miniature import world
from factory.miniature.oracle import ATTRIBUTES, PLACEMENT_PX, read

Planes = NDArray[np.float64]
Picture = NDArray[np.uint8]
Grains = np.random.Generator
Damage = Callable[[world.Scene, random.Random, Grains], Planes]
COUNT = 200


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


SMALL_STAR = ("star", "small")
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
    reading = read(picture)
    return (
        reading is not None
        and all(getattr(reading, name) == getattr(scene, name) for name in ATTRIBUTES)
        and world.SIDE_PX * np.hypot(reading.x - scene.x, reading.y - scene.y) <= PLACEMENT_PX
    )


@pytest.mark.parametrize("damage", READABLE)
def test_scenes_of_all_kinds_and_places_are_read_right(damage: str) -> None:
    rng, grains = random.Random(71), np.random.default_rng(71)
    right = []
    for _ in range(COUNT):
        scene = world.sample(rng)
        right.append(is_right(scene, to_picture(READABLE[damage](scene, rng, grains))))
    assert np.mean(right) >= 0.99


def test_every_pair_of_colours_is_read_right_under_every_style() -> None:
    scenes = [scene for scene in world.all_scenes() if (scene.shape, scene.size) == SMALL_STAR]
    assert len(scenes) == 8 * 7 * 3
    assert [scene for scene in scenes if not is_right(scene, world.render(scene))] == []


@pytest.mark.parametrize("damage", UNREADABLE)
def test_pictures_without_one_clear_scene_are_unreadable(damage: str) -> None:
    rng, grains = random.Random(73), np.random.default_rng(73)
    pictures = [
        to_picture(UNREADABLE[damage](world.sample(rng), rng, grains)) for _ in range(COUNT)
    ]
    assert np.mean([read(picture) is None for picture in pictures]) >= 0.99


@pytest.mark.parametrize("shape", world.SHAPES)
def test_a_shape_of_a_size_without_a_word_is_unreadable(shape: str) -> None:
    share = world.coverage(shape, 0.27, 0.5, 0.5)[..., None]
    assert read(to_picture(share * world.COLOURS["red"] + (1 - share) * 25)) is None


@pytest.mark.parametrize("size", world.SIZES)
@pytest.mark.parametrize("shape", world.SHAPES)
def test_translation_changes_the_place_and_nothing_else(shape: str, size: str) -> None:
    scene = world.Scene(shape=shape, size=size, colour="purple", background="blue")
    low, high = world.PLACES
    for x in (low, 0.46, high):
        for y in (low, 0.53, high):
            reading = read(world.render(replace(scene, x=x, y=y)))
            assert reading is not None
            assert [getattr(reading, name) for name in ATTRIBUTES] == [
                getattr(scene, name) for name in ATTRIBUTES
            ]
            assert world.SIDE_PX * max(abs(reading.x - x), abs(reading.y - y)) < 1


@pytest.mark.parametrize(
    "picture",
    [np.zeros((32, 32, 3), np.uint8), np.zeros((64, 64), np.uint8), np.zeros((64, 64, 3))],
)
def test_a_picture_of_another_form_is_refused(picture: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match=r"oracle: a picture must be uint8 of \(64, 64, 3\), got"):
        read(picture)
