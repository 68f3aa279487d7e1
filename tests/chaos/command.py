"""A stage's command as a user starts it, over any store: what is killed and run again here."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from factory.errors import ObjectMissing
from factory.ledger import keys
from factory.ledger.book import Book
from factory.ledger.plan import find_plan
from factory.ledger.run import open_run
from factory.ledger.units.attempts import FoundCommit, find_commit, whole_commit
from factory.storage.protocol import ObjectStore
from factory.work.job import JobResult
from schemas.ledger.layout import Layout
from tests.chaos.stores.memory_store import MemoryStore
from tests.chaos.subjects.subject import Hear, Name, Subject

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
        patch("factory.work.roller.ThreadPoolExecutor", AtOnce),
        patch("factory.ledger.book.READERS", 1),
        patch("factory.ledger.named.WRITERS", 1),
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


@contextmanager
def in_ignorance() -> Iterator[None]:
    """A worker asks for the commit of its unit a moment before there is one."""
    asked = []

    def not_yet(*arguments: Any) -> FoundCommit:
        asked.append(arguments)
        if len(asked) == 1:
            raise ObjectMissing("not there yet")
        return find_commit(*arguments)

    with patch("factory.work.unit.find_commit", not_yet):
        yield


def deaf(item: str, index: int) -> None:
    """Hears nothing."""


def command(
    subject: Subject,
    store: ObjectStore,
    hear: Hear = deaf,
    count: int | None = None,
    **options: Any,
) -> JobResult:
    """Plan, make what is open, seal: in this process and a small world."""
    with small_world():
        return subject.start(store, subject.here(hear), count, **options)


def undisturbed_run(subject: Subject) -> MemoryStore:
    """What is made of a work when it is left in peace."""
    store = MemoryStore()
    subject.surround(store)
    assert subject.start(store, subject.here(deaf)).exit_code == 0
    return store


@dataclass(frozen=True)
class Outcome:
    """A row of a commit."""

    name: Name
    fields: dict[str, Any]

    @property
    def failed(self) -> bool:
        return bool(self.fields["verdict"] == Layout.FAILED)


Committed = dict[int, list[Outcome]]
"""The rows of every unit that is committed."""


def committed(subject: Subject, store: ObjectStore) -> Committed:
    """What counts now."""
    if store.find(keys.RUN) is None:
        return {}
    run = open_run(store)
    plan = find_plan(run)
    if plan is None:
        return {}
    found = {}
    for line in Book(run, plan).lines():
        commit = find_commit(run, plan, line.unit, line)
        rows = whole_commit(run, commit).rows
        names = subject.names(plan.items(line.unit), rows)
        found[line.unit] = [Outcome(*each) for each in zip(names, rows, strict=True)]
    return found


def names(rows: Committed) -> set[Name]:
    """Which outcomes these are."""
    return {row.name for unit in rows.values() for row in unit}


def around(store: ObjectStore) -> dict[str, str]:
    """The objects around a run, each with its hash."""
    place = store.around(keys.BESIDE)
    found = [info.key for info in place.list() if not info.key.startswith(f"{keys.BESIDE}/")]
    return {key: hashlib.sha256(place.get(key)).hexdigest() for key in found}


def content(subject: Subject, store: ObjectStore) -> dict[str, object]:
    """All that must be equal between equal runs: every stable object, every committed row."""
    objects = {
        info.key: hashlib.sha256(store.get(info.key)).hexdigest()
        for info in store.list()
        if not info.key.startswith(UNSTABLE)
    }
    objects |= {f"{keys.AROUND}{key}": sha256 for key, sha256 in around(store).items()}
    roll_ups = [info.key for info in store.list(keys.SEGMENTS)]
    return {"objects": objects, "roll-ups": roll_ups, "rows": committed(subject, store)}
