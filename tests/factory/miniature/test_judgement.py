"""A pair is true where it shows its edit and keeps the rest; each half can fail alone."""

import random
from dataclasses import replace

import numpy as np
import pytest

from factory.miniature import world
from factory.miniature.oracle import Judgement, judge, matches


def test_a_picture_matches_its_caption_and_none_with_an_attribute_changed_or_two_swapped() -> None:
    rng = random.Random(74)
    for _ in range(20):
        scene = world.sample(rng)
        picture = world.render(scene)
        assert matches(picture, world.caption(scene))
        swapped = replace(scene, colour=scene.background, background=scene.colour)
        others = [world.edit(scene, kind, rng) for kind in world.EDIT_KINDS]
        for other in (swapped, *others):
            assert not matches(picture, world.caption(other))


def pair(kind: str, seed: int) -> tuple[world.Scene, world.Scene]:
    rng = random.Random(seed)
    before = world.sample(rng)
    return before, world.edit(before, kind, rng)


def judged(before: world.Scene, after: world.Scene, shown: world.Scene) -> Judgement:
    """Of the captions of an edit, and a second picture that shows some scene."""
    pictures = world.render(before), world.render(shown)
    return judge(*pictures, world.caption(before), world.caption(after))


@pytest.mark.parametrize("kind", world.EDIT_KINDS)
def test_a_pair_drawn_from_its_captions_is_true(kind: str) -> None:
    for seed in range(8):
        before, after = pair(kind, seed)
        judgement = judged(before, after, after)
        assert judgement.edit_done
        assert judgement.rest_kept
        assert judgement.true


@pytest.mark.parametrize("kind", world.EDIT_KINDS)
def test_identical_pictures_are_no_edit_where_captions_differ(kind: str) -> None:
    for seed in range(8):
        before, after = pair(kind, seed)
        judgement = judged(before, after, before)
        assert not judgement.edit_done
        assert not judgement.true
        assert judgement.rest_kept == (kind != "background")


@pytest.mark.parametrize(("moved_px", "kept"), [(3.0, True), (5.0, False)])
def test_the_rest_is_kept_only_where_the_shape_stays_in_place(moved_px: float, kept: bool) -> None:
    before, after = pair("colour", 3)
    before, after = replace(before, x=0.45), replace(after, x=0.45 + moved_px / world.SIDE_PX)
    judgement = judged(before, after, after)
    assert judgement.edit_done
    assert judgement.rest_kept == kept == judgement.true


@pytest.mark.parametrize("kind", ["shape", "size", "colour"])
def test_the_rest_is_not_kept_where_an_attribute_changes_that_captions_share(kind: str) -> None:
    before, after = pair("style", 4)
    judgement = judged(before, after, world.edit(after, kind, random.Random(0)))
    assert not judgement.edit_done
    assert not judgement.rest_kept


def test_a_pair_with_an_unreadable_picture_is_neither_done_nor_kept() -> None:
    before, after = pair("shape", 5)
    blank = np.full((world.SIDE_PX, world.SIDE_PX, 3), 127, dtype=np.uint8)
    texts = world.caption(before), world.caption(after)
    assert not matches(blank, texts[0])
    for first, second in ((blank, world.render(after)), (world.render(before), blank)):
        judgement = judge(first, second, *texts)
        assert not judgement.edit_done
        assert not judgement.rest_kept
