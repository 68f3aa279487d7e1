"""Several drivers and sealers at once: what one has listed, no later manifest lacks."""

import pytest

from factory.errors import ObjectMissing
from factory.ledger import keys
from factory.ledger.book import Book
from factory.ledger.manifest import manifest_sequences, newest_manifest, read_manifest, unit_lines
from factory.ledger.plan import write_plan
from factory.ledger.run import create_run, is_begun, open_run
from factory.ledger.seal import Incomplete, seal
from factory.ledger.units.reopen import open_failed
from factory.pairs.verify import verify
from factory.storage.local import LocalStore
from schemas.config import Config
from tests.factory.ledger.interrupted_store import Interrupted
from tests.factory.ledger.watched_store import WeakStore
from tests.making import commit_failed, generate_unit, run_here, run_job
from tests.stub_source import StubSource, recipe, triplets


@pytest.fixture(autouse=True)
def small_segments(monkeypatch):
    monkeypatch.setattr(keys, "SEGMENT_UNITS", 2)


def start(folder, count=9, store=LocalStore, commits="conditional"):
    run = create_run(store(str(folder)), recipe(), commits)
    return run, write_plan(run, triplets(count), 2)


def finish(run, plan):
    config = Config.model_validate({"recipe": recipe()})
    return run_job(run, plan, config, run_here(lambda _: StubSource()))


def listed(run):
    """Units of every manifest, in their order."""
    sequences = manifest_sequences(run)
    return [{line.unit for line in unit_lines(run, read_manifest(run, n))} for n in sequences]


def before_a_part(run, beside):
    """The run's store, and what happens before a part of a manifest is stored in it."""
    return Interrupted(run.store, "before", "put", keys.MANIFEST_PARTS, beside)


def make(run, plan, *units):
    for unit in units:
        generate_unit(run, plan, unit, StubSource())


def test_slow_snapshot_does_not_come_after_a_manifest_that_lists_more(tmp_path):
    run, plan = start(tmp_path)
    make(run, plan, 0, 3)
    slow = before_a_part(run, lambda: finish(run, plan))
    number, snapshot = seal(open_run(slow), plan, partial=True)
    assert listed(run) == [{0, 1, 2, 3, 4}]
    assert (number, snapshot.partial) == (0, False)
    assert verify(run).damages == []


def test_two_snapshots_at_once_lose_nothing_of_each_other(tmp_path):
    """Each sees a segment before the other's commit in it."""
    run, plan = start(tmp_path)
    make(run, plan, 0)

    def beside():
        make(run, plan, 4)
        assert seal(run, plan, partial=True)[0] == 0
        make(run, plan, 2)

    slow = before_a_part(run, beside)
    number, _ = seal(open_run(slow), plan, partial=True)
    assert number == 1
    assert listed(run) == [{0, 4}, {0, 2, 4}]


def test_driver_that_read_the_plan_before_a_retry_does_not_bring_the_failure_back(tmp_path):
    run, plan = start(tmp_path)
    commit_failed(run, plan, 1, "planted")
    result = finish(run, plan)
    mended = finish(run, open_failed(run, plan))
    assert mended.manifest_hash != result.manifest_hash
    # The first one is still there, and seals what it believes in.
    number, manifest = seal(run, plan)
    assert (number, manifest) == newest_manifest(run) == (1, mended.sealed)


def test_unit_that_was_made_again_since_the_plan_was_read_is_not_opened_once_more(tmp_path):
    run, plan = start(tmp_path)
    commit_failed(run, plan, 1, "planted")
    finish(run, open_failed(run, plan))
    assert open_failed(run, plan).retries.generations == {1: 1}


def test_driver_that_read_the_plan_before_a_retry_is_told_what_is_open(tmp_path):
    run, plan = start(tmp_path)
    commit_failed(run, plan, 1, "planted")
    finish(run, plan)
    open_failed(run, plan)
    with pytest.raises(Incomplete, match="1 of 5"):
        seal(run, plan)


def test_choice_of_another_sealer_counts_also_where_this_one_had_read_before(tmp_path, monkeypatch):
    names = list("ba")

    class Name:
        def __init__(self):
            self.hex = names.pop(0) * 32

    monkeypatch.setattr("factory.ledger.units.commits.uuid.uuid4", Name)
    run, plan = start(tmp_path, store=WeakStore, commits="sealed")
    make(run, plan, 0)
    book = Book(run, plan)
    assert book.committed() == bytearray([1, 0, 0, 0, 0])
    monkeypatch.setattr("factory.work.unit.find_commit", blind)
    generate_unit(run, plan, 0, Other())
    _, theirs = seal(run, plan, partial=True)
    _, ours = seal(run, plan, partial=True, book=book)
    assert ours == theirs
    assert verify(run).damages == []


def blind(*_):
    raise ObjectMissing("not there yet")


class Other(StubSource):
    """Makes other pictures of the same draws."""

    def pairs(self, draws):
        for outcome in super().pairs(draws):
            if hasattr(outcome, "original"):
                outcome.original[:] = 255 - outcome.original
            yield outcome


def test_unit_that_is_committed_while_the_pairs_are_listed_is_no_damage(tmp_path):
    run, plan = start(tmp_path)
    make(run, plan, 0, 4)
    slow = Interrupted(
        run.store, "after", "list", keys.DATA["generate"], lambda: make(run, plan, 1, 2)
    )
    _, snapshot = seal(open_run(slow), plan, partial=True)
    assert {0, 4} < {line.unit for line in unit_lines(run, snapshot)}


def test_driver_that_looks_while_another_begins_the_run_is_not_refused(tmp_path):
    slow = Interrupted(
        LocalStore(str(tmp_path)), "after", "find", keys.RUN, lambda: start(tmp_path)
    )
    assert is_begun(slow)


def test_unit_that_was_made_meanwhile_is_not_failed_beside_it(tmp_path):
    run, plan = start(tmp_path, store=WeakStore, commits="sealed")
    make(run, plan, 1)
    commit_failed(run, plan, 1, "planted")
    assert len(list(run.store.list(keys.attempts(1)))) == 1
