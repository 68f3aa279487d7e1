"""The size at which a picture is edited."""

from fractions import Fraction
from math import ceil, floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.edits.sizes import MOST_LONGER, edit_size


@pytest.mark.parametrize(
    ("picture", "size"),
    [
        # Where the original's floats do what they mean to.
        ((512, 512), (512, 512)), ((1920, 1080), (512, 320)), ((1080, 1350), (448, 512)),
        ((4000, 3000), (512, 384)), ((640, 480), (512, 384)),
        ((3000, 1000), (576, 192)), ((768, 512), (576, 384)),
        # Where they lose 64 px of the shorter side.
        ((1978, 1495), (576, 448)), ((376, 512), (384, 512)), ((1776, 1498), (512, 448)),
    ],
)  # fmt: skip
def test_it_is_the_originals_rule_in_whole_numbers(picture, size):
    assert edit_size(*picture, 512, 64) == size


SIDE = st.integers(1, 20_000)


@given(
    SIDE, SIDE, st.sampled_from([(64, 32), (512, 64), (768, 64), (1024, 64), (100, 32), (8, 64)])
)
def test_any_picture_gets_whole_sides_of_bounded_size(width, height, of):
    longer, multiple = of
    wide, high = edit_size(width, height, longer, multiple)
    assert wide % multiple == high % multiple == 0
    assert min(wide, high) >= multiple
    assert max(wide, high) <= max(multiple, MOST_LONGER * longer)
    assert edit_size(height, width, longer, multiple) == (high, wide)


def test_a_size_below_what_a_network_needs_is_that():
    assert edit_size(300, 200, 24, 64) == (64, 64)
    assert edit_size(900, 100, 8, 64) == (64, 64)


@given(SIDE, SIDE)
def test_it_is_the_rule_in_exact_fractions(width, height):
    shorter, longer = sorted((width, height))
    factor = Fraction(512, longer)
    short = ceil(shorter * factor / 64) * 64
    long = floor(longer * Fraction(short, shorter) / 64) * 64
    expected = (min(long, 1024), short)
    assert edit_size(longer, shorter, 512, 64) == expected
