"""Roll-ups: written once per finished segment, read instead of its commits, never trusted blindly."""

import hashlib
import time

import pytest

from factory.errors import Damaged
from factory.ledger import keys
from factory.ledger.book import Book, Closing
from factory.ledger.lines import tally_of
from factory.ledger.manifest import newest_manifest
from factory.ledger.plan import write_plan
from factory.ledger.run import create_run
from factory.ledger.seal import Incomplete, seal
from factory.ledger.status import status
from factory.pairs.verify import verify
from factory.storage.local import LocalStore
from factory.work.reports import UnitProblem
from schemas.config import Config
from tests.factory.ledger.watched_store import NotedStore
from tests.making import generate_unit, run_here, run_job
from tests.stub_source import StubSource, recipe, triplets


@pytest.fixture(autouse=True)
def small_segments(monkeypatch):
    monkeypatch.setattr(keys, "SEGMENT_UNITS", 4)


def start(folder, count=22, store=NotedStore):
    """22 triplets are 11 units: segments of 4, 4 and 3."""
    run = create_run(store(str(folder)), recipe())
    return run, write_plan(run, triplets(count), 2)


def finish(run, plan, source=None, runner=None, **groups):
    config = Config.model_validate({"recipe": recipe(), **groups})
    return run_job(run, plan, config, runner or run_here(lambda _: source or StubSource()))


def rolled_up(run):
    return [info.key for info in run.store.list("segments/")]


def test_whole_job_rolls_up_finished_segments_and_not_the_last_one(tmp_path):
    run, plan = start(tmp_path)
    finish(run, plan)
    assert rolled_up(run) == [keys.roll_up(0), keys.roll_up(1)]
    assert run.store.count("put_new", "segments/").total() == 2
    assert verify(run).damages == []


def test_roll_up_holds_what_the_commits_say(tmp_path):
    run, plan = start(tmp_path)
    finish(run, plan)
    for line in Book(run, plan).lines():
        data = run.store.get(keys.commit(line.unit))
        assert line.commit_sha256 == hashlib.sha256(data).hexdigest()
        assert sum(tally_of(run.layout, line).total.values()) == 24
        assert (line.data_key is None) == (line.counts["accepted"] == 0)


def test_start_of_a_rolled_up_run_reads_no_commit_and_lists_open_segments_only(tmp_path):
    run, plan = start(tmp_path)
    finish(run, plan)
    run.store.calls.clear()
    result = finish(run, plan)
    assert result.units_made == 0
    assert run.store.count("get", "commits/").keys() == {keys.commit(unit) for unit in (8, 9, 10)}
    assert run.store.count("list", "commits/").keys() == {keys.commits_of(2)}


@pytest.mark.parametrize("budget", [{}, {"target_pairs": 10**6}])
def test_commit_of_an_open_segment_is_read_once_per_start(tmp_path, budget):
    run, plan = start(tmp_path)
    for unit in (0, 1, 2, 5, 9, 10):
        generate_unit(run, plan, unit, StubSource())
    run.store.calls.clear()
    made = []

    def runner(run, plan, units, config, should_stop):
        for unit in units:
            run.store.calls = [call for call in run.store.calls if call[1] != keys.commit(unit)]
            made.append(generate_unit(run, plan, unit, StubSource()))
            # What a worker reads is no reading of the driver's.
            run.store.calls.remove(("get", keys.commit(unit)))
            yield made[-1]

    result = finish(run, plan, runner=runner, budget=budget)
    status(run, plan, result.book)
    assert len(made) == 5
    # Once for its line, and once for its candidates' scores, which no book holds.
    reads = run.store.count("get", "commits/")
    # And one for why its first failure failed, which is said in the end.
    assert reads == {keys.commit(unit): 2 for unit in plan.units} | {keys.commit(0): 3}


def test_two_drivers_write_the_same_roll_up(tmp_path):
    run, plan = start(tmp_path, store=LocalStore)
    finish(run, plan)
    first = {key: run.store.get(key) for key in rolled_up(run)}
    for key in first:
        (tmp_path / key).unlink()
    books = Book(run, plan), Book(run, plan)
    assert all(book.roll_up(segment) for segment in (0, 1) for book in books)
    assert {key: run.store.get(key) for key in rolled_up(run)} == first


def until(true, seconds=30):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.01)


def test_segment_is_rolled_up_once_its_last_unit_is_committed_even_out_of_order(tmp_path):
    run, plan = start(tmp_path)
    seen = []

    def runner(run, plan, units, config, should_stop):
        for unit in (1, 0, 5, 3, 2, 4):
            seen.append(rolled_up(run))
            yield generate_unit(run, plan, unit, StubSource())
        # A job that ends gives up what the roller has not begun.
        until(lambda: rolled_up(run))

    # It ends before the other five units.
    assert finish(run, plan, runner=runner).exit_code == 3
    assert seen[4] == []  # four of its units were not there yet
    assert rolled_up(run) == [keys.roll_up(0)]


