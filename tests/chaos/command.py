"""`generate` as a user starts it, over any store and a stub: what is killed and run again here."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from factory.ledger import keys
from factory.ledger.attempts import find_commit
from factory.ledger.book import Book
from factory.ledger.commits import commit_of
from factory.ledger.plan import Plan, find_plan
from factory.ledger.run import Run, open_run
from factory.pairs.generate import prepare
from factory.pairs.source import PairSource
from factory.pairs.triplets import TripletList
from factory.pairs.verify import candidates_of
from factory.storage.protocol import ObjectStore
from factory.work.job import JobResult
from schemas.candidate import Candidate
from schemas.config import Budget, Config
from tests.chaos.memory_store import MemoryStore
from tests.chaos.subject import SUBJECTS, Subject
from tests.making import run_here, run_job
from tests.stub_source import recipe, triplets

TRIPLETS = 3
CONFIG = Config(recipe=recipe(candidates=5, unit_triplets=1))
UNSTABLE = (keys.COMMITS, keys.SEGMENTS, keys.STRIKES, "probe/")
"""Folders whose objects hold times and attempts, or are left behind by a death."""


@contextmanager
def small_world() -> Iterator[None]:
    """Segments of two units, and one race in a probe, so that a small run has all there is.

    Roll-ups are written at once and in turn, so that the calls come in one order. Nothing waits for
    the disk: a process that dies takes nothing with it, only a power cut would.
    """
    with (
        patch.object(keys, "SEGMENT_UNITS", 2),
        patch("factory.storage.probe.ROUNDS", 1),
        patch("factory.pairs.generate.pin", lambda recipe: recipe),
        patch("factory.work.roller.ThreadPoolExecutor", AtOnce),
        patch("factory.ledger.book.READERS", 1),
        patch("factory.storage.local.os.fsync", lambda descriptor: None),
    ):
        yield


class AtOnce:
    """An executor that does it where it is asked."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def submit(self, act: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        done: Future[Any] = Future()
        done.set_result(act(*arguments))
        return done

    def shutdown(self, **_: object) -> None: ...


def command(
    store: ObjectStore,
    source: PairSource,
    count: int = TRIPLETS,
    *,
    retry_failed: bool = False,
    limit: int | None = None,
    once_planned: Callable[[Run, Plan], None] = lambda run, plan: None,
) -> JobResult:
    """Plan, make what is open, seal."""
    config = CONFIG.model_copy(update={"budget": Budget(limit=limit)})
    with small_world(), patch("factory.pairs.generate.open_store", lambda _: store):
        run, plan = prepare(
            config,
            TripletList(triplets(count)),
            store.uri,
            extend=True,
            retry_failed=retry_failed,
        )
        once_planned(run, plan)
        return run_job(run, plan, config, run_here(lambda _: source))


def undisturbed_run(config: Config, count: int, subject: Subject = SUBJECTS["stub"]) -> MemoryStore:
    """What is made of a configuration when it is left in peace."""
    store = MemoryStore()
    with (
        patch("factory.pairs.generate.open_store", lambda _: store),
        patch("factory.pairs.generate.pin", lambda r: r),
    ):
        run, plan = prepare(config, TripletList(subject.triplets(count)), store.uri)
        made_by = run_here(lambda run: subject.source(run.recipe, config.compute))
        result = run_job(run, plan, config, made_by)
    assert result.exit_code == 0
    return store


def committed(store: ObjectStore) -> dict[int, list[Candidate]]:
    """The rows of every unit that is committed."""
    if store.find(keys.RUN) is None:
        return {}
    run = open_run(store)
    plan = find_plan(run)
    if plan is None:
        return {}
    found = {}
    for line in Book(run, plan).lines():
        commit = find_commit(run, plan, line.unit, line)
        found[line.unit] = candidates_of(commit_of(run, line.unit, commit.key, commit.data))
    return found


def names(rows: dict[int, list[Candidate]]) -> set[tuple[str, int]]:
    """Which candidates these are."""
    return {(row.triplet_id, row.index) for unit in rows.values() for row in unit}


def content(store: ObjectStore) -> dict[str, object]:
    """All that must be equal between equal runs: every stable object, every committed row."""
    objects = {
        info.key: hashlib.sha256(store.get(info.key)).hexdigest()
        for info in store.list()
        if not info.key.startswith(UNSTABLE)
    }
    roll_ups = [info.key for info in store.list(keys.SEGMENTS)]
    return {"objects": objects, "roll-ups": roll_ups, "rows": committed(store)}
