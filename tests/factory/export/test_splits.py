"""Prompts to train, validation and test: by their own hash, none empty, equal ones together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.export.splits import bounds, place_of, plain_text, split_of
from schemas.export import SPLITS


def sides(prompts, validation=0.05, test=0.05):
    places = {prompt: place_of(prompt) for prompt in prompts}
    between = bounds(places.values(), validation, test)
    return {prompt: split_of(place, between) for prompt, place in places.items()}


@pytest.mark.parametrize("count", [*range(3, 30), 200])
@pytest.mark.parametrize("shares", [(0.05, 0.05), (0.45, 0.5), (1e-9, 1e-9)])
def test_no_split_is_empty_from_three_prompts_on(count, shares):
    for first in range(0, 200, 50):
        found = sides([f"prompt {first + number}" for number in range(count)], *shares)
        assert set(found.values()) == set(SPLITS)


def test_two_prompts_and_shares_of_nothing_make_no_empty_split():
    assert set(sides(["a", "b"]).values()) == {"train"}
    many = [f"prompt {number}" for number in range(500)]
    assert set(sides(many, 0, 0.05).values()) == {"train", "test"}
    assert set(sides(many, 0.05, 0).values()) == {"train", "validation"}
    assert set(sides(many, 0, 0).values()) == {"train"}
    assert set(sides(["a", "b", "c"], 0, 0.05).values()) == {"train", "test"}


def test_shares_are_those_that_are_asked_for():
    found = list(sides([f"prompt {number}" for number in range(5000)], 0.1, 0.2).values())
    assert found.count("validation") / 5000 == pytest.approx(0.1, abs=0.02)
    assert found.count("test") / 5000 == pytest.approx(0.2, abs=0.02)


def test_a_prompt_stays_on_its_side_when_others_are_added():
    few = [f"prompt {number}" for number in range(300)]
    before, after = sides(few), sides(few + [f"more {number}" for number in range(700)])
    assert set(before.values()) == set(SPLITS)
    assert {prompt: after[prompt] for prompt in few} == before


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A red car.", "a red car"),
        ("a red car", "a  red\tcar "),
        ("a red-car!", "A RED CAR"),
        ("Straße", "STRASSE"),
        ("cafe\u0301", "café"),
        ("ｆｕｌｌ width", "full width"),
    ],
)
def test_prompts_equal_but_for_case_blanks_and_punctuation_are_one(one, other):
    assert place_of(one) == place_of(other)


@pytest.mark.parametrize(
    ("one", "other"), [("a red car", "a red cat"), ("+", "-"), ("猫", "犬"), ("", "x")]
)
def test_others_are_not(one, other):
    assert plain_text(one) != plain_text(other)


@given(st.text(), st.sampled_from([" ", ".", "\n", "!", "—", "'"]), st.integers(0, 20))
def test_a_sign_more_changes_no_side(prompt, sign, where):
    if any(c.isalnum() for c in prompt):
        longer = prompt[:where] + sign + prompt[where:]
        # A sign may part a letter from a mark that joins it.
        if plain_text(longer) == plain_text(prompt):
            assert place_of(longer) == place_of(prompt)
