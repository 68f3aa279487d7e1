"""Looks at a run: the same words as `status`, for a few requests each."""

import os

import pytest

from factory.errors import StorageUnavailable
from factory.ledger import keys, looks
from factory.ledger.looks import Looks, pace_of
from factory.ledger.plan import write_plan
from factory.ledger.run import create_run
from factory.ledger.seal import seal
from factory.ledger.status import status
from factory.ledger.units.reopen import open_failed
from schemas.config import Budget, Config
from tests.factory.ledger.watched_store import NotedStore, WeakStore
from tests.factory.work.test_toy_stage import Shouted
from tests.making import commit_failed, generate_unit, run_here, run_job
from tests.stub_source import StubSource, recipe, triplets


@pytest.fixture(autouse=True)
def small_segments(monkeypatch):
    monkeypatch.setattr(keys, "SEGMENT_UNITS", 4)


def start(folder, count=22, store=NotedStore, **options):
    """22 triplets are 11 units: segments of 4, 4 and 3."""
    run = create_run(store(str(folder)), recipe(), **options)
    return run, write_plan(run, triplets(count), 2)


def make(run, plan, *units):
    for unit in units:
        generate_unit(run, plan, unit, StubSource())


def finish(run, plan, **groups):
    config = Config.model_validate({"recipe": recipe(), **groups})
    return run_job(run, plan, config, run_here(lambda _: StubSource()))


def asked(run):
    """The keys below `commits/` and the plan that were asked for since the last time."""
    calls, run.store.calls = run.store.calls, []
    return [(verb, key) for verb, key in calls if key.startswith((keys.COMMITS, keys.PLANS))]


def same_as_status(look, run, plan):
    found = status(run, plan)
    return (look.committed_units, look.counts, look.failed_units) == (
        found.committed_units,
        found.counts,
        found.failed_units,
    )


def test_looks_say_what_status_says_while_a_run_goes_on(tmp_path):
    run, plan = start(tmp_path)
    seen = Looks(run, plan)
    first = seen.look()
    assert (first.committed_units, first.units, first.ended) == (0, 11, False)
    assert first.counts == {"accepted": 0, "rejected": 0, "failed": 0}
    for unit in (0, 1, 2, 3, 5, 9, 10):
        make(run, plan, unit)
        assert same_as_status(seen.look(), run, plan)
    commit_failed(run, plan, 8, "planted")
    look = seen.look()
    assert same_as_status(look, run, plan)
    assert (look.failed_units, look.counts["failed"] > 24) == (1, True)
    finish(run, plan)
    last = seen.look()
    while not last.ended:
        last = seen.look()
    assert same_as_status(last, run, plan)
    assert last.sealed == {"sequence": 0, "partial": False}


def test_nothing_is_read_twice_and_finished_segments_are_not_listed(tmp_path):
    run, plan = start(tmp_path)
    make(run, plan, 0, 1, 2, 3, 4)
    seen = Looks(run, plan)
    seen.look()
    asked(run)
    make(run, plan, 5)
    asked(run)
    seen.look()
    listed = [("list", keys.commits_of(1)), ("list", keys.commits_of(2))]
    assert sorted(asked(run)) == [("get", keys.commit(5)), *listed]
    seen.look()
    assert sorted(asked(run)) == listed


def test_a_look_at_a_large_run_lists_a_few_segments_whatever_its_size(tmp_path):
    run, plan = start(tmp_path, count=2 * 4 * 60)
    seen = Looks(run, plan)
    asked(run)
    seen.look()
    assert len(asked(run)) == 60
    make(run, plan, *range(8, 12))
    asked(run)
    found = []
    for unit in range(12, 12 + looks.PLAN_EVERY - 1):
        # What is in work stands in its neighbourhood; the others are seen in turn.
        found.append(seen.look().committed_units)
        assert len([key for verb, key in asked(run) if verb == "list"]) <= 16
        make(run, plan, unit)
        asked(run)
    assert found[-1] >= 8
    # One far away from where the run works is found in turn.
    make(run, plan, 4 * 40)
    before = seen.look().committed_units
    for _ in range(60):
        if seen.look().committed_units > before:
            break
    assert same_as_status(seen.look(), run, plan)


def test_roll_ups_are_read_in_place_of_commits(tmp_path):
    run, plan = start(tmp_path)
    finish(run, plan)
    asked(run)
    look = Looks(run, plan).look()
    # Two segments are rolled up; the last one is not whole.
    assert {key for verb, key in asked(run) if verb == "get"} == {
        keys.commit(unit) for unit in (8, 9, 10)
    }
    assert look.ended
    assert same_as_status(look, run, plan)


def test_of_many_commits_some_are_read_at_each_look(tmp_path, monkeypatch):
    monkeypatch.setattr(looks, "MOST_READS", 3)
    run, plan = start(tmp_path)
    make(run, plan, *range(8))
    seen = Looks(run, plan)
    found = [seen.look() for _ in range(4)]
    assert [look.committed_units for look in found] == [8, 8, 8, 8]
    assert [look.counted_units for look in found] == [3, 6, 8, 8]
    assert same_as_status(found[-1], run, plan)


