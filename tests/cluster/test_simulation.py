"""Workers in a simulated job: small ones by hand, any by what must hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.forecast.simulation import NEVER, Life, Outcome, limit_s, lives_of, preempted, simulate


def test_two_workers_share_the_units_and_wait_for_the_last_one() -> None:
    """Ready at 5: 10 and 20 until 15 and 25, the third from 15 to 45."""
    found = simulate([10, 20, 30], [[Life(0)], [Life(0)]], start_up_s=5)
    assert found == Outcome(
        seconds=45, committed=[0, 1, 2], committed_s=60, lost_s=0, alive_s=90, starts=2, ends=0
    )


def test_a_unit_that_does_not_end_before_its_worker_is_made_by_another_from_its_start() -> None:
    """The second worker ends at 12, told at 10: its first unit was done at 10, and it took no other.

    The first makes units 0 and 2 until 10 and 20, and 3 from there to 30.
    """
    lives = [[Life(0)], [Life(0, end=12, noticed=10)]]
    found = simulate([10, 10, 10, 10], lives, start_up_s=0)
    assert (found.seconds, found.committed, found.lost_s) == (30, [0, 1, 2, 3], 0)
    # Told at 9, it has a unit of 14 in hand until it ends, of which 12 are lost; the other takes it at 10.
    lives = [[Life(0)], [Life(0, end=12, noticed=9)]]
    found = simulate([10, 14, 10, 10], lives, start_up_s=0)
    assert (found.seconds, found.committed, found.lost_s) == (44, [0, 2, 1, 3], 12)
    assert (found.alive_s, found.committed_s, found.starts, found.ends) == (44 + 12, 44, 2, 1)


def test_a_worker_without_work_takes_what_another_one_lost_at_once() -> None:
    """The second is ready at 2 and idle; the first ends at 7 with 5 of 8 done."""
    lives = [[Life(0, end=7, noticed=7)], [Life(1)]]
    found = simulate([8], lives, start_up_s=2)
    assert (found.seconds, found.committed, found.lost_s) == (7 + 8, [0], 5)


def test_units_in_one_hand_share_their_worker() -> None:
    """4 and 8 at half speed: the first is done at 8, when 4 are left of the other, beside the third."""
    found = simulate([4, 8, 2], [[Life(0)]], start_up_s=0, calls=2)
    # From 8 on 4 and 2 share: the third is done at 12, the second with its last 2 at 14.
    assert (found.seconds, found.committed) == (14, [0, 2, 1])
    # Told at 8, it takes no third, and its second has the worker to itself until 12.
    found = simulate([4, 8, 2], [[Life(0, end=20, noticed=8)]], start_up_s=0, calls=2)
    assert (found.seconds, found.committed, found.alive_s) == (20, [0, 1], 20)
    # Both are lost that it has in hand: 6 of 8, and 1 of the third.
    found = simulate([4, 8, 3], [[Life(0, end=10, noticed=10)]], start_up_s=0, calls=2)
    assert (found.committed, found.lost_s) == ([0], (4 + 1) + 1)


def test_who_ends_before_it_is_ready_makes_nothing_and_is_paid() -> None:
    found = simulate([1.0], [[Life(0, end=4, noticed=2), Life(6)]], start_up_s=5)
    assert (found.seconds, found.alive_s, found.starts, found.ends) == (12, 4 + 6, 2, 1)


def test_without_workers_units_stay_open() -> None:
    assert simulate([1.0], [], start_up_s=0) == Outcome()
    assert simulate([], [[Life(0)]], start_up_s=9) == Outcome()


WORK = st.lists(st.floats(0.0, 50.0), max_size=40)
POOL = st.fixed_dictionaries(
    {
        "places": st.integers(1, 5),
        "every_s": st.one_of(st.none(), st.floats(60.0, 500.0)),
        "notice_s": st.sampled_from([0.0, 5.0, 30.0]),
        "calls": st.integers(1, 3),
    }
)


def _simulated(work: list[float], pool: dict[str, float], start_up_s: float) -> Outcome:
    places = [
        preempted(np.random.default_rng([7, place]), pool["every_s"], pool["notice_s"])
        for place in range(int(pool["places"]))
    ]
    return simulate(work, places, start_up_s, int(pool["calls"]))


@settings(deadline=None, max_examples=60)
@given(WORK, POOL, st.floats(0.0, 20.0))
def test_every_unit_is_committed_once_and_nothing_is_made_out_of_nothing(work, pool, start_up_s):
    found = _simulated(work, pool, start_up_s)
    assert sorted(found.committed) == list(range(len(work)))
    assert found.committed_s == pytest.approx(sum(work))
    ready = found.alive_s - start_up_s * (found.starts - found.ends)
    assert found.committed_s + found.lost_s <= found.alive_s + 1e-6 * (1 + len(work))
    if work and pool["every_s"] is None:
        assert (found.ends, found.lost_s) == (0, 0)
        assert found.committed_s <= ready + 1e-6 * len(work)
        assert found.seconds >= start_up_s + sum(work) / pool["places"] - 1e-6 * len(work)


@settings(deadline=None, max_examples=60)
@given(WORK.filter(bool), st.integers(1, 5), st.floats(0.0, 20.0), st.floats(0.001, 20.0))
def test_a_longer_start_up_is_added_to_the_time(work, places, start_up_s, longer):
    """Of workers that nobody takes away; those that are may be luckier."""
    pool = {"places": places, "every_s": None, "notice_s": 0.0, "calls": 1}
    found = [_simulated(work, pool, one).seconds for one in (start_up_s, start_up_s + longer)]
    assert found[1] == pytest.approx(found[0] + longer)


def test_preemption_costs_more_the_more_often_it_comes_and_the_longer_start_ups_are() -> None:
    def alive(every_s: float | None, start_up_s: float) -> float:
        pool = {"places": 8, "every_s": every_s, "notice_s": 30.0, "calls": 2}
        return _simulated([20.0] * 2000, pool, start_up_s).alive_s

    often = [alive(every_s, 30.0) for every_s in (None, 3600.0, 600.0, 200.0)]
    assert often == sorted(often)
    assert often[0] == pytest.approx(2000 * 20 + 8 * 30, rel=0.01)
    slow = [alive(600.0, start_up_s) for start_up_s in (0.0, 30.0, 60.0, 120.0)]
    assert slow == sorted(slow)
    assert len(set(slow)) == len(set(often)) == 4


def test_a_place_has_one_node_after_the_other_for_so_long_on_average() -> None:
    lives = preempted(np.random.default_rng(0), 100.0, 30.0)
    some = [next(lives) for _ in range(4000)]
    assert [one.end for one in some[:-1]] == [one.begin for one in some[1:]]
    assert some[-1].end / 4000 == pytest.approx(100.0, rel=0.05)
    assert all(one.noticed == max(one.begin, one.end - 30.0) for one in some)
    assert list(preempted(np.random.default_rng(0), None, 30.0)) == [Life(0.0, NEVER, NEVER)]


def test_the_nodes_of_a_trace_the_youngest_ends_first() -> None:
    assert lives_of([0, 2, 3, 1, 0, 1], step_s=10, notice_s=12) == [
        Life(20, 30, 20),  # told before it was there: as soon as it is
        Life(10, 30, 18),
        Life(10, 40, 28),
        Life(50, 60, 60),
    ]
    assert lives_of([], 10, 2) == []


def test_the_limit_of_a_trace_leaves_out_start_ups_alone() -> None:
    lives = lives_of([0, 2, 3, 1, 0, 1], step_s=10, notice_s=2)
    # 10, 20, 30 and 10 s, less 4 s each; with 15 s two never start.
    assert limit_s(lives, 4) == 6 + 16 + 26 + 6
    assert limit_s(lives, 15) == 5 + 15


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=20),
    st.floats(0.1, 30.0),
    st.floats(0.0, 25.0),
    st.integers(1, 2),
)
def test_nobody_reaches_more_than_the_limit(counts, unit_s, start_up_s, calls):
    lives = lives_of(counts, step_s=10, notice_s=4)
    units = [unit_s] * (int(sum(counts) * 10 / unit_s) + 2)
    found = simulate(units, [[life] for life in lives], start_up_s, calls)
    assert found.committed_s <= limit_s(lives, start_up_s) + 1e-6 * len(units)
    assert found.alive_s == pytest.approx(10 * sum(counts))
