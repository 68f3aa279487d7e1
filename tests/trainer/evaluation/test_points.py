"""Means, shares and curves of a few numbers that were worked out by hand."""

import math

import numpy as np
import pytest

from schemas.evaluation import WORDS, Entrant, EvaluationRecipe
from schemas.recipe import Thresholds
from trainer.evaluation.points import (
    NOTHING,
    Estimate,
    Point,
    compare,
    crossings,
    heights,
    least_margin,
    mean_95,
    passes,
    points_of,
    resamples,
    share_of,
)

GATES = Thresholds(image=0.7, text=0.2, direction=0.2)


def recipe(**fields):
    edits = {"ip2p": {"model": {"source": "m"}}}
    sweep = {"parameter": "image_guidance", "values": (1.0, 2.0)}
    entrant = Entrant(name="ours", edits=edits, sweep=sweep)
    return EvaluationRecipe(
        entrants=(entrant,), clip={"source": "c"}, gates=GATES, **{"attempts": 2, **fields}
    )


def row(number, attempt=0, at=1.0, **fields):
    scores = ("clip_sim_0", "clip_sim_1", "clip_sim_dir", "clip_sim_image", "l1", "lpips", "dino")
    whole = dict.fromkeys((*scores, *WORDS)) | {"verdict": "scored", "entrant": "ours"}
    setting = {"image_guidance": at, "text_guidance": None, "strength": None}
    return whole | setting | {"number": number, "attempt": attempt} | fields


def test_a_mean_is_over_pictures_each_the_mean_of_its_attempts():
    rows = [row(0, 0, l1=0.1), row(0, 1, l1=0.3), row(1, 0, l1=0.6)]
    first, second = points_of(recipe(), rows)
    assert first.mean("l1").value == 0.4
    assert second.mean("l1") == NOTHING
    assert first.mean("lpips") == NOTHING
    assert (first.pictures, len(first.rows), second.pictures) == (2, 3, 0)


def test_a_bootstrap_is_the_normal_interval_of_many_pictures():
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    low, high = mean_95(values)
    half = 1.96 * values.std(ddof=1) / 20
    assert low == pytest.approx(values.mean() - half, abs=0.02)
    assert high == pytest.approx(values.mean() + half, abs=0.02)
    assert mean_95(values) == (low, high)


def test_resamples_weigh_each_mean_by_one_and_are_the_same_each_time():
    weights = resamples(7)
    assert weights.shape == (2000, 7)
    assert np.allclose(weights.sum(1), 1)
    assert np.allclose(weights * 7, np.round(weights * 7))
    resamples.cache_clear()
    assert np.array_equal(weights, resamples(7))


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_pictures_tell_nothing_of_a_mean(count):
    assert mean_95(np.ones(count)) is None


def test_very_many_pictures_have_the_normal_interval():
    values = np.arange(20_000) / 20_000
    low, high = mean_95(values)
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(1 / 12 / 20_000), rel=1e-3)


def test_a_share_has_wilsons_interval_for_as_many_trials_as_pictures():
    # Wilson 1927, of 8 in 10.
    assert share_of(np.array([1.0] * 8 + [0.0] * 2)) == Estimate(0.8, 0.49016, 0.94332)
    assert share_of(np.zeros(0)) == NOTHING


def test_attempts_add_up_until_one_passes():
    good = {"clip_sim_0": 0.3, "clip_sim_1": 0.3, "clip_sim_dir": 0.3, "clip_sim_image": 0.8}
    bad = good | {"clip_sim_image": 0.6}
    rows = [row(0, 0, **good), row(0, 1, **bad), row(1, 0, **bad), row(1, 1, **good)]
    rows += [row(2, 0, **bad), row(2, 1, **bad), row(3, 0, **bad), row(3, 1, **bad)]
    first = points_of(recipe(), rows)[0]
    assert [found.value for found in first.within("passes", 2)] == [0.25, 0.5]
    assert first.share("passes").value == 0.25


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        ({}, True),
        ({"clip_sim_0": 0.199}, False),
        ({"clip_sim_1": 0.199}, False),
        ({"clip_sim_dir": 0.199}, False),
        ({"clip_sim_image": 0.699}, False),
        ({"clip_sim_1": None}, None),
    ],
)
def test_gates_are_the_filters_inclusive_ones(changed, wanted):
    edge = {"clip_sim_0": 0.2, "clip_sim_1": 0.2, "clip_sim_dir": 0.2, "clip_sim_image": 0.7}
    assert passes(GATES, edge | changed) is wanted
    assert passes(None, edge) is None


