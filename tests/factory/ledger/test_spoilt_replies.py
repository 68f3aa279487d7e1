"""A reply that came back cut, or none, decides nothing: the object is read again before it is damaged."""

import re
from collections import Counter
from types import SimpleNamespace

import pytest

from factory.errors import Damaged, ObjectMissing, StorageUnavailable
from factory.ledger import keys
from factory.ledger.book import Book
from factory.ledger.collect import collect
from factory.ledger.plan import read_plan, write_plan
from factory.ledger.run import create_run, open_run
from factory.ledger.seal import seal
from factory.ledger.status import status
from factory.ledger.units.reopen import open_failed
from factory.ledger.units.strikes import read_strikes, write_strike
from factory.pairs.sheet import sealed_pairs
from factory.pairs.verify import verify
from factory.storage.patience import READS, write_once
from schemas.config import Config
from tests.chaos.stores.memory_store import MemoryStore
from tests.chaos.stores.passing_store import PassingStore
from tests.making import commit_failed, generate_unit, run_here, run_job
from tests.stub_source import StubSource, recipe, triplets

MANIFEST = re.compile(r"manifest/[0-9]+\.json")


class Spoiling(PassingStore):
    """Behind a proxy that cuts every object's first replies, or flips a bit in them."""

    def __init__(self, inner, replies, how):
        super().__init__(inner)
        self.replies, self.how = replies, how
        self.reads = Counter()
        self.looks = Counter()

    def find(self, key):
        self.looks[key] += 1
        if self.how == "unavailable" and self.looks[key] <= self.replies:
            raise StorageUnavailable(f"{key}: planted")
        return super().find(key)

    def get(self, key):
        data = super().get(key)
        self.reads[key] += 1
        # A manifest names content only and bears no stamp: a flipped bit shows in its parts.
        if self.reads[key] > self.replies or (self.how == "flipped" and MANIFEST.match(key)):
            return data
        if self.how == "unavailable":
            raise StorageUnavailable(f"{key}: planted")
        middle = len(data) // 2
        return data[:middle] if self.how == "cut" else flipped(data, middle)


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


@pytest.fixture(autouse=True)
def small_segments(monkeypatch):
    monkeypatch.setattr(keys, "SEGMENT_UNITS", 2)
    # Waits between the reads would only take time.
    monkeypatch.setattr("time.sleep", lambda _: None)


def a_run(commits="conditional"):
    """Extended, with a unit that was opened again, a strike, roll-ups and two manifests."""
    run = create_run(MemoryStore(), recipe(), commits)
    plan = write_plan(run, triplets(5), 2)
    commit_failed(run, plan, 1, "planted")
    finish(run, plan)
    plan = open_failed(run, write_plan(run, triplets(9), 2, extend=True))
    write_strike(run.store, 3, 0, alone=False, worker="w", node="n")
    return run, plan, finish(run, plan)


def finish(run, plan):
    config = Config.model_validate({"recipe": recipe()})
    return run_job(run, plan, config, run_here(lambda _: StubSource()))


@pytest.mark.parametrize("how", ["cut", "flipped", "unavailable"])
@pytest.mark.parametrize("replies", [1, READS - 1])
@pytest.mark.parametrize("commits", ["conditional", "sealed"])
def test_whoever_reads_a_run_reads_again(how, replies, commits):
    whole, plan, result = a_run(commits)
    before = dict(whole.store.objects)

    def spoilt():
        return Spoiling(whole.store, replies, how)

    run = open_run(spoilt())
    assert read_plan(open_run(spoilt())).records == plan.records
    assert status(run, read_plan(open_run(spoilt()))).counts == status(whole, plan).counts
    assert verify(open_run(spoilt())).damages == []
    assert (
        len(list(sealed_pairs(open_run(spoilt()), result.sealed)))
        == result.sealed.counts["accepted"]
    )
    assert seal(open_run(spoilt()), plan)[1] == result.sealed
    assert collect(open_run(spoilt()), plan).found == []
    assert read_strikes(spoilt()).keys() == {3}
    again = create_run(spoilt(), recipe(), commits)
    plan = write_plan(again, triplets(9), 2)
    assert finish(again, open_failed(again, plan)).manifest_hash == result.manifest_hash
    assert whole.store.objects == before


@pytest.mark.parametrize("how", ["cut", "flipped"])
def test_what_always_comes_back_so_is_damaged(how):
    whole, plan, _ = a_run()
    run = open_run(whole.store)
    run.store = Spoiling(whole.store, 10**6, how)
    for read in (lambda: seal(run, plan), lambda: list(Book(run, plan).lines())):
        with pytest.raises(Damaged):
            read()
    assert verify(run).damages != []


def test_an_attempt_whose_reply_was_cut_still_counts(monkeypatch):
    names = list("ba")
    monkeypatch.setattr(
        "factory.ledger.units.commits.uuid.uuid4", lambda: SimpleNamespace(hex=names.pop(0) * 32)
    )
    run = create_run(MemoryStore(), recipe(), "sealed")
    plan = write_plan(run, triplets(2), 2)
    with monkeypatch.context() as blind:
        blind.setattr("factory.work.unit.find_commit", none_yet)
        for _ in range(2):
            generate_unit(run, plan, 0, StubSource())
    spoilt = open_run(Spoiling(run.store, 1, "cut"))
    assert [line.attempt for line in Book(spoilt, plan).lines()] == ["a" * 32]


def none_yet(*_):
    raise ObjectMissing("not there yet")


@pytest.mark.parametrize("replies", range(1, READS))
def test_a_reply_that_was_cut_is_not_another_drivers_word(replies):
    store = Spoiling(MemoryStore(), replies, "cut")
    assert write_once(store, "RUN.json", b"our word, all of it") == b"our word, all of it"
    assert write_once(store, "RUN.json", b"another's") == b"our word, all of it"
