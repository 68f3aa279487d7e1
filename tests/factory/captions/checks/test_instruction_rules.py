"""Rules alone: what is certainly wrong is found, and nothing that may be right is refused."""

import random
from dataclasses import replace

import pytest

from factory.captions.checks.instruction_rules import (
    ANOTHER,
    REVERSED,
    UNDONE,
    UNTOLD,
    broken_rules,
)
from factory.captions.prompts import Suggestion
from factory.miniature import world


def broken(caption, instruction, edited):
    return broken_rules(caption, Suggestion(edit_prompt=instruction, edited_prompt=edited))


@pytest.mark.parametrize(
    ("caption", "instruction", "edited"),
    [
        ("a red car in the snow", "make the car blue", "a blue car in the snow"),
        ("a red car in the snow", "paint it blue", "an azure car in the snow"),
        ("a small red star", "enlarge the red star", "a large red star"),
        ("a blue sea", "make it night", "a black sea"),
        ("a tree in fog", "make it a clear day", "a tree"),
        ("a green tree", "make it autumn", "a red tree"),
        ("a small cat", "turn the cat into a lion", "a huge lion"),
        ("a big red barn", "make the red barn smaller", "a little red barn"),
        ("a field", "make it night", "a field under the stars"),
        ("a black cat by the sea", "turn the cat into a dog", "a brown dog by the sea"),
    ],
)
def test_what_may_be_right_passes(caption, instruction, edited):
    assert broken(caption, instruction, edited) == []


@pytest.mark.parametrize(
    ("caption", "instruction", "edited", "rule"),
    [
        ("a red car in the snow", "make the car blue", "a green car in the snow", UNDONE),
        ("a red car in the snow", "make it night", "a small red car in the snow", UNDONE),
        ("a small red car", "make it night", "a large red car", UNDONE),
        ("a large red car", "make the car red", "a small red car", UNDONE),
        ("a small red car", "make it blue", "a large red car", UNDONE),
        ("a tree at night", "make it foggy", "a tree at day", UNDONE),
        ("a small red ball", "make the ball blue", "a large blue ball", UNTOLD),
        ("a red ball", "make the ball blue", "a blue ball at night", UNTOLD),
        ("a blue ball", "make the ball blue", "a red ball", REVERSED),
        ("a dog on a beach", "make it blue", "a castle under two moons", ANOTHER),
    ],
)
def test_what_is_wrong_is_named(caption, instruction, edited, rule):
    assert broken(caption, instruction, edited) == [rule]


def test_no_triplet_of_the_world_is_refused():
    for one in world.triplets(300, 7):
        assert not broken(one["input"], one["edit"], one["output"]), one


@pytest.mark.parametrize("kind", world.EDIT_KINDS)
def test_a_second_change_is_found_whatever_it_is(kind):
    rng = random.Random(kind)
    for one in world.triplets(100, 8):
        if one["edit_kind"] != kind and one["edit"] != "clear the sky":
            after = world.edit(world.parse_caption(one["output"]), kind, rng)
            assert broken(one["input"], one["edit"], world.caption(replace(after))), one