def test_segment_is_rolled_up_while_the_job_runs_also_if_a_unit_is_reported_twice(tmp_path):
    run, plan = start(tmp_path)

    def runner(run, plan, units, config, should_stop):
        for unit in (0, 0, 1, 0, 2, 3):
            yield generate_unit(run, plan, unit, StubSource())
        for _ in range(1000):
            if rolled_up(run):
                break
            time.sleep(0.01)
        yield UnitProblem(4, "planted, so that nothing is sealed")

    assert finish(run, plan, runner=runner).exit_code == 3
    assert rolled_up(run) == [keys.roll_up(0)]


def test_next_start_rolls_up_what_a_killed_one_left(tmp_path):
    run, plan = start(tmp_path)
    for unit in range(5):
        generate_unit(run, plan, unit, StubSource())
    assert rolled_up(run) == []
    finish(run, plan, budget={"limit": 10})
    assert rolled_up(run) == [keys.roll_up(0)]


def test_roll_up_that_fails_during_the_job_is_made_by_the_sealer(tmp_path, monkeypatch):
    run, plan = start(tmp_path)
    monkeypatch.setattr("factory.work.roller.Roller._roll_up", lambda self, segment: None)
    assert finish(run, plan).exit_code == 0
    assert len(rolled_up(run)) == 2


def test_reading_is_given_up_when_the_book_closes(tmp_path):
    run, plan = start(tmp_path)
    for unit in range(4):
        generate_unit(run, plan, unit, StubSource())
    book = Book(run, plan)
    book.closing.set()
    with pytest.raises(Closing):
        book.roll_up(0)
    assert rolled_up(run) == []


def test_status_and_manifest_are_the_same_with_and_without_roll_ups(tmp_path):
    run, plan = start(tmp_path, store=LocalStore)
    result = finish(run, plan)
    with_them = status(run, plan)
    for key in rolled_up(run):
        (tmp_path / key).unlink()
    assert status(run, plan) == with_them
    assert finish(run, plan).manifest_hash == result.manifest_hash


def test_driver_that_does_not_know_of_an_extension_reads_and_seals_what_it_planned(tmp_path):
    run, old = start(tmp_path, 6, LocalStore)
    longer = write_plan(run, triplets(8), 2, extend=True)
    finish(run, old)
    number, sealed = newest_manifest(run)
    assert (number, sealed.units, sealed.partial) == (0, 3, False)
    assert finish(run, longer).sealed.units == 4
    assert rolled_up(run) == [keys.roll_up(0)]
    assert [line.unit for line in Book(run, old).lines()] == [0, 1, 2]


def test_driver_that_does_not_know_of_an_extension_leaves_the_longer_manifest_the_newest(tmp_path):
    run, old = start(tmp_path, 6, LocalStore)
    longer = finish(run, write_plan(run, triplets(8), 2, extend=True)).sealed
    assert seal(run, old) == (0, longer)
    assert finish(run, old).sealed == longer
    assert newest_manifest(run) == (0, longer)


def test_old_plan_is_sealed_into_the_longer_one_where_that_has_a_snapshot(tmp_path):
    run, old = start(tmp_path, 6, LocalStore)
    generate_unit(run, old, 0, StubSource())
    longer = write_plan(run, triplets(10), 2, extend=True)
    generate_unit(run, longer, 4, StubSource())
    assert seal(run, longer, partial=True)[1].units == 2
    with pytest.raises(Incomplete, match="2 of 3 units"):
        seal(run, old)
    result = finish(run, old)
    assert result.exit_code == 0
    assert (result.sealed.units, result.sealed.partial) == (4, True)
    assert newest_manifest(run) == (1, result.sealed)
    assert verify(run).damages == []


def test_damaged_roll_up_is_named_with_its_remedy(tmp_path):
    run, plan = start(tmp_path, store=LocalStore)
    finish(run, plan)
    path = tmp_path / keys.roll_up(1)
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(Damaged, match=r"000001\.parquet: not a roll-up: .*remove it and run"):
        status(run, plan)
    path.unlink()
    assert finish(run, plan).exit_code == 0
    assert verify(run).damages == []


def test_seal_lists_the_pairs_and_asks_for_none_of_them(tmp_path):
    run, plan = start(tmp_path)
    finish(run, plan)
    assert run.store.count("find", "pairs/").total() == 0
    assert run.store.count("list", "pairs/").total() == 1
