"""A listing that lacks what is there: nothing is sealed on it, no old manifest passes for the newest."""

import pytest

from factory.errors import Damaged, StorageRefused
from factory.ledger import keys
from factory.ledger.manifest import manifest_sequences, newest_manifest, sealed_data_uris
from factory.ledger.plan import read_plan, write_plan
from factory.ledger.run import create_run, open_run
from factory.ledger.seal import seal
from factory.ledger.units.reopen import open_failed
from factory.pairs.verify import verify
from schemas.config import Config
from tests.chaos.stores.memory_store import MemoryStore
from tests.chaos.stores.passing_store import PassingStore
from tests.making import commit_failed, generate_unit, run_here, run_job
from tests.stub_source import StubSource, recipe, triplets


class Blind(PassingStore):
    """Lists everything but the objects with this beginning."""

    hidden = "nothing yet"

    def list(self, prefix=""):
        return (info for info in super().list(prefix) if not info.key.startswith(self.hidden))


@pytest.fixture(autouse=True)
def small_segments(monkeypatch):
    monkeypatch.setattr(keys, "SEGMENT_UNITS", 4)


@pytest.fixture(params=["conditional", "sealed"])
def run(request):
    return create_run(Blind(MemoryStore()), recipe(), request.param)


@pytest.fixture
def plan(run):
    return write_plan(run, triplets(12), 2)


def make(run, plan, *units):
    for unit in units:
        generate_unit(run, plan, unit, StubSource())


def finish(run, plan, **budget):
    config = Config.model_validate({"recipe": recipe(), "budget": budget})
    return run_job(run, plan, config, run_here(lambda _: StubSource()))


def hide(run, unit, generation=0):
    run.store.hidden = keys.commit(unit, generation).removesuffix(".parquet")


@pytest.mark.parametrize(("unit", "budget"), [(5, {}), (0, {}), (0, {"limit": 10})])
def test_a_job_whose_units_are_not_listed_seals_nothing(run, plan, unit, budget):
    hide(run, unit)
    with pytest.raises(StorageRefused, match=r"a listing must show every object"):
        finish(run, plan, **budget)
    assert manifest_sequences(run) == []
    run.store.hidden = Blind.hidden
    assert finish(run, plan).exit_code == 0
    assert verify(run).damages == []


def test_a_snapshot_does_not_shrink_because_a_listing_is_cut(run, plan):
    make(run, plan, 0, 1, 5)
    seal(run, plan, partial=True)
    make(run, plan, 2)
    hide(run, 1)
    # Attempts side by side are found by listing alone: one that is not listed is as good as lost.
    kind, what = (
        (StorageRefused, "it lacks this one") if run.commits == "conditional" else (Damaged, "")
    )
    with pytest.raises(kind, match=rf"commits/000000/00000001.*{what}"):
        seal(run, plan, partial=True)
    run.store.hidden = Blind.hidden
    assert seal(run, plan, partial=True)[1].units == 4


def test_a_snapshot_does_not_shrink_because_a_commit_is_lost(run, plan):
    make(run, plan, 0, 1, 5)
    seal(run, plan, partial=True)
    for info in list(run.store.list(keys.commits_of(0))):
        if keys.commit_name(info.key).unit == 1:
            run.store.delete(info.key)
    with pytest.raises(
        Damaged, match=r"unit 1 is in the newest manifest, .*; run generate to make"
    ):
        seal(run, plan, partial=True)
    assert finish(run, plan).exit_code == 0
    assert verify(run).damages == []


def test_a_unit_that_is_opened_again_may_be_missing_from_the_next_snapshot(run, plan):
    commit_failed(run, plan, 1, "planted")
    make(run, plan, 0, 5)
    assert seal(run, plan, partial=True)[1].units == 3
    again = open_failed(run, plan)
    assert seal(run, again, partial=True)[1].units == 2
    make(run, again, 1)
    hide(run, 1, generation=1)
    assert seal(run, again, partial=True)[1].units == 2
    run.store.hidden = Blind.hidden
    assert seal(run, again, partial=True)[1].units == 3


def test_an_old_manifest_does_not_pass_for_the_newest(run, plan):
    make(run, plan, 0)
    seal(run, plan, partial=True)
    make(run, plan, 1)
    seal(run, plan, partial=True)
    run.store.hidden = keys.manifest(1)
    for read in (newest_manifest, sealed_data_uris, lambda run: seal(run, plan, partial=True)):
        with pytest.raises(StorageRefused, match=r"manifest/: .*got none of manifest/000001\.json"):
            read(run)


def test_a_retry_that_is_not_listed_does_not_bring_the_failure_back(run, plan):
    commit_failed(run, plan, 1, "planted")
    open_failed(run, plan)
    run.store.hidden = keys.RETRIES
    with pytest.raises(StorageRefused, match=r"retries/: .*got none of retries/000000\.json"):
        read_plan(run)


def test_what_another_driver_writes_meanwhile_is_no_lack_of_a_listing(run, plan):
    make(run, plan, 0)
    listed = []

    class Beside(PassingStore):
        def list(self, prefix=""):
            found = list(super().list(prefix))
            if prefix == keys.MANIFESTS and not listed:
                listed.append(seal(run, plan, partial=True))
            return iter(found)

    assert newest_manifest(open_run(Beside(run.store))) == listed[0]
