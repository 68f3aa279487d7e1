"""The oracle reads what the world draws, through damage that a model does, and nothing else.

Shares are asserted over fixed draws; each kind of damage is drawn anew for every scene.
"""

import random
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from factory.miniature import world
from factory.miniature.oracle import ATTRIBUTES, read
from tests.factory.miniature.damage import READABLE, UNREADABLE, is_right, to_picture

COUNT = 200
SMALL_STAR = ("star", "small")


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
