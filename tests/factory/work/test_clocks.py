"""A clock that is wrong, or is set meanwhile, changes neither how long things took nor what is old."""

import errno
import time

import pytest

from factory.errors import ObjectMissing
from factory.ledger import keys
from factory.ledger.book import Book
from factory.ledger.collect import collect
from factory.ledger.plan import read_plan, write_plan
from factory.ledger.run import create_run, open_run
from factory.ledger.seal import Incomplete
from factory.pairs.verify import verify
from factory.storage.local import LocalStore
from factory.work.guards import Guards
from schemas.config import Budget, Compute
from schemas.ledger.layout import GENERATE
from tests.chaos.stores.passing_store import PassingStore
from tests.factory.ledger.test_collect import age, finish, litter, start
from tests.making import generate_unit
from tests.stub_source import StubSource, recipe, triplets

HOUR = 3600.0


@pytest.fixture
def set_clock(monkeypatch):
    """Sets this machine's clock ahead by so many seconds; monotonic time goes on as it did."""
    wall = time.time
    return lambda ahead: monkeypatch.setattr("time.time", lambda: wall() + ahead)


@pytest.mark.parametrize("ahead", [25 * HOUR, -25 * HOUR])
def test_hours_are_counted_by_what_passed(set_clock, ahead):
    guards = Guards(GENERATE, Budget(max_gpu_hours=1.0), Compute(), held=0)
    set_clock(ahead)
    assert guards.stop() is None
    assert 0 <= guards.gpu_hours() < 0.1


@pytest.mark.parametrize("ahead", [25 * HOUR, -25 * HOUR])
def test_a_unit_took_as_long_as_it_took(tmp_path, set_clock, ahead):
    run = create_run(LocalStore(tmp_path), recipe())
    plan = write_plan(run, triplets(2), 2)
    report = generate_unit(run, plan, 0, StubSource(on_draw=lambda: set_clock(ahead)))
    assert 0 < report.seconds < HOUR
    (line,) = Book(run, plan).lines()
    assert 0 < line.seconds < HOUR


@pytest.mark.parametrize("ahead", [25 * HOUR, -25 * HOUR])
def test_a_folders_clock_is_that_of_its_files(tmp_path, set_clock, ahead):
    set_clock(ahead)
    store = LocalStore(tmp_path)
    store.put("a", b"1")
    assert abs(store.now() - store.find("a").modified) < 60
    assert [info.key for info in store.list()] == ["a"]
    assert list(store.uploads()) == []


def test_garbage_of_a_folder_that_is_read_only_is_listed_all_the_same(tmp_path, monkeypatch):
    run, plan = start(tmp_path)
    finish(run, plan)
    left = litter(run)
    age(tmp_path, 99)

    def read_only(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("factory.storage.local.make_folder", read_only)
    assert {one.key for one in collect(run, plan).found} == left


def test_gc_on_a_machine_that_is_a_day_ahead_leaves_a_living_extension(tmp_path, set_clock):
    run, plan = start(tmp_path)
    finish(run, plan)
    set_clock(25 * HOUR)
    # Its parts are stored, its head is not yet; and a worker of another start has just made pairs.
    head = keys.plan_head(1)
    living = PassingStore(run.store)
    living.put_new = lambda key, data: key == head
    with pytest.raises(ObjectMissing, match=r"plan/000001/plan\.json"):
        write_plan(open_run(living), triplets(12), 2, extend=True)
    litter(run)
    before = {info.key for info in run.store.list()}
    found = collect(run, plan, delete=True)
    assert (found.removed, found.found) == (0, [])
    assert {info.key for info in run.store.list()} == before
    longer = write_plan(run, triplets(12), 2, extend=True)
    assert finish(run, longer).exit_code == 0
    assert verify(run).damages == []


@pytest.mark.parametrize("how", ["extended", "sealed"])
def test_gc_reads_plan_and_manifests_again_before_it_removes_anything(tmp_path, how):
    run, plan = start(tmp_path)
    finish(run, plan)
    left = litter(run)
    age(tmp_path, 99)

    def beside():
        longer = write_plan(run, triplets(12), 2, extend=True)
        if how == "sealed":
            finish(run, longer)

    class Busy(PassingStore):
        def uploads(self):
            beside()
            return super().uploads()

    with pytest.raises(Incomplete, match="gc needs a run that stands still"):
        collect(open_run(Busy(run.store)), plan, delete=True)
    assert left <= {info.key for info in run.store.list()}
    assert len(read_plan(run).records) == 2
