"""What must be true of the ledger whatever happened: a dictionary beside a store."""

import hashlib
import uuid
from typing import Any
from unittest.mock import patch

from hypothesis.stateful import RuleBasedStateMachine, invariant

from factory.dataset.run_card import NAME
from factory.errors import StorageUnavailable
from factory.ledger import keys
from factory.ledger.manifest import manifest_sequences, read_manifest, unit_lines
from factory.ledger.plan import Plan
from factory.ledger.run import Run
from factory.ledger.seal import Incomplete
from factory.ledger.units.commits import record_of
from factory.ledger.verify.run import verify
from schemas.ledger.commit import CommitRecord, UnitLine
from tests.chaos.command import AtOnce
from tests.chaos.findings import strays
from tests.chaos.histories.actors import Task
from tests.chaos.stores.memory_store import MemoryStore
from tests.chaos.stores.stepped import Call
from tests.chaos.subjects.subject import Own, Subject


class Model(RuleBasedStateMachine):
    """Knows which commit of a unit was stored first, and what every object was then."""

    subject: Subject
    run: Run
    plan: Plan
    count: int
    """Items in the list."""

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore()
        self.patches = [
            patch.object(keys, "SEGMENT_UNITS", 2),
            patch("factory.storage.patience.time.sleep", lambda seconds: None),
            patch("factory.work.roller.ThreadPoolExecutor", AtOnce),
            patch("factory.ledger.book.READERS", 1),
            patch("factory.ledger.named.WRITERS", 1),
            patch("uuid.uuid4", self.next_attempt),
        ]
        for each in self.patches:
            each.start()
        self.numbers = iter(range(1, 10_000))
        self.at_work: list[Task] = []
        self.zombies: list[Call] = []
        self.committed: dict[int, str] = {}
        """The model: which attempt's commit is the unit's, by what was stored first."""
        self.seen: dict[str, bytes] = {}
        """Every object, as it was stored first."""
        self.sealed: dict[int, UnitLine] = {}
        """What manifests say of a unit: for good."""

    # What must be true.

    @invariant()
    def nothing_at_work_died_of_itself(self) -> None:
        for task in self.at_work:
            assert task.stepped.error is None

    def next_attempt(self) -> uuid.UUID:
        """Attempts in no order, and the same whenever hypothesis tries a history again."""
        return uuid.UUID(hashlib.sha256(str(next(self.numbers)).encode()).hexdigest()[:32])

    def look(self) -> None:
        """Take in what the store holds now: no object ever changes, no commit comes before its data.

        But for the card, which is of the newest manifest.
        """
        for key, data in list(self.store.objects.items()):
            if key in self.seen:
                assert key == NAME or self.unchanged(key, data), f"{key} was overwritten"
                continue
            self.seen[key] = data
            name = keys.commit_name(key)
            if name is not None:
                record = record_of(self.run, name.unit, key, data)
                self.assert_data_is_there(record)
                self.take_in(name.unit, record)

    def unchanged(self, key: str, data: bytes) -> bool:
        return self.seen[key] == data

    def take_in(self, unit: int, record: CommitRecord) -> None:
        assert unit not in self.committed, f"unit {unit} has two commits"
        self.committed[unit] = record.attempt

    def assert_data_is_there(self, record: CommitRecord) -> None:
        if record.data is not None:
            data = self.store.objects.get(record.data.key)
            assert data is not None, f"unit {record.unit} was committed before its data"
            assert hashlib.sha256(data).hexdigest() == record.data.sha256

    def end_if_done(self, task: Task) -> None:
        if task.stepped.call is not None:
            return
        self.at_work.remove(task)
        error = task.stepped.error
        if isinstance(error, StorageUnavailable):
            return
        if task.kind == "seal" and isinstance(error, Incomplete):
            return
        if error is not None:
            raise error
        if task.kind == "seal":
            self.assert_sealed(task.stepped.result[1], task.plan, task.known)
            assert task.partial or task.stepped.result[1].units >= len(task.plan.units)
            return
        assert task.unit in self.committed
        self.assert_not_made_again(task.maker, task.known)
        if task.stepped.result.made:
            self.assert_won(task)

    def assert_won(self, task: Task) -> None:
        """Who says that it made a unit, made the one that counts."""
        data = self.store.objects[keys.commit(task.unit)]
        device = record_of(self.run, task.unit, "", data).environment["device"]
        assert device == task.maker.device

    def assert_whole(self) -> None:
        damages = verify(self.run, self.subject.check).damages
        assert not damages, damages

    def assert_nothing_strays(self) -> None:
        """Once garbage is collected, nothing lies around the run but what counts and what is another's."""
        assert not list(strays(self.subject, self.run))

    def assert_not_made_again(self, maker: Own, known: dict[int, str]) -> None:
        made = {item for item, _ in maker.made}
        for unit in known:
            again = made.intersection(self.subject.ids(self.plan.items(unit)))
            assert not again, f"unit {unit} was made again"

    def assert_sealed(self, manifest: Any, plan: Plan, known: dict[int, str]) -> None:
        """All that was committed before it began, nothing that never was, and the same for ever."""
        lines = {line.unit: line for line in unit_lines(self.run, manifest)}
        assert {unit for unit in known if unit in plan.units} <= set(lines) <= set(self.committed)
        (units,) = (h.units for h in self.plan.records if h.digest == manifest.plan_digest)
        assert units >= len(plan.units)
        assert manifest.partial == (len(lines) < units)

    @invariant()
    def manifests_agree_for_good(self) -> None:
        before: set[int] = set()
        for sequence in manifest_sequences(self.run) if hasattr(self, "run") else []:
            lines = list(unit_lines(self.run, read_manifest(self.run, sequence)))
            for line in lines:
                assert self.sealed.setdefault(line.unit, line) == line
            assert before <= {line.unit for line in lines}, "a later manifest lacks units"
            before = {line.unit for line in lines}
