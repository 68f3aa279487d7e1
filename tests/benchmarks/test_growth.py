"""The model of a long run's parts, on runs whose parts are known."""

import pytest

from benchmarks.on_cluster import growth
from benchmarks.on_cluster.growth import FAR


def run_of(units: int, bent: float = 0.0) -> dict[str, object]:
    """Lists by the unit alone, 8 s until workers work, memory of 300 MiB and 1 KiB a unit."""
    listed, planned = 2e-5 * units, 0.5 + 1e-4 * units
    return {
        "whole": {
            "units": units,
            "list_s": listed,
            "plan_s": planned,
            "begin_s": listed + planned + 8,
            "seal_s": 1e-3 * units + (bent if units == 10_000 else 0),
            "driver_ms_per_unit": 4.0,
            "driver_rss_mib": 300 + units / 1024,
        },
        "verify_s": 2e-3 * units,
        "verify_rss_mib": 100.0,
        "resume_at_99_s": 9.0,
        "resume_at_50_s": 12.0,
    }


def figures(bent: float = 0.0) -> dict[str, object]:
    runs = {f"long_{4 * units}_captions": run_of(units, bent) for units in (112_998, 1_000, 10_000)}
    return {"captions": 451_990, **runs}


def test_each_part_is_a_fixed_time_and_one_for_each_unit() -> None:
    found = growth.model(figures())
    assert set(found) == {*growth.PARTS, "memory"}
    assert found["plan"] == {
        "fixed": 0.5,
        "ms_per_unit": 0.1,
        "worst_between": 0.0,
        "at_10_million": 1000.5,
    }
    assert found["workers"]["fixed"] == pytest.approx(8)
    assert found["workers"]["ms_per_unit"] == 0
    assert found["driver"]["at_10_million"] == pytest.approx(0.004 * FAR)
    assert found["memory"]["kib_per_unit"] == pytest.approx(1)
    assert found["memory"]["at_10_million"] == pytest.approx(300 + FAR / 1024, abs=0.1)


def test_a_run_that_is_not_on_the_line_is_told() -> None:
    sealed = growth.model(figures(bent=10))["seal"]
    assert sealed["worst_between"] == pytest.approx(0.5)


def test_what_shrinks_is_not_carried_on_below_zero() -> None:
    falling = growth.line([(1_000, 9.0), (100_000, 8.0)])
    assert (falling.fixed, falling.each) == (9.0, 0.0)


def test_dots_stand_where_the_scales_are() -> None:
    drawn = growth.drawn(figures()).svg().decode()
    assert growth.across(1_000) < growth.across(10_000) < growth.RIGHT
    assert growth.up(10) - growth.up(100) == pytest.approx(growth.up(100) - growth.up(1_000))
    assert drawn.count("<circle") == 3 * len(growth.PARTS)