def test_an_edit_that_failed_did_not_what_was_asked():
    well = dict.fromkeys(("clip_sim_0", "clip_sim_1", "clip_sim_dir", "clip_sim_image"), 1.0)
    rows = [row(0, true=True, unreadable=False, **well), row(1, verdict="failed")]
    first = points_of(recipe(), rows)[0]
    assert first.share("true").value == 0.5
    assert first.share("unreadable").value == 0.5
    assert first.share("passes").value == 0.5
    assert first.failed == 1
    requests = recipe(held_out={"kind": "requests", "source": "list.csv"})
    first = points_of(requests, [row(0), row(1, verdict="failed")])[0]
    assert first.share("unreadable") == NOTHING


def test_failures_alone_are_no_share_of_those_that_pass():
    unknown = row(0, clip_sim_0=None)
    failed = [row(number, verdict="failed", clip_sim_0=None) for number in (1, 2)]
    assert points_of(recipe(), [unknown, *failed])[0].share("passes") == NOTHING
    assert points_of(recipe(), failed)[0].share("passes").value == 0.0


def line(xs, ys):
    return np.array(xs, float), np.array(ys, float)


def test_a_curve_is_above_where_it_is_everywhere_that_both_reach():
    one = line([0.3, 0.2, 0.1], [0.7, 0.8, 0.9])
    # From 0.15 to 0.3, the other 0.05 below at first and 0.0875 at its end.
    other = line([0.15, 0.35], [0.8, 0.55])
    low, high, least = least_margin(one, other)
    assert (low, high) == (0.15, 0.3)
    # 0.85 - 0.8 at 0.15; 0.8 - 0.7375 at 0.2; 0.7 - 0.6125 at 0.3.
    assert least == pytest.approx(0.05)
    assert least_margin(other, one)[2] == pytest.approx(-0.0875)


def test_curves_that_are_nowhere_together_are_not_compared():
    assert least_margin(line([0.1, 0.2], [1, 1]), line([0.3], [1])) is None


def test_curves_that_cross_are_above_in_neither_direction():
    one, other = line([0.0, 1.0], [1.0, 0.0]), line([0.0, 1.0], [0.6, 0.4])
    assert least_margin(one, other)[2] == pytest.approx(-0.4)
    assert least_margin(other, one)[2] == pytest.approx(-0.4)


def test_a_curve_that_comes_back_counts_where_it_is_highest():
    # Too strong: what is lost of the picture is lost of the edit, too.
    back = line([0.6, 0.8, 0.6], [0.9, 0.7, 0.5])
    assert heights(back, np.array([0.6, 0.7, 0.8, 0.9])).tolist() == pytest.approx(
        [0.9, 0.8, 0.7, -np.inf]
    )
    assert least_margin(line([0.65, 0.75], [0.84, 0.74]), back)[2] == pytest.approx(-0.01)
    assert least_margin(line([0.65, 0.75], [0.86, 0.76]), back)[2] == pytest.approx(0.01)
    assert heights(line([0.5], [0.4]), np.array([0.5, 0.6])).tolist() == [0.4, -np.inf]
    # Upright, it counts where it ends higher.
    assert heights(line([0.5, 0.5], [0.4, 0.6]), np.array([0.5])).tolist() == [0.6]


def test_the_least_margin_of_a_curve_that_meets_itself_is_found_between_its_points():
    # A cross: the higher of two lines is lowest where they meet, at 0.5 and 0.5.
    cross = line([0.0, 1.0, 1.0, 0.0], [1.0, 0.0, 1.0, 0.0])
    flat = line([0.0, 1.0], [0.6, 0.6])
    assert least_margin(cross, flat)[2] == pytest.approx(-0.1)


