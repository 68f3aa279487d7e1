"""Writes that arrive late, after their worker was given up: nothing that counts may change."""

import os
import time

import pytest

from factory.errors import StorageUnavailable
from factory.ledger import keys
from factory.ledger.book import Book
from factory.ledger.collect import collect
from factory.ledger.manifest import newest_manifest, unit_lines
from factory.ledger.plan import write_plan
from factory.ledger.run import create_run, open_run
from factory.ledger.status import status
from factory.ledger.units.reopen import open_failed
from factory.pairs.verify import verify
from factory.storage.local import LocalStore
from schemas.config import Config
from tests.factory.ledger.watched_store import WeakStore
from tests.making import commit_failed, generate_unit, run_here, run_job
from tests.stub_source import StubSource, recipe, triplets

STORES = {"conditional": LocalStore, "sealed": WeakStore}
UNITS = (0, 2)
"""One in a segment that is rolled up, one in the open segment."""


@pytest.fixture(autouse=True)
def small_segments(monkeypatch):
    monkeypatch.setattr(keys, "SEGMENT_UNITS", 2)
    monkeypatch.setattr("factory.storage.patience.time.sleep", lambda seconds: None)


class Zombie(StubSource):
    """Another kind of device: same draws, other pictures, so that its bytes can be told apart."""

    def pairs(self, draws):
        for outcome in super().pairs(draws):
            if hasattr(outcome, "original"):
                outcome.original[:] = 255 - outcome.original
            yield outcome


def delayed(kind):
    """A store on which every write is under way for ever, until it is delivered."""

    class Delayed(kind):
        def __init__(self, folder):
            super().__init__(folder)
            self.under_way = {}

        def put(self, key, data):
            # The pairs' answer comes, so that the commit is sent too.
            self.under_way[key] = ("put", data)
            if key.startswith("commits/"):
                raise StorageUnavailable("no answer")

        def put_new(self, key, data):
            self.under_way[key] = ("put_new", data)
            raise StorageUnavailable("no answer")

        def deliver(self, prefix):
            for key, (verb, data) in self.under_way.items():
                if key.startswith(prefix):
                    getattr(kind(self.uri), verb)(key, data)

    return Delayed


@pytest.fixture(params=["conditional", "sealed"])
def mode(request):
    return request.param


def start(folder, mode):
    run = create_run(STORES[mode](str(folder)), recipe(), mode)
    return run, write_plan(run, triplets(6), 2)


def finish(run, plan):
    config = Config.model_validate({"recipe": recipe()})
    return run_job(run, plan, config, run_here(lambda _: StubSource()))


def zombies(run, plan):
    """Attempts whose writes are all still under way."""
    stores = []
    for unit in UNITS:
        store = delayed(STORES[run.commits])(run.uri)
        with pytest.raises(StorageUnavailable):
            generate_unit(open_run(store), plan, unit, Zombie())
        assert {key.split("/")[0] for key in store.under_way} == {"pairs", "commits"}
        stores.append(store)
    return stores


def truth(run, plan):
    return [line.content for line in Book(run, plan).lines()], status(run, plan).counts


@pytest.mark.parametrize("late", ["pairs/", "commits/", ""])
def test_write_that_arrives_after_the_seal_changes_nothing(tmp_path, mode, late):
    run, plan = start(tmp_path, mode)
    stores = zombies(run, plan)
    result = finish(run, plan)
    before = truth(run, plan)
    for store in stores:
        store.deliver(late)
    assert truth(run, plan) == before
    assert finish(run, plan).manifest_hash == result.manifest_hash
    assert len(list(run.store.list("manifest/0"))) == 1
    assert verify(run).damages == []


@pytest.mark.parametrize("late", ["pairs/", "commits/", ""])
def test_write_that_arrives_after_another_attempt_won_leaves_one_outcome(tmp_path, mode, late):
    """Before anything is sealed: on a weak store either may be chosen, and the choice stays."""
    run, plan = start(tmp_path, mode)
    stores = zombies(run, plan)
    for unit in plan.units:
        generate_unit(run, plan, unit, StubSource())
    before = truth(run, plan)
    for store in stores:
        store.deliver(late)
    if mode == "conditional" or late == "pairs/":
        assert truth(run, plan) == before
    result = finish(run, plan)
    assert result.units_made == 0
    sealed = truth(run, plan)
    assert [*unit_lines(run, newest_manifest(run)[1])] == sealed[0]
    for store in stores:
        store.deliver("")
    assert truth(run, plan) == sealed
    assert finish(run, plan).manifest_hash == result.manifest_hash
    assert verify(run).damages == []


def test_write_that_arrives_after_garbage_collection_changes_nothing(tmp_path, mode):
    run, plan = start(tmp_path, mode)
    stores = zombies(run, plan)
    result = finish(run, plan)
    for store in stores:
        store.deliver("")
    then = time.time() - 25 * 3600
    for parent, _, names in os.walk(tmp_path):
        for name in names:
            os.utime(os.path.join(parent, name), (then, then))
    removed = {one.key for one in collect(run, plan, delete=True).found}
    assert {key.split("/")[0] for key in removed} >= {"pairs"}
    before = truth(run, plan)
    for late in ("commits/", ""):
        for store in stores:
            store.deliver(late)
        assert truth(run, plan) == before
        assert verify(run).damages == []
    assert finish(run, plan).manifest_hash == result.manifest_hash


class Named:
    """Stands for `uuid`: names in order, so that the zombies, who began first, sort first."""

    names = iter("fedcba9876543210")

    def uuid4(self):
        self.hex = next(Named.names) * 32
        return self


def test_write_of_a_failed_generation_arrives_after_the_unit_was_opened_again(
    tmp_path, mode, monkeypatch
):
    run, plan = start(tmp_path, mode)
    monkeypatch.setattr(Named, "names", iter("0123456789abcdef"))
    monkeypatch.setattr("factory.ledger.units.commits.uuid", Named())
    stores = zombies(run, plan)
    for unit in UNITS:
        commit_failed(run, plan, unit, "planted")
    first = finish(run, plan)
    plan = open_failed(run, plan)
    for store in stores:
        store.deliver("")
    assert Book(run, plan).committed().count(0) == len(UNITS)
    result = finish(run, plan)
    assert result.units_made == len(UNITS)
    assert result.manifest_hash != first.manifest_hash
    whole, whole_plan = start(tmp_path / "whole", mode)
    assert result.manifest_hash == finish(whole, whole_plan).manifest_hash
    assert verify(run).damages == []
