"""`verify` beside a run that goes on: what comes while it reads is no damage."""

import pytest

from factory.ledger import keys
from factory.ledger.book import Book
from factory.ledger.plan import write_plan
from factory.ledger.run import create_run, open_run
from factory.ledger.seal import seal
from factory.ledger.units.reopen import open_failed
from factory.pairs.verify import verify
from schemas.config import Config
from tests.chaos.histories.actors import WeakStore
from tests.chaos.stores.memory_store import MemoryStore
from tests.factory.ledger.interrupted_store import Interrupted
from tests.making import commit_failed, generate_unit, run_here, run_job
from tests.stub_source import StubSource, recipe, triplets


@pytest.fixture(autouse=True)
def small_segments(monkeypatch):
    monkeypatch.setattr(keys, "SEGMENT_UNITS", 2)


class Living:
    """Four units, the first two made, and what else may happen."""

    def __init__(self, store, commits):
        self.store = store
        self.run = create_run(store, recipe(unit_triplets=1, candidates=3), commits)
        self.plan = write_plan(self.run, triplets(3), 1)
        self.make(0, 1)

    def make(self, *units):
        for unit in units:
            generate_unit(self.run, self.plan, unit, StubSource())

    def finish_a_segment(self):
        self.plan = write_plan(self.run, triplets(4), 1, extend=True)
        self.make(2, 3)
        assert Book(self.run, self.plan).roll_up(1)

    def extend(self):
        self.plan = write_plan(self.run, triplets(7), 1, extend=True)
        self.make(3, 6)

    def seal_longer(self):
        self.extend()
        self.make(2, 4, 5)
        seal(self.run, self.plan)

    def retry(self):
        commit_failed(self.run, self.plan, 2, "planted")
        self.plan = open_failed(self.run, self.plan)
        self.make(2)

    def finish(self):
        run_job(
            self.run, self.plan, Config(recipe=self.run.recipe), run_here(lambda _: StubSource())
        )


MOMENTS = [
    ("before", "list", keys.PLANS),
    ("before", "list", keys.STRIKES),
    ("after", "list", keys.MANIFESTS),
    ("before", "list", keys.commits_of(0)),
    ("after", "list", keys.commits_of(0)),
    ("before", "get", "segments/000001"),
    ("before", "list", keys.commits_of(1)),
    ("after", "list", keys.commits_of(1)),
    ("before", "list", keys.COMMITS),
    ("after", "list", keys.COMMITS),
]


@pytest.mark.parametrize(
    ("store", "commits"), [(MemoryStore, "conditional"), (WeakStore, "sealed")]
)
@pytest.mark.parametrize("what", ["finish_a_segment", "extend", "seal_longer", "retry", "finish"])
def test_what_comes_while_verify_reads_is_no_damage(store, commits, what):
    came = 0
    for moment in MOMENTS:
        living = Living(store(), commits)
        beside = Interrupted(living.store, *moment, getattr(living, what))
        assert verify(open_run(beside)).damages == [], moment
        came += beside.beside is None
        assert verify(living.run).damages == []
    assert came >= 6
