"""What the benchmark of a cluster replays, and that its figures are those of the code that stands here."""

import json

import pytest

from benchmarks import cluster
from benchmarks.record import RESULTS
from cluster.forecast.pilot import Pilot
from cluster.forecast.simulation import limit_s, lives_of

FIGURES = json.loads((RESULTS / "cluster.json").read_text())["figures"]


def test_the_trace_is_of_four_nodes_for_nineteen_hours() -> None:
    trace = json.loads((cluster.TRACES / "spot_v100_4_nodes.json").read_text())
    counts = trace["data"]
    assert (trace["metadata"], len(counts), sum(counts)) == ({"gap_seconds": 300}, 230, 493)
    assert set(counts) == set(range(5))
    lives = lives_of(counts, 300, 120)
    assert (len(lives), sum(life.end < 230 * 300 for life in lives)) == (33, 29)
    assert limit_s(lives, 180) == 493 * 300 - 33 * 180


def test_larger_units_reach_less_of_the_limit() -> None:
    trace = json.loads((cluster.TRACES / "spot_v100_4_nodes.json").read_text())
    lives = lives_of(trace["data"], 300, cluster.NOTICE_S)
    shares = {seconds: cluster.over_limit(lives, seconds) for seconds in (60, 300, 1200)}
    assert 0.95 < shares[60] < 1
    assert shares[60] > shares[300] > shares[1200]
    recorded = FIGURES["trace_over_limit_by_unit_seconds"]
    assert {str(unit_s): share for unit_s, share in shares.items()} == pytest.approx(
        {str(unit_s): recorded[str(unit_s)] for unit_s in shares}, abs=0.005
    )


def test_the_table_is_a_run_of_400_triplets_on_the_miniature() -> None:
    whole = cluster.kept()
    assert isinstance(whole, Pilot)
    assert (whole.triplets, len(whole.unit_s), len(whole.kinds)) == (400, 50, 400)
    assert set(whole.kinds) == {"size", "background", "shape", "colour", "style"}
    shown = cluster.of_units(whole, [1, 49])
    assert shown.kept == whole.kept[8:16] + whole.kept[392:]
    assert shown.unit_s == (whole.unit_s[1], whole.unit_s[49])


@pytest.mark.slow
def test_the_recorded_coverage_is_what_the_table_gives() -> None:
    found = cluster.coverage(None)
    assert 0.85 <= found["forecast_coverage"] <= 0.95
    for name, value in found.items():
        assert value == pytest.approx(FIGURES[name], rel=0.05), name