def test_a_longer_plan_and_units_that_are_opened_again_are_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(looks, "PLAN_EVERY", 1)
    run, plan = start(tmp_path)
    make(run, plan, 0, 1)
    commit_failed(run, plan, 2, "planted")
    seen = Looks(run, plan)
    assert seen.look().failed_units == 1
    plan = open_failed(run, plan)
    look = seen.look()
    assert (look.committed_units, look.failed_units) == (2, 0)
    assert same_as_status(look, run, plan)
    longer = write_plan(run, triplets(30), 2, extend=True)
    make(run, longer, 14)
    look = seen.look()
    assert (look.units, look.committed_units) == (15, 3)
    assert same_as_status(look, run, longer)


def test_a_seal_that_was_there_does_not_end_it_and_a_newer_one_does(tmp_path):
    run, plan = start(tmp_path)
    make(run, plan, 0)
    seal(run, plan, partial=True)
    seen = Looks(run, plan)
    look = seen.look()
    assert (look.ended, look.sealed) == (False, {"sequence": 0, "partial": True})
    result = finish(run, plan, budget=Budget(limit=4).model_dump())
    assert result.exit_code == 0
    assert not seen.look().ended, "it was not asked for while there was news"
    look = seen.look()
    assert (look.ended, look.sealed) == (True, {"sequence": 1, "partial": True})


def test_a_run_that_is_sealed_whole_ends_at_the_first_look_and_a_retry_goes_on(tmp_path):
    run, plan = start(tmp_path)
    commit_failed(run, plan, 2, "planted")
    finish(run, plan)
    assert Looks(run, plan).look().ended
    again = open_failed(run, plan)
    seen = Looks(run, again)
    assert not seen.look().ended
    finish(run, again)
    assert [seen.look().ended for _ in range(2)] == [False, True]


@pytest.mark.parametrize("store", [NotedStore, WeakStore])
def test_where_writes_are_weak_attempts_are_units(tmp_path, store):
    run, plan = start(tmp_path, store=store, commits="sealed")
    make(run, plan, 0, 1, 5)
    make(run, plan, 5)
    look = Looks(run, plan).look()
    assert same_as_status(look, run, plan)
    assert look.committed_units == 3


def test_a_damaged_commit_is_counted_and_ends_nothing(tmp_path):
    run, plan = start(tmp_path)
    make(run, plan, 0, 1)
    (tmp_path / keys.commit(1)).write_bytes(b"spoilt")
    seen = Looks(run, plan)
    for _ in range(2):
        look = seen.look()
        assert (look.committed_units, look.counted_units, look.damaged_units) == (2, 1, 1)


def test_a_store_without_an_answer_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    run, plan = start(tmp_path)
    make(run, plan, 0, 1, 2)
    seen, silent = Looks(run, plan), []

    class Silent(NotedStore):
        def get(self, key):
            if key == keys.commit(1) and len(silent) < 20:
                silent.append(key)
                raise StorageUnavailable("no answer")
            return super().get(key)

    monkeypatch.setattr(run.store, "__class__", Silent)
    with pytest.raises(StorageUnavailable):
        seen.look()
    silent += [""] * 20
    assert same_as_status(seen.look(), run, plan)


def test_any_stage_is_looked_at_under_its_own_names(tmp_path, monkeypatch):
    monkeypatch.setattr(looks, "PLAN_EVERY", 1)
    shouted = Shouted(tmp_path)
    shouted.hush(4)
    shouted.start()
    look = Looks(shouted.run, shouted.plan).look()
    assert (look.counts, look.failed_units, look.ended) == ({"done": 6, "failed": 1}, 1, True)
    plain = look.as_json()
    assert (plain["stage"], plain["counts"]) == ("shout", {"done": 6, "failed": 1})
    shouted.begin(retry_failed=True)
    seen = Looks(shouted.run, shouted.plan)
    assert seen.look().committed_units == 2
    (shouted.hushed / "line4").unlink()
    shouted.end()
    look = [seen.look() for _ in range(2)][-1]
    assert (look.counts, look.failed_units, look.ended) == ({"done": 7, "failed": 0}, 0, True)


def test_the_pace_is_that_of_the_newest_commits_of_one_start(tmp_path):
    steady = [1000.0 - 10 * n for n in range(20)]
    assert pace_of(steady) == 10.0
    night = [second - 40_000 for second in steady]
    assert pace_of([*steady, *night]) == 10.0
    assert pace_of([1000.0, 990.0, 900.0]) == 50.0
    assert pace_of([1000.0, 990.0]) is None
    assert pace_of([1000.0] * 30) is None
    assert pace_of([]) is None
    # Four of one second each: a server dates by seconds.
    assert pace_of([float(1000 - n // 4) for n in range(41)]) == 0.25


def test_a_run_that_stands_still_has_no_pace_and_says_how_long(tmp_path):
    run, plan = start(tmp_path)
    make(run, plan, *range(5))
    for unit in range(5):
        then = 1_700_000_000 + 30 * unit
        os.utime(tmp_path / keys.commit(unit), (then, then))
    look = Looks(run, plan).look()
    assert look.each_s is None
    assert look.left_s is None
    assert look.silent_s > 1_000_000
