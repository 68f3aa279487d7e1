"""The ledger: one conditional PUT makes a unit's outcomes true, all of them or none.

Pairs first, under a name derived from their bytes; then the commit, which names them. Never
overwrite, never rename, and after any unclear answer read back whose commit is there.
"""

import hashlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from factory import keys
from factory.errors import Damaged, ObjectMissing, StorageUnavailable, first_line
from factory.storage.protocol import ObjectStore
from schemas.arrow import file_metadata, from_parquet, rows_to_json, to_parquet
from schemas.candidate import Candidate
from schemas.canonical import content_hash
from schemas.commit import CommitRecord, DataFile, Environment
from schemas.pair import Pair
from schemas.tally import Tally

TRIES = 6
"""How often an unclear answer is asked again before the unit is left for the next run."""

_RECORD = "editmill"

T = TypeVar("T")


@dataclass(frozen=True)
class Commit:
    """A commit as read back."""

    record: CommitRecord
    candidates: list[Candidate]


def write_commit(
    store: ObjectStore,
    unit: int,
    candidates: Sequence[Candidate],
    pairs: Sequence[Pair],
    *,
    attempt: str,
    recipe_hash: str,
    tally: Tally,
    environment: Environment,
    started: float,
) -> bool:
    """Store a unit's pairs and commit it. True when this attempt's commit is the one that counts.

    Raises `StorageUnavailable` when the store gave no clear answer for all tries.
    """
    record = CommitRecord(
        unit=unit,
        attempt=attempt,
        recipe_hash=recipe_hash,
        pairs=_write_pairs(store, unit, pairs) if pairs else None,
        candidates_sha256=content_hash(rows_to_json(candidates)),
        tally=tally,
        environment=environment,
        started=started,
        ended=time.time(),
    )
    data = to_parquet(Candidate, candidates, {_RECORD: record.model_dump_json()})
    key = keys.commit(unit)

    def attempt_commit() -> bool:
        try:
            if store.put_new(key, data):
                return True
            unclear = None
        except StorageUnavailable as error:
            unclear = error
        # A refusal can be our own write, repeated by the client after a lost reply.
        try:
            return read_record(store, unit).attempt == attempt
        except ObjectMissing:
            raise unclear or StorageUnavailable(
                f"{store.uri}/{key}: refused, yet not there"
            ) from None

    return patiently(attempt_commit)


def _write_pairs(store: ObjectStore, unit: int, pairs: Sequence[Pair]) -> DataFile:
    data = to_parquet(Pair, pairs)
    sha256 = hashlib.sha256(data).hexdigest()
    key = keys.pairs(unit, sha256)
    patiently(lambda: store.put(key, data))
    return DataFile(key=key, sha256=sha256, bytes=len(data), rows=len(pairs))


def patiently(act: Callable[[], T]) -> T:
    """Do it again, with growing pauses, while the store gives no clear answer."""
    for tried in range(TRIES):
        try:
            return act()
        except StorageUnavailable:
            if tried == TRIES - 1:
                raise
            time.sleep(random.uniform(0.5, 1.0) * min(8.0, 0.2 * 2**tried))
    raise AssertionError("unreachable")


def committed_units(store: ObjectStore) -> Iterator[int]:
    """Units with a commit, in order; other objects below `commits/` are ignored."""
    for info in store.list("commits/"):
        unit = keys.unit_of_commit(info.key)
        if unit is not None:
            yield unit


def read_record(store: ObjectStore, unit: int) -> CommitRecord:
    """The record of a unit's commit without its rows, every byte checked.

    Raises `ObjectMissing`, or `Damaged` where it is not a whole commit of this unit.
    """
    return _record(store, unit, store.get(keys.commit(unit)))


def read_commit(store: ObjectStore, unit: int) -> Commit:
    """The commit of a unit with its rows. Raises `ObjectMissing` or `Damaged`."""
    data = store.get(keys.commit(unit))
    record = _record(store, unit, data)
    try:
        candidates, _ = from_parquet(Candidate, data)
    except (ValueError, OSError) as error:
        raise _damaged(store, unit, first_line(error)) from error
    if record.candidates_sha256 != content_hash(rows_to_json(candidates)):
        raise _damaged(store, unit, "candidate rows are not the ones of its record")
    return Commit(record, candidates)


def _record(store: ObjectStore, unit: int, data: bytes) -> CommitRecord:
    try:
        record = CommitRecord.model_validate_json(file_metadata(data)[_RECORD])
    except (ValueError, KeyError, OSError) as error:
        raise _damaged(store, unit, first_line(error)) from error
    if record.unit != unit:
        raise _damaged(store, unit, f"it is unit {record.unit}'s")
    return record


def _damaged(store: ObjectStore, unit: int, what: str) -> Damaged:
    return Damaged(f"{store.uri}/{keys.commit(unit)}: not a whole commit: {what}")
