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
from schemas.arrow import from_parquet, rows_to_json, to_parquet
from schemas.candidate import Candidate
from schemas.canonical import content_hash
from schemas.commit import CommitRecord, DataFile, Environment
from schemas.pair import Pair

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
            return read_commit(store, unit).record.attempt == attempt
        except ObjectMissing:
            raise unclear or StorageUnavailable(
                f"{store.uri}/{key}: refused, yet not there"
            ) from None

    return _with_patience(attempt_commit)


def _write_pairs(store: ObjectStore, unit: int, pairs: Sequence[Pair]) -> DataFile:
    data = to_parquet(Pair, pairs)
    sha256 = hashlib.sha256(data).hexdigest()
    key = keys.pairs(unit, sha256)
    _with_patience(lambda: store.put(key, data))
    return DataFile(key=key, sha256=sha256, bytes=len(data), rows=len(pairs))


def _with_patience(act: Callable[[], T]) -> T:
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


def read_commit(store: ObjectStore, unit: int) -> Commit:
    """The commit of a unit. Raises `ObjectMissing`, or `Damaged` where it is not a whole commit."""
    key = keys.commit(unit)
    data = store.get(key)
    try:
        candidates, metadata = from_parquet(Candidate, data)
        record = CommitRecord.model_validate_json(metadata[_RECORD])
    except (ValueError, KeyError, OSError) as error:
        raise Damaged(f"{store.uri}/{key}: not a whole commit: {first_line(error)}") from error
    if record.unit != unit or record.candidates_sha256 != content_hash(rows_to_json(candidates)):
        raise Damaged(f"{store.uri}/{key}: candidate rows are not the ones that were committed")
    return Commit(record, candidates)