def test_beside_a_place_where_a_curve_turns_back_its_lower_side_counts():
    # At 0.85 the first is at 0.95 and, just before, on its way down to 0.7254.
    one, other = line([0.5, 0.9, 0.85], [0.9, 0.7, 0.95]), line([0.5, 0.86], [0.8, 0.8])
    assert least_margin(one, other)[2] == pytest.approx(0.9 - 0.2 * 0.35 / 0.4 - 0.8)


@pytest.mark.parametrize("seed", range(20))
def test_the_least_margin_is_that_of_a_fine_grid(seed):
    rng = np.random.default_rng(seed)
    one, other = (line(rng.random(5), rng.random(5)) for _ in range(2))
    low, high, least = least_margin(one, other)
    fine = np.linspace(low, high, 20_001)

    def slow(curve, place):
        """The highest of all segments above a place."""
        found = []
        for n in range(4):
            (a, b), (c, d) = (curve[0][n], curve[1][n]), (curve[0][n + 1], curve[1][n + 1])
            if min(a, c) <= place <= max(a, c):
                found.append(b + (d - b) * (place - a) / (c - a))
        return max(found)

    gaps = [slow(one, place) - slow(other, place) for place in fine[1:-1:7]]
    assert least == pytest.approx(min(gaps), abs=2e-3)
    assert least <= min(gaps) + 1e-12


def points_at(name, *places, spread=0.0):
    """Each of 40 pictures is somewhat off, alike for all points."""
    found = []
    for number, (x, y) in enumerate(places):
        point = Point(name, {"image_guidance": float(number)})
        for picture in range(40):
            off = spread * (picture % 5 - 2)
            point.rows.append(
                {
                    "number": picture,
                    "attempt": 0,
                    "clip_sim_dir": x + off,
                    "clip_sim_image": y + off,
                }
            )
        found.append(point)
    return found


def test_a_comparison_says_from_where_to_where_and_by_how_much():
    one = points_at("a", (0.1, 0.9), (0.3, 0.7))
    other = points_at("b", (0.2, 0.7), (0.4, 0.5))
    found = compare(one, other)
    assert (found.above, found.from_, found.to) == (True, 0.2, 0.3)
    # 0.8 - 0.7 and 0.7 - 0.6.
    assert found.least == Estimate(0.1, 0.1, 0.1)
    assert compare(other, one).above is False


def test_a_comparison_draws_the_same_pictures_for_both():
    one = points_at("a", (0.1, 0.9), (0.3, 0.7), spread=0.02)
    other = points_at("b", (0.1, 0.85), (0.3, 0.65), spread=0.02)
    found = compare(one, other)
    # What pictures have in common is in both, and so in no difference.
    assert found.least == Estimate(0.05, 0.05, 0.05)


def test_a_picture_that_failed_in_one_curve_counts_in_neither():
    one = points_at("a", (0.1, 0.7), (0.3, 0.5))
    other = points_at("b", (0.1, 0.8), (0.3, 0.6))
    for point in one:
        # The hard half of the pictures, which it did not make, drags down the other alone.
        point.rows = [row for row in point.rows if row["number"] < 20]
    for row in (row for point in other for row in point.rows):
        row["clip_sim_image"] -= 0.5 * (row["number"] >= 20)
    found = compare(one, other)
    assert (found.above, found.pictures) == (False, 20)
    assert found.least == Estimate(-0.1, -0.1, -0.1)
    assert compare(other, one).above is True


def test_a_comparison_of_nothing_says_nothing():
    empty = [Point("a", {})]
    assert compare(empty, points_at("b", (0.1, 0.9))).above is None


@pytest.mark.filterwarnings("error")
def test_a_curve_that_stands_still_at_nothing_is_looked_at_without_a_warning():
    line = np.array([0.0, 0.0, 1.0]), np.array([0.2, 0.4, 0.1])
    assert crossings(line).size == 0
