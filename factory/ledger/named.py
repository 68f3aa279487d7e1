"""Objects at keys that a stage chooses, beside the run: pictures of an edited bucket, shards of an export.

    OUT/_editmill/          the run: its records, plan, commits, manifests
    OUT/<key>               what its units leave

Before its objects a unit stores an *intent*, the list of their keys and hashes, by content. An object is
ours if an intent of this run names its key and hash. What is another's is never overwritten or removed.
"""

import hashlib
import json
import threading
from collections.abc import Container, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from factory.errors import Damaged, EditmillError, KeyTaken, ObjectMissing, StorageUnavailable
from factory.ledger import keys
from factory.ledger.run import Run
from factory.ledger.units.outcomes import Data, Outcomes
from factory.storage.patience import PART, READS, patiently, read_whole
from factory.storage.protocol import ObjectStore
from schemas.arrow import rows_to_json
from schemas.canonical import canonical_json
from schemas.ledger.layout import Layout
from schemas.ledger.tally import count
from schemas.record import Record

WRITERS = 8
"""Of one unit's objects at once."""
ANOTHERS = "something else stands at its key"
"""Why an outcome failed whose key was taken."""


@dataclass(frozen=True)
class NamedObject:
    """What an intent says."""

    key: str
    sha256: str
    bytes: int


