"""The ledger: one write makes a unit's outcomes true, all of them or none.

Data first, under a name derived from its bytes; then the commit, which names it. Never overwrite, never
rename, and after any unclear answer read back whose commit is there. On a store where several writers may
win one conditional PUT every attempt commits under its own name, and `attempts.py` says which one counts.
"""

import hashlib
import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_json

from factory.errors import NeedsRepair, ObjectMissing, StorageUnavailable, first_line
from factory.ledger import keys
from factory.ledger.named import intent_of, store_named
from factory.ledger.run import Run, must_stand
from factory.ledger.units.outcomes import Data, Outcomes
from factory.storage.patience import patiently, read_whole
from factory.storage.protocol import ObjectStore
from schemas.arrow import columns_of, file_metadata, read_rows, rows_to_json, write_rows
from schemas.canonical import content_hash
from schemas.ledger.commit import CommitRecord, DataFile
from schemas.ledger.layout import from_stored, to_stored

_RECORD = "editmill"


@dataclass(frozen=True)
class Attempt:
    """One try at a unit: its own name, and when it was begun by two clocks, since one of them is set."""

    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    started: float = field(default_factory=lambda: time.time())
    began: float = field(default_factory=lambda: time.monotonic())

    @property
    def seconds(self) -> float:
        """Since it was begun."""
        return time.monotonic() - self.began


@dataclass(frozen=True)
class Commit:
    """A commit as read back."""

    record: CommitRecord
    rows: list[dict[str, Any]]
    """Its outcomes, as plain JSON values."""


def write_commit(
    run: Run,
    unit: int,
    outcomes: Outcomes,
    attempt: Attempt,
    generation: int = 0,
    earlier: tuple[str, ...] = (),
) -> bool:
    """Store a unit's data and commit it. True when this attempt's commit is the one that counts.

    `earlier` are the attempts whose failed outcomes these are made anew of, oldest first.

    On a store with weak conditional writes it is True for every attempt that was stored whole: which one
    counts is decided later. Raises `StorageUnavailable` when the store gave no clear answer for all tries,
    `StorageRefused` where the run is gone.
    """
    store = run.store
    must_stand(store)
    data = intent_of(outcomes.objects) if outcomes.objects else outcomes.data
    stored = _write_data(run, unit, data)
    if outcomes.objects and data is not None:
        outcomes = store_named(run, unit, outcomes, data)
    rows = rows_to_json(outcomes.rows)
    record = CommitRecord(
        unit=unit,
        attempt=attempt.name,
        recipe_hash=run.recipe_hash,
        data=stored,
        outcomes_sha256=content_hash(rows),
        tally=outcomes.tally,
        environment=outcomes.environment.model_dump(mode="json"),
        started=attempt.started,
        ended=attempt.started + attempt.seconds,
        earlier=earlier,
    )
    metadata = {_RECORD: to_json(to_stored(run.layout, record)).decode()}
    committed = write_rows(columns_of(type(outcomes.rows[0])), rows, metadata)
    if run.commits == "sealed":
        own = keys.attempt(unit, generation, attempt.name)
        patiently(lambda: store.put(own, committed))
        return True
    key = keys.commit(unit, generation)

    def attempt_commit() -> bool:
        try:
            if store.put_new(key, committed):
                return True
            unclear = None
        except StorageUnavailable as error:
            unclear = error
        # A refusal can be our own write, repeated by the client after a lost reply.
        try:
            return read_record(run, unit, key).attempt == attempt.name
        except ObjectMissing:
            raise unclear or StorageUnavailable(
                f"{store.uri}/{key}: refused, yet not there"
            ) from None

    return patiently(attempt_commit)


def _write_data(run: Run, unit: int, data: Data | None) -> DataFile | None:
    if data is None:
        return None
    sha256 = hashlib.sha256(data.bytes).hexdigest()
    key = keys.data(run.layout.stage, unit, sha256, data.ending)
    patiently(lambda: run.store.put(key, data.bytes))
    return DataFile(key=key, sha256=sha256, bytes=len(data.bytes), rows=data.rows)


def commit_names(store: ObjectStore, segment: int | None = None) -> Iterator[keys.CommitName]:
    """What the keys of all commits say, or of one segment's, in unit order.

    Other objects below `commits/` are ignored.
    """
    for info in store.list(keys.COMMITS if segment is None else keys.commits_of(segment)):
        name = keys.commit_name(info.key)
        if name is not None:
            yield name


def committed_units(store: ObjectStore) -> Iterator[int]:
    """Units with a commit of any generation or attempt, in order, each once."""
    last = -1
    for name in commit_names(store):
        if name.unit != last:
            last = name.unit
            yield last


def read_record(run: Run, unit: int, key: str | None = None) -> CommitRecord:
    """The record of a unit's commit without its rows, every byte checked.

    Raises `ObjectMissing`, or `NeedsRepair` where it is not a whole commit of this unit.
    """
    key = key or keys.commit(unit)
    return read_whole(run.store, key, lambda data: record_of(run, unit, key, data))


def read_commit(run: Run, unit: int, key: str | None = None) -> Commit:
    """The commit of a unit with its rows. Raises `ObjectMissing` or `NeedsRepair`."""
    key = key or keys.commit(unit)
    return read_whole(run.store, key, lambda data: commit_of(run, unit, key, data))


def commit_of(run: Run, unit: int, key: str, data: bytes) -> Commit:
    """A commit from its bytes. Raises `NeedsRepair`."""
    record = record_of(run, unit, key, data)
    try:
        rows, _ = read_rows(run.layout.outcomes, data)
        sha256 = content_hash(rows)
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise _damaged(run, key, first_line(error)) from error
    if record.outcomes_sha256 != sha256:
        raise _damaged(run, key, "outcome rows are not the ones of its record")
    return Commit(record, rows)


def record_of(run: Run, unit: int, key: str, data: bytes) -> CommitRecord:
    """A commit's record from its bytes. Raises `NeedsRepair`."""
    try:
        stored = json.loads(file_metadata(data)[_RECORD])
        record = CommitRecord.model_validate(from_stored(run.layout, CommitRecord, stored))
    except (ValueError, KeyError, OSError) as error:
        raise _damaged(run, key, first_line(error)) from error
    if record.unit != unit:
        raise _damaged(run, key, f"it is unit {record.unit}'s")
    return record


def _damaged(run: Run, key: str, what: str) -> NeedsRepair:
    return NeedsRepair(f"{run.uri}/{key}: not a whole commit: {what}")
