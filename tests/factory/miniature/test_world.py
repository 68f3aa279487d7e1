import random

import numpy as np
import pytest

from factory.miniature import world


def test_captions_and_scenes_name_each_other():
    scenes = world.all_scenes()
    assert len(scenes) == len({world.caption(s) for s in scenes}) == 2016
    for scene in scenes[::97]:
        assert world.parse_caption(world.caption(scene)) == scene
    assert world.caption(scenes[0]).startswith("a ")


@pytest.mark.parametrize(
    "text", ["", "a small red circle", "an small red circle on a blue background", "a photo"]
)
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError, match="not a caption"):
        world.parse_caption(text)


def test_shape_and_background_never_share_a_colour():
    rng = random.Random(0)
    for i in range(300):
        scene = world.sample(rng)
        edited = world.edit(scene, world.EDIT_KINDS[i % 5], rng)
        assert scene.colour != scene.background
        assert edited.colour != edited.background
        assert edited != scene


def test_edit_changes_its_attribute_and_nothing_else():
    rng = random.Random(1)
    for kind in world.EDIT_KINDS:
        scene = world.sample(rng)
        edited = world.edit(scene, kind, rng)
        changed = [n for n in vars(scene) if getattr(scene, n) != getattr(edited, n)]
        assert changed == [kind]


def test_pictures_show_the_named_colours():
    scene = world.Scene(shape="circle", size="large", colour="red", background="blue")
    picture = world.render(scene)
    assert picture.shape == (64, 64, 3)
    assert tuple(picture[32, 32]) == world.COLOURS["red"]
    assert tuple(picture[2, 2]) == world.COLOURS["blue"]
    night = world.render(world.Scene(**{**vars(scene), "style": "at night"}))
    assert night.mean() < picture.mean()
    assert np.array_equal(picture, world.render(scene))


def test_held_out_captions_are_pinned():
    held_out = world.held_out_captions()
    assert len(set(held_out)) == 200
    # Chosen by hash: models were trained without these, so they may never change.
    assert held_out[0] == FIRST_HELD_OUT


def test_triplets_end_where_there_are_no_more(monkeypatch):
    few = dict(list(world._captioned().items())[:2])
    monkeypatch.setattr(world, "_captioned", lambda: few)
    drawn = world.triplets(11, seed=0)
    kinds = [next(drawn)["edit_kind"] for _ in range(10)]
    assert kinds == list(world.EDIT_KINDS) * 2
    with pytest.raises(ValueError, match="count must be at most 10, got 11"):
        next(drawn)


FIRST_HELD_OUT = "a small purple star on a orange background"