def intent_of(objects: Mapping[str, bytes]) -> Data:
    """The list of a unit's objects, as data of its own."""
    listed = [
        {"key": key, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for key, data in sorted(objects.items())
    ]
    return Data(canonical_json(listed), len(listed), "json")


def read_intent(run: Run, key: str) -> list[NamedObject]:
    """The objects of an intent; none where it is damaged, or `gc` removed it since it was listed."""

    def taken(data: bytes) -> list[NamedObject]:
        try:
            return [NamedObject(**one) for one in json.loads(data)]
        except (ValueError, TypeError):
            raise Damaged(f"{run.uri}/{key}: not a list of objects") from None

    try:
        return read_whole(run.store, key, taken)
    except (Damaged, ObjectMissing):
        return []


def claim(run: Run, unit: int, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store an intent of what stands as outcomes name it: their own may be what was lost."""
    named = {row["key"]: row["sha256"] for row in rows if row["sha256"] is not None}
    standing = {
        key: patiently(lambda key=key: run.place.get(key))  # type: ignore[misc]
        for key, sha256 in named.items()
        if stands(run, key, sha256)
    }
    if standing:
        intent = intent_of(standing)
        sha256 = hashlib.sha256(intent.bytes).hexdigest()
        own = keys.data(run.layout.stage, unit, sha256, intent.ending)
        patiently(lambda: run.store.put(own, intent.bytes))


def store_named(run: Run, unit: int, outcomes: Outcomes, intent: Data) -> Outcomes:
    """Store a unit's objects, whose intent is stored; the outcomes by what stands at their keys then.

    Where another attempt of this run was first, its object stays and is what the outcome names; where
    another's object stands, the outcome names that one's hash, with the verdict `outcomes.taken`.
    """
    # Hashed once: of large objects it is a good part of what storing them takes.
    meant = {one["key"]: one["sha256"] for one in json.loads(intent.bytes)}
    with ThreadPoolExecutor(WRITERS) as pool:
        hashes = pool.map(
            lambda key: _stored(run, key, outcomes.objects[key], meant[key]), outcomes.objects
        )
        stands = dict(zip(outcomes.objects, hashes, strict=True))
    ours = {(key, sha256): len(outcomes.objects[key]) for key, sha256 in meant.items()}
    if not stands.items() <= meant.items():
        # Something else was first: whether another attempt at this unit left it.
        ours |= {(one.key, one.sha256): one.bytes for one in intents(run, unit)}
    rows = []
    for row in outcomes.rows:
        key = getattr(row, "key", None)
        if key in stands and (key, stands[key]) in ours:
            sha256 = stands[key]
            row = _row_with(row, {"sha256": sha256, "bytes": ours[key, sha256]})
        elif key in stands:
            found = {"reason": ANOTHERS, "standing_sha256": stands[key] or None}
            none = {"sha256": None, "bytes": None}
            # Where nothing can be stored, as below what is a file on a disk, nothing was taken.
            verdict = outcomes.taken if stands[key] else Layout.FAILED
            row = _row_with(row, {"verdict": verdict, **found, **none})
        rows.append(row)
    tally = count(run.layout, rows_to_json(rows))
    return replace(outcomes, rows=rows, tally=tally)


class Intended:
    """Key and hash of each object that any attempt at a unit meant to leave.

    They are listed when they are first asked for. A unit whose keys are all free never asks: in a folder a
    listing reads the names of all units. A listing that failed fails for all who ask, and is not repeated.
    """

    def __init__(self, run: Run, unit: int) -> None:
        self._run, self._unit = run, unit
        self._lock = threading.Lock()
        self._listed: set[tuple[str, str]] | None = None
        self._failure: EditmillError | None = None

    def __contains__(self, named: object) -> bool:
        # Not a `cached_property`: until Python 3.12 one that is computed keeps those of all others waiting.
        with self._lock:
            if self._failure is not None:
                raise self._failure
            if self._listed is None:
                try:
                    found = intents(self._run, self._unit)
                    self._listed = {(one.key, one.sha256) for one in found}
                except EditmillError as failure:
                    self._failure = failure
                    raise
            return named in self._listed


def intents(run: Run, unit: int) -> Iterator[NamedObject]:
    """What any attempt at a unit meant to leave."""
    prefix = keys.data(run.layout.stage, unit, "", "").removesuffix(".")
    for info in run.store.list(prefix):
        yield from read_intent(run, info.key)


def stands(run: Run, key: str, sha256: str) -> bool:
    """Whether an object stands at a key beside the run and has this hash."""
    return patiently(lambda: hash_at(run, key, {(key, sha256)})) == sha256


def _row_with(row: Record, fields: Mapping[str, Any]) -> Record:
    """A row with those of the fields that its stage has."""
    known = {name: value for name, value in fields.items() if name in type(row).model_fields}
    # Read anew, since a stage's verdicts are words of its own.
    return type(row)(**(dict(row) | known))


def _stored(run: Run, key: str, data: bytes, sha256: str) -> str:
    """The hash of what stands at a key once this was offered; empty where no object can."""
    ours = {(key, sha256)}

    def attempt() -> str:
        # A weak store would overwrite what stands there: first a look.
        found = hash_at(run, key, ours) if run.commits == "sealed" else None
        if found is None and run.place.put_new(key, data) and run.commits == "conditional":
            return sha256
        found = found or hash_at(run, key, ours)
        if found is None:
            raise StorageUnavailable(f"{run.place.uri}/{key}: stored, yet not there")
        return found

    try:
        return patiently(attempt)
    except KeyTaken:
        return ""


def hash_at(run: Run, key: str, ours: Container[tuple[str, str]]) -> str | None:
    """The hash of what stands at a key beside the run; None where nothing does.

    What came back and is none of ours counts once it came twice: a reply that was spoilt on its way is not
    another's object. Raises `StorageUnavailable` where it came otherwise each time.
    """
    seen: set[str] = set()
    for _ in range(READS):
        try:
            sha256 = _hash_in_parts(run.place, key)
        except ObjectMissing:
            return None
        if (key, sha256) in ours or sha256 in seen:
            return sha256
        seen.add(sha256)
    raise StorageUnavailable(f"{run.place.uri}/{key}: came back otherwise each time")


def _hash_in_parts(store: ObjectStore, key: str) -> str:
    """Of an object, however large: it may be another's. Raises `ObjectMissing`."""
    taken, first = hashlib.sha256(), 0
    while True:
        part = store.get_part(key, first, PART)
        taken.update(part)
        first += len(part)
        if len(part) < PART:
            return taken.hexdigest()
