"""The ledger: one write makes a unit's outcomes true, all of them or none.

Pairs first, under a name derived from their bytes; then the commit, which names them. Never
overwrite, never rename, and after any unclear answer read back whose commit is there. On a store
where several writers may win one conditional PUT every attempt commits under its own name, and
`factory/ledger/attempts.py` says which one counts.
"""

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from factory.errors import Damaged, ObjectMissing, StorageUnavailable, first_line
from factory.ledger import keys
from factory.storage.patience import patiently, read_whole
from factory.storage.protocol import ObjectStore
from schemas.arrow import file_metadata, from_parquet, rows_to_json, to_parquet
from schemas.candidate import Candidate
from schemas.canonical import content_hash
from schemas.commit import CommitRecord, DataFile, Environment
from schemas.pair import Pair
from schemas.tally import Tally

_RECORD = "editmill"


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
    began: float | None = None,
    generation: int = 0,
    sealed: bool = False,
) -> bool:
    """Store a unit's pairs and commit it. True when this attempt's commit is the one that counts.

    `began` is `time.monotonic()` at `started`: how long it took is told by it, since clocks are set.
    With `sealed` (a store with weak conditional writes) it is True for every attempt that was stored
    whole: which one counts is decided later. Raises `StorageUnavailable` when the store gave no
    clear answer for all tries.
    """
    written = _write_pairs(store, unit, pairs) if pairs else None
    record = CommitRecord(
        unit=unit,
        attempt=attempt,
        recipe_hash=recipe_hash,
        pairs=written,
        candidates_sha256=content_hash(rows_to_json(candidates)),
        tally=tally,
        environment=environment,
        started=started,
        ended=started if began is None else started + time.monotonic() - began,
    )
    data = to_parquet(Candidate, candidates, {_RECORD: record.model_dump_json()})
    if sealed:
        own = keys.attempt(unit, generation, attempt)
        patiently(lambda: store.put(own, data))
        return True
    key = keys.commit(unit, generation)

    def attempt_commit() -> bool:
        try:
            if store.put_new(key, data):
                return True
            unclear = None
        except StorageUnavailable as error:
            unclear = error
        # A refusal can be our own write, repeated by the client after a lost reply.
        try:
            return read_record(store, unit, key).attempt == attempt
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


def read_record(store: ObjectStore, unit: int, key: str | None = None) -> CommitRecord:
    """The record of a unit's commit without its rows, every byte checked.

    Raises `ObjectMissing`, or `Damaged` where it is not a whole commit of this unit.
    """
    key = key or keys.commit(unit)
    return read_whole(store, key, lambda data: record_of(store, unit, key, data))


def read_commit(store: ObjectStore, unit: int, key: str | None = None) -> Commit:
    """The commit of a unit with its rows. Raises `ObjectMissing` or `Damaged`."""
    key = key or keys.commit(unit)
    return read_whole(store, key, lambda data: commit_of(store, unit, key, data))


def commit_of(store: ObjectStore, unit: int, key: str, data: bytes) -> Commit:
    """A commit from its bytes. Raises `Damaged`."""
    record = record_of(store, unit, key, data)
    try:
        candidates, _ = from_parquet(Candidate, data)
    except (ValueError, OSError) as error:
        raise _damaged(store, key, first_line(error)) from error
    if record.candidates_sha256 != content_hash(rows_to_json(candidates)):
        raise _damaged(store, key, "candidate rows are not the ones of its record")
    return Commit(record, candidates)


def record_of(store: ObjectStore, unit: int, key: str, data: bytes) -> CommitRecord:
    """A commit's record from its bytes. Raises `Damaged`."""
    try:
        record = CommitRecord.model_validate_json(file_metadata(data)[_RECORD])
    except (ValueError, KeyError, OSError) as error:
        raise _damaged(store, key, first_line(error)) from error
    if record.unit != unit:
        raise _damaged(store, key, f"it is unit {record.unit}'s")
    return record


def _damaged(store: ObjectStore, key: str, what: str) -> Damaged:
    return Damaged(f"{store.uri}/{key}: not a whole commit: {what}")
